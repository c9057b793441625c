"""What to do next, and why: the sentences that a person reads first."""

from __future__ import annotations

from collections.abc import Sequence

from harness.gate.verdicts import GateVerdict, RunOutcome, StageResult
from harness.gate.wording import lost_rows, settle
from harness.spec.data_metrics import SEEN

_RANK = {"fail": 0, "inconclusive": 1, "pass": 2, "not_applicable": 3}


def reasons(gates: Sequence[GateVerdict], stages: Sequence[StageResult], profile: str) -> tuple[str, ...]:
    """Why the verdict is what it is, strongest first: failed gates, broken stages, undecided gates, advisory ones.

    When nothing stands against the run, one sentence says so.
    """
    broken = [f"stage {stage.name} broke: {stage.reason}" for stage in stages if stage.status == "broken"]
    failed = [_sentence(gate) for gate in _ranked(gates, required=True) if gate.verdict == "fail"]
    undecided = [_sentence(gate) for gate in _ranked(gates, required=True) if gate.verdict == "inconclusive"]
    advisory = [f"advisory {_sentence(gate)}" for gate in _ranked(gates, required=False) if _RANK[gate.verdict] < 2]
    against = failed + broken + undecided + advisory
    if failed or broken or undecided:
        return tuple(against)
    if not gates:
        return (f"no gate applies to profile {profile}: nothing was decided",)
    passed = sum(gate.verdict == "pass" for gate in gates if gate.required)
    skipped = sum(gate.verdict == "not_applicable" for gate in gates if gate.required)
    tail = f", {skipped} not applicable" if skipped else ""
    return (f"every required gate passed ({passed} passed{tail})", *advisory)


def next_action(
    verdict: RunOutcome, gates: Sequence[GateVerdict], stages: Sequence[StageResult], changes: Sequence[str]
) -> str:
    """One concrete thing to do."""
    if verdict == "fail":
        return _after_fail(gates, changes)
    if verdict == "error":
        stage = next(stage for stage in stages if stage.status == "broken")
        return f"re-run: stage {stage.name} broke: {stage.reason}"
    if verdict == "inconclusive":
        return _after_inconclusive([g for g in _ranked(gates, required=True) if g.verdict == "inconclusive"])
    return "merge: every required gate passed"


def _ranked(gates: Sequence[GateVerdict], *, required: bool) -> list[GateVerdict]:
    """Failed before undecided; among those the smallest p-value, then the largest need, first."""
    kept = [gate for gate in gates if gate.required == required]
    return sorted(kept, key=lambda gate: (_RANK[gate.verdict], _strength(gate), -(gate.need_cases or 0)))


def _strength(gate: GateVerdict) -> float:
    if gate.verdict != "fail" or gate.statistic == "total":
        return 0.0
    p_value = gate.p_adjusted if gate.p_adjusted is not None else gate.p_value
    return 1.0 if p_value is None else p_value


def _sentence(gate: GateVerdict) -> str:
    word = {"fail": "failed", "inconclusive": "undecided"}[gate.verdict]
    return f"gate {gate.name} {word}: {gate.reason}"


def _after_fail(gates: Sequence[GateVerdict], changes: Sequence[str]) -> str:
    failed = _ranked(gates, required=True)
    gate = failed[0]
    if gate.told:
        return _clear(gate)
    others = {other.app for other in gates} - {gate.app}
    # A change that names no app (a model, the runtime) may have touched any.
    mine = [change for change in changes if _names(change, gate.app)]
    mine = mine or [change for change in changes if not any(_names(change, app) for app in others)]
    if gate.rule in ("at_least", "at_most") and not mine:
        return f"repair {gate.app}: gate {gate.id} needs {gate.metric} {gate.rule.replace('_', ' ')} {gate.threshold:g}"
    what = " and ".join(mine) if mine else f"the change of {gate.app}"
    return f"revert {what}: gate {gate.name} failed"


def _clear(gate: GateVerdict) -> str:
    """What a counted row says is what must go."""
    case, reason = gate.told[0]
    found = int(gate.estimate or 0)
    more = f"; {found - 1} more" if found > 1 else ""
    what = f"case {case} {reason}"
    if gate.metric == SEEN:
        return f"remove that row or that case, or waive the pair in suites/{gate.app}/waivers.yaml: {what}{more}"
    return f"repair {gate.app}: {what}{more} (gate {gate.id})"


def _names(change: str, app: str) -> bool:
    return any(word == app or word.startswith(f"{app}/") for word in change.split())


def _after_inconclusive(gates: Sequence[GateVerdict]) -> str:
    if not gates:
        return "declare a gate for this profile in gates.yaml"
    gate = gates[0]
    way = settle(gate)
    if way:
        return f"{way} (gate {gate.id})"
    if gate.n == 0 and not gate.errors and not gate.unscored:
        return f"re-run with the stage that measures {gate.metric}: gate {gate.name} has no rows"
    lost = lost_rows(gate.errors, gate.unscored)
    if lost:
        return f"repair what caused {lost} in gate {gate.name}, then re-run"
    return f"have a named person approve or reject gate {gate.name}: its estimate lies at the bound"
