"""Figures that are looked up when somebody scrapes: how busy the engines are, what is in flight, what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from harness.serve.gateway.telemetry.sparing import SparingLog
from harness.serve.protocol import EngineStats

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_T = TypeVar("_T")
_ENGINE_GAUGES = (
    ("requests_running", "Requests that hold a slot in the engine.", "running"),
    ("requests_waiting", "Requests that wait for a slot in the engine.", "waiting"),
    ("kv_tokens_used", "Tokens whose key/value state the engine holds.", "kv_tokens_used"),
    ("kv_tokens_budget", "Tokens whose key/value state the engine may hold.", "kv_tokens_budget"),
)
_ENGINE_COUNTERS = (
    ("prefix_query_tokens", "Prompt tokens looked up among the kept prompt beginnings.", "prompt_tokens"),
    ("prefix_hit_tokens", "Prompt tokens found among the kept prompt beginnings.", "reused_tokens"),
)


class Watched:
    """A collector of ``prometheus_client`` that asks callbacks. One that raises leaves its figures out."""

    def __init__(self) -> None:
        self.engines: dict[str, Callable[[], EngineStats]] = {}
        self.losses: dict[str, Callable[[], int]] = {}
        self.in_flight: Callable[[], int] | None = None
        self._log = SparingLog(logging.getLogger("signoff.telemetry"))

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        yield from self._engines()
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        lost = CounterMetricFamily(
            "signoff_telemetry_lost", "Rows or spans that were lost instead of delaying requests.", labels=("part",)
        )
        for part, count in self._asked(self.losses):
            lost.add_metric((part,), count)
        yield lost
        running = GaugeMetricFamily("signoff_requests_in_flight", "Requests that are being answered.")
        for _, count in self._asked({} if self.in_flight is None else {"": self.in_flight}):
            running.add_metric((), count)
        yield running

    def _engines(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = list(self._asked(self.engines))
        for family, figures in ((GaugeMetricFamily, _ENGINE_GAUGES), (CounterMetricFamily, _ENGINE_COUNTERS)):
            for name, text, attribute in figures:
                metric = family(f"signoff_engine_{name}", text, labels=("model",))
                for model, stats in found:
                    metric.add_metric((model,), getattr(stats, attribute))
                yield metric

    def _asked(self, callbacks: dict[str, Callable[[], _T]]) -> Iterator[tuple[str, _T]]:
        for name, callback in list(callbacks.items()):
            try:
                yield name, callback()
            except Exception as problem:  # one broken engine must not hide the figures of the others
                self._log.warn("the figures of %r could not be read: %s", name, problem)
