"""OpenTelemetry spans of requests and their steps, exported only where the environment says so."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from harness import __version__
from harness.errors import UsageError
from harness.serve.gateway.telemetry import semconv
from harness.serve.gateway.telemetry.background import Background
from harness.serve.gateway.telemetry.span_attributes import (
    request_attributes,
    request_name,
    step_attributes,
    step_name,
)
from harness.serve.gateway.telemetry.texts import Anonymise, Texts
from harness.serve.gateway.turn import Turn

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span

MAX_WAITING = 4096
MAX_WAITING_CHARACTERS = 16 * 2**20
MAX_SPANS = 4096


class Spans:
    """A server span for every request, with a child for every step that ran, made after the fact in a thread.

    ``anonymise`` None keeps prompts and answers out of the spans. What ``exporter`` fails to deliver is counted in
    ``lost`` and delays nothing.
    """

    def __init__(self, exporter: SpanExporter, anonymise: Anonymise | None = None) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._exporter = _Counting(exporter)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", self._exporter), MAX_SPANS))
        self._tracer = self._provider.get_tracer("signoff.gateway", __version__)
        self._texts = Texts(anonymise)
        self._made = self._unmade = 0
        self._background: Background[Turn] = Background(
            "signoff-spans", self._make, items=MAX_WAITING, weight=MAX_WAITING_CHARACTERS
        )

    @classmethod
    def from_environment(cls, anonymise: Anonymise | None = None) -> Self | None:
        """Spans to the OTLP endpoint that the environment names; None when it names none.

        Texts, always anonymised, only when OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is ``true``. UsageError
        for a protocol other than ``http/protobuf``, without the exporter's package, for texts without ``anonymise``,
        and for values that OpenTelemetry refuses.
        """
        environ = os.environ
        if not _wanted():
            return None
        protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        if protocol not in (None, "", "http/protobuf"):
            raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; only 'http/protobuf' is supported")
        captured = environ.get(semconv.CAPTURE_MESSAGES, "").strip().lower() in ("true", "span_only", "span_and_event")
        if captured and anonymise is None:
            raise UsageError(f"{semconv.CAPTURE_MESSAGES} asks for texts in spans, but nothing can anonymise them")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise UsageError(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter is not installed: install signoff[serve]"
            ) from None
        try:
            return cls(OTLPSpanExporter(), anonymise if captured else None)
        except ValueError as problem:
            raise UsageError(f"OpenTelemetry refuses a variable of the environment: {problem}") from None

    @property
    def dropped(self) -> int:
        """Requests whose spans were never made, because too many waited."""
        return self._background.dropped + self._unmade

    @property
    def lost(self) -> int:
        """Spans that could not be delivered."""
        return self._exporter.lost

    def observe(self, turn: Turn) -> None:
        """Make the spans of a finished request, soon."""
        self._background.put(turn, len(turn.input) + len(turn.output))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Hand all spans so far to the exporter; False when that takes longer."""
        return self._background.flush(timeout_s) and self._within(timeout_s, self._provider.force_flush)

    def close(self, timeout_s: float = 10.0) -> None:
        """Deliver what waits and stop; spans that an unreachable collector keeps waiting are given up."""
        self._background.close(timeout_s)
        self._within(timeout_s, self._provider.shutdown)

    @staticmethod
    def _within(timeout_s: float, work: Any) -> bool:
        # The SDK waits for half a minute for a collector that is down, whatever it is told.
        thread = threading.Thread(target=work, name="signoff-spans-flush", daemon=True)
        thread.start()
        thread.join(timeout_s)
        return not thread.is_alive()

    def _make(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            # The SDK drops what its queue cannot hold without saying how much; so nothing is put on top of it.
            if self._made - self._exporter.done + 1 + len(turn.steps) > MAX_SPANS:
                self._unmade += 1
            else:
                self._request(turn)

    def _request(self, turn: Turn) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        start = _nanoseconds(turn.received)
        end = start + _nanoseconds(turn.total_s or 0.0)
        span = self._tracer.start_span(
            request_name(turn),
            context=_caller(turn.traceparent),
            kind=SpanKind.SERVER,
            attributes=request_attributes(turn, self._texts),
            start_time=start,
        )
        # Statuses below 500 are the caller's business; a server's span does not fail for them.
        if turn.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        self._made += span.is_recording()
        for name, step in turn.steps.items():
            if step.get("status") != "skipped":
                self._step(name, step, inside, (start, end))
        span.end(end)

    def _step(self, name: str, step: Mapping[str, Any], parent: Context, window: tuple[int, int]) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        started, took = step.get("started"), step.get("took_ms", step.get("latency_ms") or 0.0)
        start = window[0] if started is None else _nanoseconds(started)
        # A kept answer tells how long it took when it was computed.
        end = max(start, min(start + _nanoseconds(took / 1000), window[1]))
        attributes = {**step_attributes(name, step), semconv.STEP_START_KNOWN: started is not None}
        kind = SpanKind.CLIENT if step.get("kind") == "http" else SpanKind.INTERNAL
        span: Span = self._tracer.start_span(step_name(name, step), parent, kind, attributes, start_time=start)
        if step.get("status") == "error":
            span.set_status(Status(StatusCode.ERROR))
        self._made += span.is_recording()
        span.end(end)


def _wanted() -> bool:
    """Whether the environment asks for spans to be sent anywhere."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


class _Counting:
    """An exporter that counts what another one could not deliver."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.done = self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.done += len(spans)
            if result is not SpanExportResult.SUCCESS:
                self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _resource() -> Resource:
    from opentelemetry.sdk.resources import Resource

    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win; the SDK would let its argument win.
    found = Resource.create()
    named = not str(found.attributes.get("service.name", "")).startswith("unknown_service")
    own = {"service.version": __version__} if named else {"service.name": "signoff", "service.version": __version__}
    return found.merge(Resource(own))


def _caller(traceparent: str) -> Context:
    """The context of the caller's span; an empty one without a valid header, which makes a trace of its own."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
