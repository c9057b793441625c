"""Per metric: what the second arm did otherwise than the first, by the methods with which gates compare."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.evals import bind_checks
from harness.evals.checks import Check
from harness.gate.inferences import Found, infer
from harness.gate.samples import Sample, Table
from harness.report.outputs import Outputs
from harness.report.scores import Score, Scoring
from harness.spec.gates import Gate
from harness.spec.measurement import Measurement, read_measurements
from harness.spec.repository import SuiteFiles

CONFIDENCE = 0.95
WORST = 3
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class ChangedCase:
    """One case whose score differs: both scores (means over repeats) and both outputs that were scored.

    Of a property, which is scored on rewritten inputs, the outputs are empty.
    """

    case: str
    first: float
    second: float
    first_output: str
    second_output: str

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric in both arms. ``low`` and ``high`` are one-sided bounds of the difference at ``confidence`` each.

    None stands for what the cases do not tell. ``statistic`` is ``mean`` or, as 0.95, the quantile that the suite's
    gate looks at. ``changed`` counts the cases whose score differs; ``worst`` are the three that fell furthest, or
    rose least when none fell.
    """

    metric: str
    step: str
    unit: str
    better: str
    statistic: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    method: str
    n: int
    changed: int
    errors: int
    unscored: int
    worst: tuple[ChangedCase, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"worst": [w.as_dict() for w in self.worst]}


@dataclass(frozen=True, slots=True)
class _Metric:
    app: str
    metric: str
    step: str
    unit: str


def differences(app: str, suite: SuiteFiles, root: Path, rows: Path, outputs: Path) -> tuple[Difference, ...]:
    """Every metric of the measurements in ``rows``, by name; baseline rows are the first arm's."""
    metrics = {(row.metric, row.step): _Metric(app, row.metric, row.step, row.unit) for row in read_measurements(rows)}
    checks = {bound.spec.id: bound.check for bound in bind_checks(suite.suite, root / "suites" / app, app)}
    rules = {key: _rule(metric, suite, checks) for key, metric in sorted(metrics.items())}
    table = Table(read_measurements(rows), {app: list(rules.values())})
    moved = _moved(read_measurements(rows), {(app, rule.metric): rule.better for rule in rules.values()})
    texts = Outputs(outputs, [], lambda *_: None)
    made = []
    for key, rule in rules.items():
        sample = table.sample(app, rule, paired=True, same=False)
        if sample is not None:
            shown = texts if rule.metric.split(".")[0] in checks else None
            worst = tuple(_case(score, shown) for score in moved[key][:WORST])
            made.append(_difference(metrics[key], rule, sample, len(moved[key]), worst))
    return tuple(made)


def _rule(metric: _Metric, suite: SuiteFiles, checks: Mapping[str, Check]) -> Gate:
    """A rule that nothing is decided by: it says over which range and which statistic the arms are compared."""
    check = checks.get(metric.metric.split(".")[0])
    gate = next((g for g in suite.gates if (g.metric, g.step) == (metric.metric, metric.step)), None)
    low, high = check.range if check and check.unit == metric.unit else _of_unit(metric.unit)
    return Gate(
        id="difference",
        metric=metric.metric,
        step=metric.step,
        rule="no_worse_than_baseline_by",
        threshold=0.0,
        statistic="quantile" if gate and gate.statistic == "quantile" else "mean",
        quantile=gate.quantile if gate else None,
        better=check.better if check else "higher",
        confidence=CONFIDENCE,
        minimum=low,
        maximum=high,
    )


def _of_unit(unit: str) -> tuple[float | None, float | None]:
    return (0.0, 1.0) if unit == "share" else (None, None)


def _moved(rows: Iterable[Measurement], better: Mapping[tuple[str, str], str]) -> Mapping[tuple[str, str], list[Score]]:
    """The cases whose score differs by metric and step, those that fell furthest first."""
    scoring = Scoring()
    for row in rows:
        scoring.add(row)
    found: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scoring.scores(better):
        if score.gain is not None and abs(score.gain) > _SAME:
            found[score.metric, score.step].append(score)
    for scores in found.values():
        scores.sort(key=lambda score: (score.gain or 0.0, score.case))
    return found


def _case(score: Score, texts: Outputs | None) -> ChangedCase:
    assert score.baseline is not None and score.candidate is not None, "a gain has two ends"
    if texts is None:
        return ChangedCase(score.case, score.baseline, score.candidate, "", "")
    first, second = (
        _text(texts.get((score.app, variant, score.case, score.worst_repeat)), score.step)
        for variant in ("baseline", "candidate")
    )
    return ChangedCase(score.case, score.baseline, score.candidate, first, second)


def _text(row: Mapping[str, Any] | None, step: str) -> str:
    shown = (row or {}).get("steps", {}).get(step) if step else row
    output = (shown or {}).get("output")
    return output if isinstance(output, str) else orjson.dumps(output).decode()


def _difference(
    metric: _Metric, rule: Gate, sample: Sample, changed: int, worst: tuple[ChangedCase, ...]
) -> Difference:
    found: Found = infer(sample, rule)
    return Difference(
        metric=metric.metric,
        step=metric.step,
        unit=metric.unit,
        better=rule.better,
        statistic="mean" if rule.quantile is None else f"{rule.quantile:g}",
        first=_finite(found.baseline),
        second=_finite(found.candidate),
        difference=_finite(found.inference.estimate),
        low=_finite(found.inference.low(CONFIDENCE)),
        high=_finite(found.inference.high(CONFIDENCE)),
        confidence=CONFIDENCE,
        method=found.inference.method,
        n=found.n,
        changed=changed,
        errors=sample.errors,
        unscored=sample.unscored,
        worst=worst,
    )


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


def changed_answers(outputs: Path) -> tuple[int, int]:
    """How many cases both arms were asked, and of how many an answer differs in any repeat."""
    seen: dict[str, dict[str, dict[int, tuple[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    with outputs.open("rb") as stream:
        for row in map(orjson.loads, stream):
            seen[row["case"]][row["variant"]][row["repeat"]] = (row["status"], row["output_digest"])
    return len(seen), sum(arms["baseline"] != arms["candidate"] for arms in seen.values())
