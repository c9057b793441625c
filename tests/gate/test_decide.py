import orjson
import pytest

from harness.errors import SignoffError
from harness.gate import Options, StageResult, decide

from .builders import CHANGED, NEW, SAME, gate, rows

GOOD, BAD = [1] * 100, [0] * 30 + [1] * 70


def test_unchanged_outcomes_pass(decided):
    """A hundred cases without any change clear a margin of five points."""
    verdict = decided(rows(GOOD, GOOD), gate())
    assert (verdict.verdict, verdict.exit_code, verdict.next_action) == ("pass", 0, "merge: every required gate passed")
    assert -0.05 < verdict.gates[0].low < 0 < verdict.gates[0].high


def test_few_unchanged_outcomes_are_inconclusive_and_say_what_is_missing(decided):
    """Eleven cases without any change need 41 more for a margin of five points."""
    verdict = decided(rows([1] * 11, [1] * 11, slices=("typos",)), gate(slice="typos"))
    assert (verdict.verdict, verdict.exit_code) == ("inconclusive", 2)
    assert verdict.next_action == "add 41 cases to slice typos of support (gate keep)"


def test_a_broken_candidate_fails_and_names_the_change(decided):
    """Thirty broken cases of a hundred fail, and the action reverts what touched this app."""
    changes = ["prompt publishing/edit 2.0.0 -> 2.1.0", "prompt support/triage 1.1.0 -> 1.2.0"]
    verdict = decided(rows(BAD, GOOD), gate(), options=Options(changes=changes))
    assert (verdict.verdict, verdict.exit_code) == ("fail", 1)
    assert verdict.next_action == "revert prompt support/triage 1.1.0 -> 1.2.0: gate support/keep failed"
    assert verdict.reasons[0].startswith("gate support/keep failed: 100.0 % -> 70.0 %, difference -30.0 points")


def test_lower_can_be_better(decided):
    """For a metric where lower is better a rise fails, and the numbers stay in the metric's own direction."""
    worse = decided(rows(GOOD, BAD, metric="attacks"), gate(metric="attacks", better="lower")).gates[0]
    better = decided(rows(BAD, GOOD, metric="attacks"), gate(metric="attacks", better="lower")).gates[0]
    assert (worse.verdict, worse.estimate, better.verdict) == ("fail", pytest.approx(0.3), "pass")
    assert 0 < worse.low < worse.estimate < worse.high


@pytest.mark.parametrize(("threshold", "expected"), [(0.6, "pass"), (0.72, "inconclusive"), (0.9, "fail")])
@pytest.mark.parametrize("statistic", ["mean", "rate"])
def test_at_least_compares_both_bounds(decided, threshold, expected, statistic):
    """Seventy of a hundred clear 60 %, miss 90 %, and say nothing certain about 72 %."""
    found = decided(rows(BAD), gate(rule="at_least", threshold=threshold, statistic=statistic), apps=NEW)
    assert found.gates[0].verdict == expected


@pytest.mark.parametrize(("threshold", "expected"), [(0.45, "pass"), (0.28, "inconclusive"), (0.1, "fail")])
def test_at_most_compares_both_bounds(decided, threshold, expected):
    """Thirty of a hundred stay under 45 %, exceed 10 %, and say nothing certain about 28 %."""
    found = decided(rows([1 - value for value in BAD]), gate(rule="at_most", threshold=threshold), apps=NEW)
    assert found.gates[0].verdict == expected


@pytest.mark.parametrize(("n", "expected"), [(298, "inconclusive"), (299, "pass")])
def test_a_safety_rate_needs_enough_clean_attempts(decided, n, expected):
    """At most 1 % successful attacks needs 299 clean attempts."""
    found = decided(rows([0] * n), gate(rule="at_most", threshold=0.01, statistic="rate"), apps=NEW)
    assert found.verdict == expected


@pytest.mark.parametrize(("threshold", "expected"), [(0.1, "pass"), (0.3, "inconclusive"), (0.6, "fail")])
def test_better_than_baseline_must_be_proven(decided, threshold, expected):
    """Thirty repaired cases prove a gain of 10 points, leave 30 open, and rule out 60."""
    rule = gate(rule="better_than_baseline_by", threshold=threshold)
    assert decided(rows(GOOD, BAD), rule).gates[0].verdict == expected


@pytest.mark.parametrize(("threshold", "expected"), [(900.0, "pass"), (620.0, "inconclusive"), (400.0, "fail")])
def test_a_quantile_gate_reads_order_statistics(decided, threshold, expected):
    """The median of 1 to 1200 ms is under 900, over 400, and not certainly under 620."""
    latencies = [float(value) for value in range(6, 1201, 6)]
    rule = gate(
        metric="latency_ms", rule="at_most", threshold=threshold, statistic="quantile", quantile=0.5, maximum=None
    )
    assert decided(rows(latencies, metric="latency_ms"), rule, apps=NEW).gates[0].verdict == expected


def test_a_paired_quantile_gate_sees_a_slower_candidate(decided):
    """A median that rose by half fails a margin of 50 ms, and the same latencies pass it."""
    rule = gate(
        metric="ms", statistic="quantile", quantile=0.5, better="lower", threshold=50.0, minimum=0.0, maximum=None
    )
    before = [float(400 + value % 37) for value in range(120)]
    slower = decided(rows([1.5 * value for value in before], before, metric="ms"), rule).gates[0]
    alike = decided(rows([value + index % 3 for index, value in enumerate(before)], before, metric="ms"), rule).gates[0]
    assert (slower.verdict, alike.verdict) == ("fail", "pass")
    assert slower.estimate == pytest.approx(209, abs=2)


