"""Prometheus metrics: what is counted, where the bucket edges lie, and that callers cannot blow them up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import __version__
from harness.errors import UsageError
from harness.serve.gateway.telemetry import Metrics
from harness.serve.gateway.telemetry.buckets import DEFAULTS, bucket_edges
from harness.serve.gateway.telemetry.metrics import MAX_IDENTITIES
from harness.serve.protocol import EngineStats
from tests.serve.turns import finished

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"


def scraped(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus reads: samples by name, without the times at which series were created."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def only(metrics: Metrics, name: str) -> tuple[dict[str, str], float]:
    """The one sample of that name."""
    (sample,) = scraped(metrics)[name]
    return sample


def buckets(metrics: Metrics, name: str) -> dict[str, float]:
    """The cumulated counts by edge."""
    return {labels["le"]: value for labels, value in scraped(metrics)[f"{name}_bucket"]}


def test_a_request_is_counted_with_who_answered_and_how_it_ended() -> None:
    """Labels name app, variant, adapter and outcome; the model is empty for an app."""
    metrics = Metrics()
    metrics.observe(finished())
    labels, value = only(metrics, "signoff_requests_total")
    assert value == 1
    assert labels == {
        "app": "support",
        "model": "",
        "variant": "candidate",
        "adapter": "triage/1.0.0",
        "shadow": "false",
        "route": "chat",
        "outcome": "ok",
        "status": "2xx",
    }


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("time_to_first_token", 0.3),
        ("time_per_output_token", 0.05),
        ("request_duration", 1.3),
        ("queue_time", 0.02),
    ],
)
def test_each_latency_has_its_histogram(name: str, seconds: float) -> None:
    """The four latencies of a request are observed in seconds under their own names."""
    metrics = Metrics()
    metrics.observe(finished())
    labels, total = only(metrics, f"signoff_{name}_seconds_sum")
    assert total == pytest.approx(seconds)
    assert labels["outcome"] == "ok"


def test_a_threshold_is_an_edge_of_the_histogram() -> None:
    """The share of requests within a threshold can be read off exactly, because it is a bucket's edge."""
    metrics = Metrics({"time_to_first_token": [0.35]})
    for seconds in (0.34, 0.35, 0.36):
        metrics.observe(finished(first_s=seconds))
    found = buckets(metrics, "signoff_time_to_first_token_seconds")
    assert (found["0.3"], found["0.35"], found["0.5"]) == (0, 2, 3)


def test_edges_are_sorted_and_unique() -> None:
    """Thresholds are merged into the defaults whatever their order and however often they are given."""
    edges = bucket_edges({"queue_time": [7, 0.25, 7.0, 0.002]})["queue_time"]
    assert list(edges) == sorted(set(DEFAULTS["queue_time"]) | {7.0, 0.002})
    assert bucket_edges({})["request_duration"] == DEFAULTS["request_duration"]


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        ({"ttft": [1.0]}, "no latency 'ttft'"),
        ({"queue_time": [0.0]}, "queue_time is 0.0"),
        ({"queue_time": [float("nan")]}, "queue_time is nan"),
        ({"queue_time": [float("inf")]}, "queue_time is inf"),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(slo: dict[str, list[float]], said: str) -> None:
    """A misspelt latency and an impossible threshold are errors, not edges that nobody gets."""
    with pytest.raises(UsageError, match=said):
        Metrics(slo)


def test_tokens_are_counted_apart() -> None:
    """Prompt, kept prompt and generated tokens have counters of their own."""
    metrics = Metrics()
    metrics.observe(finished())
    metrics.observe(finished())
    names = ("prompt_tokens", "prompt_tokens_cached", "completion_tokens")
    assert [only(metrics, f"signoff_{name}_total")[1] for name in names] == [200, 80, 42]


def test_an_answer_from_the_cache_costs_no_tokens() -> None:
    """A hit is counted as one, and neither as generated tokens nor as a pace of the engine."""
    metrics = Metrics()
    metrics.observe(finished(cache="hit"))
    metrics.observe(finished(cache="off"))
    found = scraped(metrics)
    assert only(metrics, "signoff_response_cache_total")[0]["state"] == "hit"
    assert only(metrics, "signoff_completion_tokens_total")[1] == 21
    assert only(metrics, "signoff_time_per_output_token_seconds_count")[1] == 1
    assert only(metrics, "signoff_request_duration_seconds_count")[1] == 2
    assert "signoff_completion_tokens_total" in found


@pytest.mark.parametrize(
    ("outcome", "status", "shown"),
    [("limited", 429, "4xx"), ("cancelled", 499, "4xx"), ("failed", 500, "5xx"), ("timeout", 504, "5xx")],
)
def test_failures_are_told_apart(outcome: str, status: int, shown: str) -> None:
    """Limited, abandoned, broken and late requests are series of their own; what never came is not observed."""
    metrics = Metrics()
    metrics.observe(finished(outcome=outcome, status=status, first_s=None, queue_s=None))
    labels, _ = only(metrics, "signoff_requests_total")
    assert (labels["outcome"], labels["status"]) == (outcome, shown)
    found = scraped(metrics)
    assert "signoff_time_to_first_token_seconds_count" not in found
    assert only(metrics, "signoff_request_duration_seconds_count")[0]["outcome"] == outcome


