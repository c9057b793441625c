"""Kept results: for exactly the same subject, for a day, or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.load import Control, KeptRuns, Noise, Sample, key_of, make_schedule
from tests.load.plans import BOTH, CASES, profile

SAMPLES = {number: Sample(number, 1.0, 1.1, 1.2, 1.5, pieces=2, status=200, tokens=4) for number in range(3)}
NOISE = Noise(0.01, 0.2, 0.003, Control(0.1, 0.0))
DIGESTS: Any = {"baseline": "b" * 64, "candidate": "c" * 64}


def key(**changes: Any) -> str:
    """The key of the sample app, with something else in it."""
    load = profile(**changes.pop("profile", {}))
    cases = changes.pop("cases", CASES)
    return key_of({**DIGESTS, **changes}, load, make_schedule(load, cases, BOTH))


def test_a_result_comes_back_whole(tmp_path: Path) -> None:
    """Samples and noise are read back as they were kept; another key finds nothing."""
    kept = KeptRuns(tmp_path / "load")
    assert kept.find(key()) is None
    kept.keep(key(), SAMPLES, NOISE)
    found = kept.find(key())
    assert found is not None
    assert (dict(found.samples), found.noise) == (SAMPLES, NOISE)
    assert found.when == pytest.approx(time.time(), abs=60)
    assert kept.find(key(candidate="d" * 64)) is None


def test_everything_that_matters_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other arms, load, promises, cases, threads or machine need a measurement of their own."""
    other = [case.model_copy(update={"inputs": {"message": "?"}}) for case in CASES]
    keys = {
        key(),
        key(baseline="e" * 64),
        key(profile={"rate": 21}),
        key(profile={"slo": {"e2e_s": 1}}),
        key(cases=other),
    }
    monkeypatch.setenv("SIGNOFF_THREADS", "7")
    keys.add(key())
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    keys.add(key())
    assert len(keys) == 7


@pytest.mark.parametrize("age_s", [25 * 3600, -60])
def test_old_results_and_those_of_the_future_are_not_used(tmp_path: Path, age_s: float) -> None:
    """A day later the machine is another; a clock that was set back proves nothing."""
    kept = KeptRuns(tmp_path)
    kept.keep("k", SAMPLES, NOISE)
    data = orjson.loads((tmp_path / "k.json").read_bytes())
    (tmp_path / "k.json").write_bytes(orjson.dumps(data | {"when": time.time() - age_s}))
    assert kept.find("k") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"when": 1, "noise": {}, "samples": []}', b"\xff"])
def test_damaged_results_are_measured_again(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, it is no reason to stop."""
    (tmp_path / "k.json").write_bytes(content)
    assert KeptRuns(tmp_path).find("k") is None