@pytest.mark.parametrize(("apps", "reason"), [(SAME, "nothing changed"), (NEW, "no baseline: new app")])
def test_without_two_arms_only_absolute_gates_decide(decided, apps, reason):
    """A paired gate is not applicable when nothing changed or nothing is there to compare with."""
    verdict = decided(rows(GOOD), gate(), gate(id="level", rule="at_least", threshold=0.9), apps=apps)
    assert (verdict.gates[0].verdict, verdict.gates[0].reason) == ("not_applicable", reason)
    assert verdict.gates[1].verdict == verdict.verdict == "pass"


def test_the_one_measured_arm_may_be_called_baseline(decided):
    """With equal digests rows of the baseline are the candidate's."""
    measured = list(rows([], GOOD))
    assert decided(measured, gate(rule="at_least", threshold=0.9), apps=SAME).verdict == "pass"


def test_a_metric_without_rows_is_inconclusive(decided):
    """A required gate that nothing measured does not pass."""
    verdict = decided(rows(GOOD, GOOD), gate(metric="tone"))
    assert verdict.verdict == "inconclusive"
    assert verdict.gates[0].reason == "no measurement of tone"
    assert "re-run with the stage that measures tone" in verdict.next_action


def test_a_broken_stage_is_an_error_unless_something_failed(decided):
    """A broken stage outranks a pass, a proven failure outranks a broken stage."""
    stages = [StageResult("load", "broken", "server died")]
    broken = decided(rows(GOOD, GOOD), gate(), stages=stages)
    assert (broken.verdict, broken.exit_code) == ("error", 3)
    assert broken.next_action == "re-run: stage load broke: server died"
    assert decided(rows(BAD, GOOD), gate(), stages=stages).verdict == "fail"


def test_advisory_gates_never_block(decided):
    """An advisory failure is reported beside a pass."""
    verdict = decided(
        [*rows(GOOD, GOOD), *rows(BAD, GOOD, metric="tone")], gate(), gate(id="tone", metric="tone", required=False)
    )
    assert (verdict.verdict, verdict.gates[1].verdict) == ("pass", "fail")
    assert verdict.reasons[1].startswith("advisory gate support/tone failed")
    assert verdict.gates[1].p_adjusted is None


def test_gates_of_other_profiles_are_left_out(decided):
    """A nightly gate says nothing in a pull request, and a run without any gate proves nothing."""
    verdict = decided(rows(GOOD, GOOD), gate(profiles=("nightly",)))
    assert (verdict.gates, verdict.verdict) == ((), "inconclusive")


def test_failing_is_corrected_for_the_number_of_required_gates(decided):
    """A drop that fails alone is undecided among twelve gates, and the reason says so."""
    drop = [0] * 7 + [1] * 53
    alone = decided(rows(drop, [1] * 60), gate()).gates[0]
    others = [gate(id=f"g{i}", metric=f"m{i}") for i in range(11)]
    measured = [*rows(drop, [1] * 60)] + [row for g in others for row in rows([1] * 60, [1] * 60, metric=g.metric)]
    among = decided(measured, gate(), *others).gates[0]
    assert (alone.verdict, among.verdict) == ("fail", "inconclusive")
    assert among.p_adjusted == pytest.approx(12 * alone.p_value)
    assert "error rate promised for the whole run" in among.reason


def test_a_proven_loss_inside_the_margin_passes_with_a_warning(decided):
    """Twenty points of margin let a drop of seven pass, and the reason says that it is one."""
    verdict = decided(rows([0] * 7 + [1] * 93, GOOD), gate(threshold=0.2)).gates[0]
    assert verdict.verdict == "pass"
    assert verdict.reason.startswith("worse, but within the margin")


def test_cases_of_one_group_count_once(decided):
    """A hundred unchanged cases of five groups are five clusters, too few for the margin."""
    groups = [f"g{index % 5}" for index in range(100)]
    found = decided(rows(GOOD, GOOD, groups=groups), gate()).gates[0]
    assert (found.n, found.clusters, found.verdict) == (100, 5, "inconclusive")


def test_slices_are_kept_apart(decided):
    """A slice gate sees only its own rows."""
    measured = [*rows(GOOD, GOOD, slices=("plain",)), *rows(BAD, GOOD, slices=("typos",), metric="other")]
    verdict = decided(measured, gate(slice="plain"), gate(id="t", slice="typos"))
    assert [g.verdict for g in verdict.gates] == ["pass", "inconclusive"]


def test_gates_of_an_unknown_app_are_refused():
    """A gate whose app is not in the run is a broken caller, named."""
    with pytest.raises(SignoffError, match="gates of ghost: no such app"):
        decide([], {"ghost": [gate()]}, profile="pr", apps=CHANGED)


def test_verdict_is_plain_data_with_the_agreed_keys(decided):
    """The verdict serialises to JSON with every key that its readers rely on."""
    content = orjson.loads(orjson.dumps(decided(rows(BAD, GOOD), gate(), stages=[StageResult("regression")]).as_dict()))
    assert list(content) == [
        "schema", "verdict", "next_action", "exit_code", "model_calls", "cached_calls", "wall_s", "profile", "run_id",
        "apps", "reasons", "approval", "gates", "stages",
    ]  # fmt: skip
    assert list(content["gates"][0]) == [
        "app", "id", "metric", "step", "slice", "rule", "statistic", "required", "better", "threshold", "n", "clusters",
        "repeats", "estimate", "low", "high", "confidence", "baseline", "candidate", "detectable", "p_value",
        "p_adjusted", "changed", "errors", "unscored", "method", "verdict", "reason", "why", "stage",
    ]  # fmt: skip
    assert content["gates"][0]["changed"] == 30
    assert content["stages"][0]["status"] == "ok"
