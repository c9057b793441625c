"""``signoff ab report``: may an arm of traffic.yaml be shipped, must it be stopped, or does the experiment go on?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from harness import __version__
from harness.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from harness.gate import GateVerdict
from harness.gate.rules import Trial, blank, bounds, clears, conclude
from harness.monitor import STAGE, Experiment, Outcome, TraceWindow, gather
from harness.run.watch.asked import AbReport, control_of, declared, since_of
from harness.run.watch.summary import ab_summary
from harness.run.watch.wording import in_words
from harness.spec.gates import Gate
from harness.spec.measurement import Measurement, write_measurements
from harness.spec.monitor import AbOutcome, Monitor, span
from harness.spec.traffic import ArmSpec, Traffic
from harness.stats import Inference, Mirrored, holm
from harness.stats.sequential import effect_sequence
from harness.stats.two_samples import independence, sample_ratio
from harness.store import RunFolder

Answer = Literal["ship", "abort", "continue"]
ANSWERS: Mapping[str, Answer] = {"pass": "ship", "fail": "abort", "inconclusive": "continue"}
MINIMUM = 500
"""Users in each arm below which nothing is compared where traffic.yaml says nothing."""
FLOOR = 100
"""Fewer than so many are never compared: bounds are asymptotic, and were simulated from here on."""
UNEQUAL_P = 0.001
"""A check of the experiment itself fails below this: it is looked at often, and what it finds is a defect."""
MOST_MOVED = 0.01


def ab_report(wanted: AbReport) -> dict[str, Any]:
    """Compare every arm with the control, write a run folder; the report as plain data, ``exit_code`` among it.

    Only stopping is automatic: "ship" is a recommendation. UsageError where nothing is declared or nothing logged.
    """
    monitor, traffic = declared(wanted)
    assert monitor.ab is not None
    since, why_since = since_of(wanted, traffic)
    control = control_of(monitor.ab, traffic)
    arms = [arm for arm in traffic.variants if arm.percent > 0]
    window = TraceWindow(wanted.traces, wanted.app, since, min(wanted.now, traffic.end or wanted.now))
    notes = window.read()
    if traffic.end is not None and traffic.end < wanted.now:
        # What came after the experiment's end is no sign of a wrong clock.
        notes.ahead = 0
    indicators = [monitor.by_id[each.indicator] for each in monitor.ab.outcomes]
    found = gather(window, [arm.name for arm in arms], indicators, span(monitor.ab.horizon))
    minimum = max(FLOOR, traffic.minimum_sample or MINIMUM)
    trials = [
        _trial(wanted.app, monitor, outcome, found, (arm, control), minimum)
        for arm in arms
        if arm is not control
        for outcome in monitor.ab.outcomes
    ]
    verdicts = _concluded([trial for trial, _ in trials], 1 - monitor.ab.confidence)
    blocked = list(_blocked(found, arms))
    report = _report(wanted, traffic, found, blocked, list(zip(verdicts, [arm for _, arm in trials], strict=True)))
    report |= {"since": since.isoformat(timespec="seconds"), "since_because": why_since, "control": control.name}
    report["warnings"] += notes.warnings()
    folder = RunFolder.create(wanted.root / "reports" / "ab")
    write_measurements(folder.measurements(STAGE), _rows(wanted.app, found, control.name, indicators))
    report["run"] = str(folder.path)
    folder.write_json("ab.json", report)
    (folder.path / "summary.md").write_text(ab_summary(report), encoding="utf-8")
    folder.finish({"kind": "ab", "signoff": __version__, "now": wanted.now.isoformat(), "apps": [wanted.app]})
    return report


def _blocked(found: Experiment, arms: Sequence[ArmSpec]) -> Iterator[str]:
    """What makes the comparison worthless whatever it says."""
    counts = [found.users[arm.name] for arm in arms]
    p_value = sample_ratio(counts, [float(arm.percent) for arm in arms])
    if p_value < UNEQUAL_P:
        seen = ", ".join(
            f"{arm.name} {count} of {float(arm.percent):g} %" for arm, count in zip(arms, counts, strict=True)
        )
        yield f"sample ratio mismatch (p = {p_value:.2g}): {seen}; find out who is missing before anything is compared"
    total = sum(counts) + found.moved
    if total and found.moved > MOST_MOVED * total:
        yield f"{found.moved} of {total} users met more than one arm: the shares changed meanwhile; name --since"


def _trial(
    app: str,
    monitor: Monitor,
    spec: AbOutcome,
    found: Experiment,
    pair: tuple[ArmSpec, ArmSpec],
    minimum: int,
) -> tuple[Trial, str]:
    assert monitor.ab is not None
    gate = _gate(monitor, spec)
    outcome = found.outcomes[spec.indicator]
    places = [found.arms.index(arm.name) for arm in pair]
    ours, theirs = (outcome.count(place) for place in places)
    values, treated = outcome.of(places)
    blind = blank(app, gate, n=values.size, clusters=values.size)
    if min(ours, theirs) < minimum:
        reason = (
            f"{ours} users with a value in {pair[0].name}, {theirs} in {pair[1].name}: {minimum} of each are needed"
        )
        return Trial(replace(blind, reason=reason), gate), pair[0].name
    if why := _silence(outcome, pair, (ours, theirs)):
        return Trial(replace(blind, reason=why), gate), pair[0].name
    share = float(pair[0].percent / (pair[0].percent + pair[1].percent))
    effect = effect_sequence(values, treated, share, tuned_for=2 * minimum, confidence=gate.confidence)
    means = float(values[treated].mean()), float(values[~treated].mean())
    return _judged(replace(blind, candidate=means[0], baseline=means[1]), gate, effect), pair[0].name


def _gate(monitor: Monitor, spec: AbOutcome) -> Gate:
    assert monitor.ab is not None
    indicator = monitor.by_id[spec.indicator]
    kind: Literal["no_worse_than_baseline_by", "better_than_baseline_by"] = (
        "no_worse_than_baseline_by" if spec.rule == "no_worse_by" else "better_than_baseline_by"
    )
    return Gate(
        id=spec.indicator,
        metric=indicator.metric,
        rule=kind,
        threshold=spec.margin,
        better="higher" if indicator.higher_is_better else "lower",
        confidence=monitor.ab.confidence,
        why=indicator.why,
    )


def _silence(outcome: Outcome, pair: tuple[ArmSpec, ArmSpec], told: tuple[int, int]) -> str:
    """Why users without a value could decide: they are not equally many in both arms."""
    silent = [outcome.silent.get(arm.name, 0) for arm in pair]
    p_value = independence([told, silent])
    if p_value >= UNEQUAL_P:
        return ""
    shares = [100 * count / (count + quiet) for count, quiet in zip(told, silent, strict=True)]
    return (
        f"a value is there for {shares[0]:.1f} % of users in {pair[0].name} and {shares[1]:.1f} % in {pair[1].name} "
        f"(p = {p_value:.2g}): those who are missing could decide"
    )


def _judged(verdict: GateVerdict, gate: Gate, effect: Inference) -> Trial:
    better = effect if gate.better == "higher" else Mirrored(effect)
    low, high = float(effect.low(gate.confidence)), float(effect.high(gate.confidence))
    p_value = float(better.p_below(bounds(gate)[1]))
    verdict = replace(
        verdict,
        estimate=float(effect.estimate),
        low=low,
        high=high,
        p_value=p_value,
        method=effect.method,
    )
    passes = clears(gate, better, gate.confidence)
    may_fail = not passes and float(better.high(gate.confidence)) < bounds(gate)[1]
    return Trial(verdict, gate, "share", passes, may_fail, False, p_value, better, math.nan)


def _concluded(trials: Sequence[Trial], alpha: float) -> list[GateVerdict]:
    """Stopping is corrected by Holm over all outcomes and arms; shipping asks all outcomes of an arm to pass."""
    adjusted = holm([1.0 if trial.verdict.p_value is None else trial.verdict.p_value for trial in trials]).tolist()
    return [
        in_words(
            conclude(replace(trial, verdict=replace(trial.verdict, p_adjusted=p_value)), alpha), "user", advice=False
        )
        for trial, p_value in zip(trials, adjusted, strict=True)
    ]


def _report(
    wanted: AbReport,
    traffic: Traffic,
    found: Experiment,
    blocked: list[str],
    verdicts: Sequence[tuple[GateVerdict, str]],
) -> dict[str, Any]:
    per_arm = {arm: [verdict for verdict, of in verdicts if of == arm] for _, arm in verdicts}
    answers = {arm: _arm_answer(listed, blocked) for arm, listed in per_arm.items()}
    answer: Answer = "continue"
    if "abort" in answers.values():
        answer = "abort"
    elif "ship" in answers.values():
        answer = "ship"
    return {
        "schema": 1,
        "app": wanted.app,
        "experiment": traffic.experiment,
        "now": wanted.now.isoformat(timespec="seconds"),
        "answer": answer,
        "next_action": _next_action(answers, per_arm, blocked),
        "exit_code": {"ship": EXIT_PASS, "abort": EXIT_FAIL, "continue": EXIT_INCONCLUSIVE}[answer],
        "arms": answers,
        "users": dict(found.users),
        "young": found.young,
        "moved": found.moved,
        "other_requests": found.other,
        "blocked": blocked,
        "outcomes": [_outcome(verdict, arm, found) for verdict, arm in verdicts],
        "warnings": list(_warnings(found)),
    }


def _warnings(found: Experiment) -> Iterator[str]:
    if found.other:
        yield f"{found.other} requests came to their arm otherwise than by their user and do not count"
    for arm, versions in found.versions.items():
        if len(versions) > 1:
            named = ", ".join(f"{digest[:12]} {count}" for digest, count in versions.most_common(3))
            yield f"arm {arm} answered as {len(versions)} versions ({named}): what is compared is their mixture"


def _arm_answer(verdicts: Sequence[GateVerdict], blocked: Sequence[str]) -> Answer:
    found = {verdict.verdict for verdict in verdicts}
    if blocked:
        return "continue"
    return "abort" if "fail" in found else "ship" if found == {"pass"} else "continue"


def _next_action(
    answers: Mapping[str, Answer], verdicts: Mapping[str, Sequence[GateVerdict]], blocked: Sequence[str]
) -> str:
    if blocked:
        return f"repair the experiment: {blocked[0]}"
    for arm, answer in answers.items():
        if answer == "abort":
            gate = next(verdict for verdict in verdicts[arm] if verdict.verdict == "fail")
            return f"set the share of arm {arm} to 0: {gate.id} is worse ({gate.reason})"
    for arm, answer in answers.items():
        if answer == "ship":
            return f"arm {arm} may take all traffic: every outcome holds; a person decides"
    first = next(verdict for listed in verdicts.values() for verdict in listed if verdict.verdict == "inconclusive")
    return f"let it run: {first.id} is undecided ({first.reason})"


def _outcome(verdict: GateVerdict, arm: str, found: Experiment) -> dict[str, Any]:
    names = ("id", "metric", "rule", "threshold", "better", "n", "estimate", "low", "high", "confidence", "baseline")
    plain = {name: getattr(verdict, name) for name in (*names, "candidate", "p_adjusted", "method", "reason")}
    silent = dict(found.outcomes[verdict.id].silent)
    return {"arm": arm, "answer": ANSWERS[verdict.verdict], **plain, "users_without_value": silent}


def _rows(app: str, found: Experiment, control: str, indicators: Sequence[Any]) -> Iterator[Measurement]:
    metrics = {indicator.id: indicator.metric for indicator in indicators}
    for name, outcome in found.outcomes.items():
        for user, place, value in zip(outcome.users, outcome.arms.tolist(), outcome.values.tolist(), strict=True):
            arm = found.arms[place]
            yield Measurement(
                stage=STAGE,
                app=app,
                variant="baseline" if arm == control else "candidate",
                case=user,
                check=name,
                metric=metrics[name],
                value=value,
                slices=(arm,),
            )
