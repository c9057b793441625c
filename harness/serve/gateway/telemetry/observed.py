"""All that watches one gateway, put together and closed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.serve.gateway.parts import Observer
from harness.serve.gateway.telemetry.metrics import Metrics
from harness.serve.gateway.telemetry.spans import Spans
from harness.serve.gateway.telemetry.texts import Anonymise
from harness.serve.gateway.telemetry.trace_log import TraceLog
from harness.spec.serving import Traces


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The observers of one gateway. ``spans`` and ``traces`` are None where they are not asked for."""

    metrics: Metrics
    spans: Spans | None = None
    traces: TraceLog | None = None

    @classmethod
    def start(
        cls,
        folder: Path | None,
        anonymise: Anonymise | None,
        settings: Traces | None = None,
        slo: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ) -> Telemetry:
        """Metrics; traces in ``folder`` unless it is None; spans if the environment names where to send them.

        ``slo``: thresholds in seconds that become bucket edges, as ``Metrics`` takes them. UsageError for a folder
        that cannot be written and for an environment that asks for what is not there.
        """
        metrics = Metrics(slo)
        spans = Spans.from_environment(anonymise)
        traces = None if folder is None else TraceLog(folder, anonymise, settings or Traces())
        if spans is not None:
            metrics.watch_losses("spans", lambda: spans.dropped + spans.lost)
        if traces is not None:
            metrics.watch_losses("traces", lambda: traces.dropped + traces.lost)
        return cls(metrics, spans, traces)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """What is told of every request."""
        return tuple(each for each in (self.metrics, self.spans, self.traces) if each is not None)

    def close(self) -> None:
        """Deliver and write what waits. Call it when no request is left, from a thread that may wait."""
        for each in (self.traces, self.spans):
            if each is not None:
                each.close()
