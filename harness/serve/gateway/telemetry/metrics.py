"""Prometheus metrics of one gateway. docs/monitoring.md explains each and names its counterpart in vLLM."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.serve.gateway.telemetry.buckets import FIRST, PACE, QUEUE, TOTAL, bucket_edges
from harness.serve.gateway.telemetry.sparing import SparingLog
from harness.serve.gateway.telemetry.watched import Watched
from harness.serve.gateway.turn import Turn
from harness.serve.protocol import EngineStats

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

# Who answered; the same for every metric, so that they can be joined.
_IDENTITY = ("app", "model", "variant", "adapter", "shadow")
_HELP = {
    FIRST: "From the arrival of a request to the first piece of its answer.",
    PACE: "Time per output token after the first.",
    TOTAL: "From the arrival of a request to the end of its answer.",
    QUEUE: "How long a request waited for a slot in the engine.",
}
# A caller who found a way to choose a label's value could otherwise fill the memory.
MAX_IDENTITIES = 100
UNKNOWN, OTHER = "unknown", "other"


class Metrics:
    """The metrics in a registry of their own, so that several gateways fit in one process.

    ``slo`` maps a latency (``time_to_first_token``, ``time_per_output_token``, ``request_duration``, ``queue_time``)
    to thresholds in seconds, which become bucket edges. ``content_type`` is that of ``render``.
    """

    def __init__(self, slo: Mapping[str, Sequence[float]] = MappingProxyType({})) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

        self.content_type = CONTENT_TYPE_PLAIN_1_0_0
        self.registry = CollectorRegistry()
        self._watched = Watched()
        self.registry.register(self._watched)
        self._log = SparingLog(logging.getLogger("signoff.telemetry"))
        self._seen: set[tuple[str, ...]] = set()
        self._children: dict[tuple[MetricWrapperBase, tuple[str, ...]], Any] = {}

        def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
            return Counter(f"signoff_{name}", text, labels, registry=self.registry)

        self._latency = {
            name: Histogram(
                f"signoff_{name}_seconds", _HELP[name], (*_IDENTITY, "outcome"), buckets=edges, registry=self.registry
            )
            for name, edges in bucket_edges(slo).items()
        }
        ended = (*_IDENTITY, "route", "outcome", "status")
        self._requests = counter("requests", "Requests that are over, by outcome and class of status.", ended)
        self._prompt = counter("prompt_tokens", "Prompt tokens read.", _IDENTITY)
        self._cached = counter("prompt_tokens_cached", "Prompt tokens whose state was kept, of those read.", _IDENTITY)
        self._completion = counter("completion_tokens", "Tokens generated.", _IDENTITY)
        self._answers = counter("response_cache", "Look-ups in the cache of whole answers.", (*_IDENTITY, "state"))
        self._shadows = counter("shadows_dropped", "Shadow calls left out because too many were running.", ("app",))
        build = Gauge("signoff_build_info", "The version that runs.", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def observe(self, turn: Turn) -> None:
        """Count a finished request."""
        try:
            self._count(turn)
        except Exception as problem:  # an observer must not disturb the request
            self._log.warn("a request is missing in the metrics: %s", problem)

    def shadow_dropped(self, app: str) -> None:
        """Count a shadow call that was left out."""
        self._shadows.labels(app).inc()

    def watch_engine(self, name: str, stats: Callable[[], EngineStats]) -> None:
        """Report ``stats()`` as the model ``name`` at every scrape; the callback must be quick and thread-safe."""
        self._watched.engines[name] = stats

    def watch_in_flight(self, count: Callable[[], int]) -> None:
        """Report ``count()`` requests in flight at every scrape."""
        self._watched.in_flight = count

    def watch_losses(self, part: str, count: Callable[[], int]) -> None:
        """Report what ``part`` (``trace_log``, ``spans``) lost since it started."""
        self._watched.losses[part] = count

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    def _count(self, turn: Turn) -> None:
        identity = self._identity(turn)
        status = f"{turn.status // 100}xx"
        self._child(self._requests, (*identity, turn.route, turn.outcome, status)).inc()
        self._time(QUEUE, turn.queue_s, identity, turn.outcome)
        self._time(FIRST, turn.first_s, identity, turn.outcome)
        self._time(TOTAL, turn.total_s, identity, turn.outcome)
        if turn.cache != "off":
            self._child(self._answers, (*identity, turn.cache)).inc()
        if turn.cache == "hit":
            # A kept answer costs no token, and its pace says nothing about the engine.
            return
        self._time(PACE, turn.seconds_per_token, identity, turn.outcome)
        for metric, tokens in (
            (self._prompt, turn.tokens.prompt),
            (self._cached, turn.tokens.cached_prompt),
            (self._completion, turn.tokens.completion),
        ):
            if tokens:
                self._child(metric, identity).inc(tokens)

    def _time(self, name: str, seconds: float | None, identity: tuple[str, ...], outcome: str) -> None:
        if seconds is not None:
            self._child(self._latency[name], (*identity, outcome)).observe(seconds)

    def _child(self, metric: MetricWrapperBase, labels: tuple[str, ...]) -> Any:
        """``metric.labels(*labels)``, which takes most of the time here when it is asked for every request."""
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return child

    def _identity(self, turn: Turn) -> tuple[str, ...]:
        model = turn.model or ("" if turn.app else UNKNOWN)
        found = (turn.app, model, turn.arm, turn.adapter, "true" if turn.shadow else "false")
        if found in self._seen:
            return found
        if len(self._seen) >= MAX_IDENTITIES:
            return OTHER, OTHER, OTHER, OTHER, found[-1]
        self._seen.add(found)
        return found
