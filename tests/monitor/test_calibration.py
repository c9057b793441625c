"""How often monitoring is wrong: quiet days that alarm, and moved traffic that does not."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness.gate import AppArms, decide
from harness.monitor import Input, compared, make_input, make_reference
from harness.run.watch import monitoring
from harness.run.watch.shifts import decide_shifts
from harness.spec.measurement import Measurement
from harness.spec.monitor import Drift, DriftFeature
from tests.monitor.test_watch import look
from tests.monitor.traffic import log_of, message, traffic, watched_project, write_log

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DRIFT = Drift(
    features=(
        DriftFeature(id="length", kind="length"),
        DriftFeature(id="language", kind="language"),
        DriftFeature(id="intent", kind="step", step="sort"),
        DriftFeature(id="wording", kind="text"),
    ),
)


def inputs(
    draw: random.Random, count: int, spanish: float = 0.1, refund: float = 0.4, longest: int = 18
) -> list[Input]:
    """Inputs of as many users."""
    return [
        make_input(
            message(draw, "es" if draw.random() < spanish else "en", (6, longest)),
            {"intent": "refund" if draw.random() < refund else "other"},
        )
        for _ in range(count)
    ]


def day(seed: int, **how: float) -> dict[str, str]:
    """The verdict on each feature of one day against a reference of its own."""
    draw = random.Random(seed)
    reference = make_reference("desk", "d", DRIFT, inputs(draw, 150), "made up", NOW)
    moved = compared(DRIFT, reference, inputs(draw, 150, **how))  # type: ignore[arg-type]
    return {gate.id.removeprefix("drift-"): gate.verdict for gate in decide_shifts("desk", DRIFT, moved)}


def test_quiet_days_do_not_alarm() -> None:
    """Of 120 days like the reference at most 2 % alarm, and a day's features are mostly decided."""
    days = [day(seed) for seed in range(120)]
    assert sum("fail" in each.values() for each in days) <= 4
    decided = np.mean([verdict == "pass" for each in days for verdict in each.values()])
    assert decided > 0.9


@pytest.mark.parametrize(
    ("how", "feature"),
    [
        ({"spanish": 0.5}, "language"),
        ({"refund": 0.75}, "intent"),
        ({"longest": 60}, "length"),
        ({"spanish": 0.9}, "wording"),
    ],
)
def test_moved_traffic_alarms(how: dict[str, float], feature: str) -> None:
    """Of 15 days of moved traffic nearly all alarm, by the feature that moved."""
    assert sum(day(seed, **how)[feature] == "fail" for seed in range(15)) >= 14


def test_promises_that_are_just_kept_rarely_alarm() -> None:
    """At exactly the objective, over 300 days, one of 50 days alarms and one of 20 passes, plus Monte-Carlo error."""
    from tests.monitor.test_rows import indicator

    generator = np.random.default_rng(7)
    gate = indicator(kind="availability", at_least=0.95).gate()
    verdicts = []
    for _ in range(300):
        values = (generator.random(600) < 0.95).astype(float)
        rows = (
            Measurement("monitor", "desk", "candidate", str(n), "x", "monitor.x", value, group=f"u{n}")
            for n, value in enumerate(values)
        )
        verdicts.append(decide(rows, {"desk": [gate]}, profile="release", apps={"desk": AppArms("")}).gates[0].verdict)
    assert verdicts.count("fail") / 300 <= 0.02 + 2.6 * (0.02 * 0.98 / 300) ** 0.5
    assert verdicts.count("pass") / 300 <= 0.05 + 2.6 * (0.05 * 0.95 / 300) ** 0.5


def test_rows_beyond_the_bound_still_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run folder keeps a bounded part of the rows and all of the drift; the decision rests on every row."""
    project = watched_project(tmp_path)
    monkeypatch.setattr(monitoring, "MOST_ROWS", 100)
    write_log(log_of(project), traffic(400, seed=2))
    _, report = look(project, capsys)
    assert (report["rows"], report["rows_kept"]) == (3 * 400 + 4, 104)
    assert report["apps"]["desk"]["indicators"][0]["n"] == 400


def test_memory_does_not_grow_with_texts(tmp_path: Path) -> None:
    """Ten times the rows, each with two thousand characters, take a few bytes a row more and not the texts."""
    import tracemalloc

    from tests.monitor.traffic import NOW as UNTIL

    peaks = []
    for count in (1000, 10_000):
        project = watched_project(tmp_path / str(count)) if (tmp_path / str(count)).mkdir() is None else None
        assert project is not None
        write_log(log_of(project), ({**each, "output": "x" * 2000} for each in traffic(count, seed=3)))
        wanted = monitoring.Watch(project.root, log_of(project), UNTIL)
        monitoring.watch(wanted)
        tracemalloc.start()
        monitoring.watch(wanted)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 9000 * 600
