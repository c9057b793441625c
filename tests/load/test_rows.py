"""Rows: one for each request and metric, equal identities in both arms, nothing guessed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.errors import SignoffError
from harness.load import Control, Noise, Sample, Scorer, make_schedule, within_slo
from harness.load.summary import goodput, percentiles
from harness.spec.load import METRICS, LoadProfile, Slo
from tests.load.plans import BOTH, CASES, profile

SCHEDULE = make_schedule(profile(blocks=2, block_requests=2, warmup=1), CASES, BOTH)
DIGESTS: Any = {"baseline": "b" * 64, "candidate": "c" * 64}
GOOD = Sample(0, 10.0, 10.01, 10.2, 10.7, pieces=5, status=200, tokens=6)
SLO = Slo(ttft_s=0.3, tpot_s=0.2, e2e_s=1.0)


def rows(sample: Sample | None, **how: Any) -> dict[str, Any]:
    """The rows of the first counted request by metric."""
    _, shot = next(SCHEDULE.measured())
    samples = {} if sample is None else {shot.number: sample}
    scorer = Scorer("desk", DIGESTS, how.pop("slo", SLO), **how)
    return {row.metric: row for row in list(scorer.rows(SCHEDULE, samples))[: len(METRICS)]}


def test_metrics_of_an_answered_request() -> None:
    """Latencies count from the intended time, and the logarithms are theirs."""
    found = rows(GOOD)
    values = {name: row.value for name, row in found.items()}
    assert values == pytest.approx(
        {
            "load.ttft_s": 0.2,
            "load.tpot_s": 0.1,
            "load.e2e_s": 0.7,
            "load.log_ttft": math.log(0.2),
            "load.log_e2e": math.log(0.7),
            "load.failed": 0.0,
            "load.within_slo": 1.0,
        }
    )


def test_identities_pair_the_arms() -> None:
    """A request has the same case and group in both arms, another block, and the digest of its arm."""
    samples = {shot.number: GOOD for _, shot in SCHEDULE.measured()}
    found = [row for row in Scorer("desk", DIGESTS, SLO).rows(SCHEDULE, samples) if row.metric == "load.e2e_s"]
    base = {row.case: row for row in found if row.variant == "baseline"}
    cand = {row.case: row for row in found if row.variant == "candidate"}
    assert base.keys() == cand.keys()
    assert len(base) == 4
    for case, row in base.items():
        assert row.group == cand[case].group
        assert row.block != cand[case].block
        assert (row.app_digest, cand[case].app_digest) == ("b" * 64, "c" * 64)
        assert row.slices == ("all",)


def test_a_failed_request_is_a_miss_and_has_no_latency() -> None:
    """It counts as failed and outside the SLO; its latency is an error, never a number."""
    found = rows(Sample(0, 10.0, 10.0, failure="timeout", reason="no whole answer within 5 s"))
    assert (found["load.failed"].value, found["load.within_slo"].value) == (1.0, 0.0)
    for name in ("ttft_s", "tpot_s", "e2e_s", "log_ttft", "log_e2e"):
        row = found[f"load.{name}"]
        assert (row.status, row.value) == ("error", None)
        assert "no whole answer within 5 s" in row.reason


def test_a_request_that_was_not_sent_is_an_error() -> None:
    """Nothing is said of the app, not even that it failed."""
    found = rows(None, lost="not sent: interrupted")
    assert {(row.status, row.reason) for row in found.values()} == {("error", "not sent: interrupted")}


def test_a_void_run_scores_nothing() -> None:
    """Every row says why."""
    found = rows(GOOD, void="the machine was busy")
    assert {(row.status, row.value, row.reason) for row in found.values()} == {
        ("unscored", None, "the machine was busy")
    }


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"first": 10.31}, False),
        ({"ended": 11.01}, False),
        ({"ended": 10.95, "tokens": 3}, False),
        ({"failure": "status"}, False),
        ({"tokens": None}, None),
        ({"tokens": None, "ended": 11.5}, False),
        ({"tokens": None, "pieces": 1}, True),
    ],
)
def test_the_slo_needs_all_that_it_names(changes: dict[str, Any], kept: bool | None) -> None:
    """First token, time per token and end must all be kept; what cannot be known is not assumed."""
    sample = Sample.of(GOOD.as_dict() | changes)
    assert within_slo(sample, SLO) is kept


def test_an_answer_in_one_piece_has_no_time_per_token() -> None:
    """Dividing nothing by its tokens would look very fast."""
    row = rows(Sample.of(GOOD.as_dict() | {"pieces": 1}))["load.tpot_s"]
    assert (row.status, row.reason) == ("unscored", "the answer came in one piece")


def test_percentiles_are_of_raw_values() -> None:
    """They are values that occurred, not bucket edges."""
    assert percentiles([0.147, None, 0.2])["p50"] == 0.147
    assert percentiles([]) == {}


def test_goodput_has_an_interval_and_blocks_as_clusters() -> None:
    """All requests count; few blocks make the interval wide; without a promise there is none."""
    kept = [(f"{block}", block != 3) for block in range(12) for _ in range(5)]
    found = goodput(kept, SLO)
    assert found is not None
    assert found["share"] == pytest.approx(55 / 60)
    one_by_one = goodput([(str(number), good) for number, (_, good) in enumerate(kept)], SLO)
    assert one_by_one is not None
    assert found["low"] < one_by_one["low"] < found["share"] < found["high"]
    assert goodput(kept, Slo()) is None


def test_rows_of_another_version_are_refused() -> None:
    """A sample is never read back with fields missing."""
    row = GOOD.as_dict()
    row.pop("foreign")
    with pytest.raises(SignoffError, match="other fields"):
        Sample.of(row)


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (Noise(), ""),
        (Noise(stolen=0.01, busy=0.1, lag_s=0.01, control=Control(0.05, 0.0)), ""),
        (Noise(lag_s=0.4), "5 % of the requests by more than 0.40 s (allowed 0.25 s)"),
        (Noise(stolen=0.2), "other virtual machines took 20 % of its time"),
        (Noise(busy=0.5), "other programs took 50 % of its time"),
        (Noise(control=Control(0.7, 0.2)), "took 2.01 times as long in the second half"),
        (Noise(control=Control(0.7, 0.0)), ""),
        (Noise(control=Control(0.2, 0.1)), ""),
    ],
)
def test_noise_in_words(noise: Noise, said: str) -> None:
    """Each kind of noise has its limit, its sentence and its figures."""
    found = "; ".join(noise.too_much(LoadProfile()))
    assert (said in found) if said else found == ""