def test_names_that_callers_invent_make_one_series() -> None:
    """Requests for models that do not exist share the label 'unknown', whatever they ask for."""
    metrics = Metrics()
    for number in range(500):
        metrics.observe(finished(asked=f"evil-{number}", app="", model="", arm="", adapter="", outcome="refused"))
    labels, count = only(metrics, "signoff_requests_total")
    assert (labels["model"], count) == ("unknown", 500)
    assert b"evil" not in metrics.render()


def test_the_number_of_series_has_an_end() -> None:
    """Even if a label's value could be chosen from outside, later values share the label 'other'."""
    metrics = Metrics()
    for number in range(MAX_IDENTITIES + 50):
        metrics.observe(finished(app=f"app-{number}"))
    counts = {labels["app"]: value for labels, value in scraped(metrics)["signoff_requests_total"]}
    assert len(counts) == MAX_IDENTITIES + 1
    assert counts["other"] == 50


def test_nobody_is_named() -> None:
    """User ids, key ids, request ids and texts are in no metric."""
    metrics = Metrics()
    metrics.observe(finished(error="jane@example.com is no model"))
    shown = metrics.render().decode()
    assert not [word for word in ("user-99", "key-7", "req-1", "jane", "parcel") if word in shown]


def test_shadows_are_kept_out_of_what_users_felt() -> None:
    """A shadow's figures carry shadow="true"; calls that were left out are counted by app."""
    metrics = Metrics()
    metrics.observe(finished(shadow=True))
    metrics.shadow_dropped("support")
    assert only(metrics, "signoff_request_duration_seconds_count")[0]["shadow"] == "true"
    assert only(metrics, "signoff_shadows_dropped_total") == ({"app": "support"}, 1.0)


def test_engines_are_asked_at_every_scrape() -> None:
    """Gauges show the engine of now, and reused prompt tokens are counters."""
    metrics, stats = Metrics(), EngineStats(3, 2, 900, 4096, 5000, 1200)
    metrics.watch_engine("smol", lambda: stats)
    assert only(metrics, "signoff_engine_requests_running") == ({"model": "smol"}, 3.0)
    assert only(metrics, "signoff_engine_prefix_hit_tokens_total") == ({"model": "smol"}, 1200.0)
    stats = EngineStats()
    assert only(metrics, "signoff_engine_requests_running")[1] == 0


def test_a_broken_engine_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises leaves out its own figures and is told in the log, once."""
    metrics = Metrics()

    def broken() -> EngineStats:
        raise RuntimeError("the engine was closed")

    metrics.watch_engine("dead", broken)
    metrics.watch_engine("smol", EngineStats)
    metrics.watch_in_flight(lambda: 5)
    assert [labels["model"] for labels, _ in scraped(metrics)["signoff_engine_requests_waiting"]] == ["smol"]
    assert only(metrics, "signoff_requests_in_flight") == ({}, 5.0)
    assert [record.getMessage() for record in caplog.records] == [
        "the figures of 'dead' could not be read: the engine was closed"
    ]


def test_losses_of_other_observers_are_shown() -> None:
    """What the trace log had to drop is a counter, so that an alert can watch it."""
    metrics = Metrics()
    metrics.watch_losses("traces", lambda: 12)
    assert only(metrics, "signoff_telemetry_lost_total") == ({"part": "traces"}, 12.0)


def test_two_gateways_in_one_process_do_not_meet() -> None:
    """Every gateway has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.observe(finished())
    assert "signoff_requests_total" not in scraped(other)
    assert only(other, "signoff_build_info") == ({"version": __version__}, 1.0)


@pytest.mark.parametrize("change", [{"tokens": None}, {"total_s": "late"}, {"status": None}])
def test_an_odd_request_disturbs_nobody(change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """An observer logs what it cannot count instead of raising into the request."""
    metrics = Metrics()
    metrics.observe(finished(**change))
    assert "a request is missing in the metrics" in caplog.text


def test_every_metric_is_documented() -> None:
    """docs/monitoring.md names each metric, its labels, and no metric that does not exist."""
    metrics = Metrics()
    metrics.observe(finished())
    metrics.shadow_dropped("support")
    metrics.watch_engine("smol", EngineStats)
    metrics.watch_in_flight(lambda: 1)
    metrics.watch_losses("traces", lambda: 1)
    text = DOCS.read_text(encoding="utf-8")
    documented = set(re.findall(r"`(signoff_\w+)`", text))
    families = list(text_string_to_metric_families(metrics.render().decode()))
    names = {each.name + ("_total" if each.type == "counter" else "") for each in families}
    # prometheus_client adds when each series was made; no alert or dashboard needs them.
    assert documented == {name for name in names if not name.endswith("_created")}
    labels = {name for each in families for sample in each.samples for name in sample.labels}
    assert not [name for name in labels - {"le"} if f"`{name}`" not in text]
