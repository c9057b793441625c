"""OpenTelemetry spans: what they say, where they go, and that a dead collector disturbs nobody."""

from __future__ import annotations

import builtins
import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from harness.errors import UsageError
from harness.serve.gateway.telemetry import Spans, semconv
from harness.serve.gateway.telemetry.spans import MAX_SPANS
from tests.serve.turns import finished

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def masked(text: str) -> str:
    """Stands in for the anonymiser."""
    return text.replace("jane@example.com", "<EMAIL>")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def made(*turns: Any, anonymise: Any = None) -> list[ReadableSpan]:
    """The spans of ``turns`` as an exporter gets them, parents before children."""
    exporter = InMemorySpanExporter()
    spans = Spans(exporter, anonymise)
    for turn in turns:
        spans.observe(turn)
    spans.close()
    return sorted(exporter.get_finished_spans(), key=lambda span: (span.kind is not SpanKind.SERVER, span.start_time))


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes as a plain dict."""
    return dict(span.attributes or {})


def test_a_request_is_a_server_span_in_the_words_of_the_conventions() -> None:
    """Name, kind, times and the gen_ai attributes describe the request."""
    span = made(finished())[0]
    assert (span.name, span.kind) == ("chat support", SpanKind.SERVER)
    assert (span.start_time, span.end_time) == (1_700_000_000_000_000_000, 1_700_000_001_300_000_000)
    found = attributes(span)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "signoff",
        "gen_ai.request.model": "support",
        "gen_ai.request.seed": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.response.id": "chatcmpl-req-1",
        "gen_ai.response.model": "support",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 21,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "signoff.variant": "candidate",
        "signoff.digest": "sha256:abc",
        "http.response.status_code": 200,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "error.type" not in found


def test_every_step_that_ran_is_a_child() -> None:
    """Model, function and http steps are spans below the request's; a skipped step is none."""
    request, *steps = made(finished())
    named = {span.name: span for span in steps}
    assert set(named) == {"chat triage", "execute_tool lookup", "http stock"}
    assert {span.parent.span_id for span in steps if span.parent} == {request.context.span_id}
    triage = named["chat triage"]
    assert (triage.start_time, triage.end_time) == (1_700_000_000_100_000_000, 1_700_000_000_350_000_000)
    found = attributes(triage)
    assert found["gen_ai.prompt.name"] == "support/triage/1.2.0"
    assert found["gen_ai.request.model"] == "smollm2-135m"
    assert found["gen_ai.usage.output_tokens"] == 12
    assert found[semconv.STEP_START_KNOWN] is True
    assert attributes(named["execute_tool lookup"])["gen_ai.tool.name"] == "lookup"
    assert attributes(named["execute_tool lookup"])[semconv.STEP_START_KNOWN] is False
    assert (named["http stock"].kind, named["http stock"].status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)


def test_a_kept_step_does_not_outlast_its_request() -> None:
    """A step out of the cache reports how long it took once; its span ends with the request all the same."""
    slow = {"reply": {"kind": "llm", "status": "ok", "latency_ms": 90_000.0, "cached": True}}
    request, step = made(finished(steps=slow))
    assert step.end_time == request.end_time


def test_the_callers_trace_goes_on() -> None:
    """A W3C traceparent becomes the parent of the request's span."""
    span = made(finished(traceparent=PARENT))[0]
    assert f"{span.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "00f067aa0ba902b7"


@pytest.mark.parametrize("header", ["", "garbage", PARENT[:-5], "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "ÿ" * 9000])
def test_a_broken_traceparent_starts_a_trace(header: str) -> None:
    """What is no valid header is ignored; two requests without one are two traces."""
    first, second = made(finished(traceparent=header, steps={}), finished(steps={}))
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id


def test_a_caller_that_is_not_sampled_gets_no_spans() -> None:
    """The caller's decision not to sample holds for the whole trace."""
    assert made(finished(traceparent=PARENT[:-2] + "00")) == []


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [(429, "limited", StatusCode.UNSET), (500, "failed", StatusCode.ERROR), (504, "timeout", StatusCode.ERROR)],
)
def test_only_the_servers_faults_are_errors(status: int, outcome: str, code: StatusCode) -> None:
    """A refused request is no error of the server's span; its type is told in any case."""
    span = made(finished(status=status, outcome=outcome, error="jane@example.com"))[0]
    assert (span.status.status_code, attributes(span)["error.type"]) == (code, outcome)
    assert span.status.description is None


def test_texts_and_people_stay_out_of_spans() -> None:
    """Neither prompts nor answers, errors, outputs, users nor keys are exported unless asked for."""
    shown = "".join(span.to_json() for span in made(finished(error="no jane@example.com")))
    assert not [word for word in ("jane", "parcel", "user-99", "key-7", "refund", "4711") if word in shown]


def test_a_model_that_is_not_served_is_not_named() -> None:
    """What a caller sends as model is free text; only names that are served are in spans."""
    shown = made(finished(asked="jane@example.com", app="", model="", steps={}))[0].to_json()
    assert "jane" not in shown


def test_texts_are_anonymised_where_they_are_asked_for() -> None:
    """Messages have the shape of the conventions and no identifier in them."""
    found = attributes(made(finished(), anonymise=masked)[0])
    sent, answered = json.loads(found["gen_ai.input.messages"]), json.loads(found["gen_ai.output.messages"])
    assert sent == [
        {"role": "user", "parts": [{"type": "text", "content": "I am <EMAIL>, where is my parcel?"}]},
    ]
    assert answered[0]["role"] == "assistant"
    assert answered[0]["finish_reason"] == "stop"
    assert "jane" not in found["gen_ai.output.messages"]


def test_nothing_is_sent_by_default() -> None:
    """Without an endpoint in the environment there are no spans and no threads for them."""
    before = threading.active_count()
    assert Spans.from_environment(masked) is None
    assert threading.active_count() == before


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_the_usual_switches_switch_it_off(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's own variables for silence are obeyed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    assert Spans.from_environment(masked) is None


def test_a_protocol_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that asks for gRPC is told what there is."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(UsageError, match="'grpc'; only 'http/protobuf'"):
        Spans.from_environment(masked)


def test_a_missing_exporter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message says what to install."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry.exporter"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"signoff\[serve\]"):
        Spans.from_environment(masked)


def test_texts_without_an_anonymiser_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts in spans are anonymised or not there: asking for them bare is an error."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv(semconv.CAPTURE_MESSAGES, "true")
    with pytest.raises(UsageError, match="nothing can anonymise"):
        Spans.from_environment(None)


class Collector:
    """An OTLP/HTTP receiver on loopback that decodes what it gets; ``status`` is what it answers."""

    def __init__(self, status: int = 200) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                collector.paths.append(self.path)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *values: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def resources(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        return [each for body in self.bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    receiver = Collector()
    yield receiver
    receiver.close()


def test_a_real_collector_gets_the_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTLP over HTTP arrives under the usual path, decodes, and names the service; closing delivers the rest."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv(semconv.CAPTURE_MESSAGES, "true")
    spans = Spans.from_environment(masked)
    assert spans is not None
    spans.observe(finished(traceparent=PARENT))
    spans.close()
    assert collector.paths == ["/v1/traces"]
    (resource,) = collector.resources()
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "signoff"
    received = [span for scope in resource.scope_spans for span in scope.spans]
    assert sorted(span.name for span in received) == [
        "chat support",
        "chat triage",
        "execute_tool lookup",
        "http stock",
    ]
    assert {span.trace_id.hex() for span in received} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert b"<EMAIL>" in collector.bodies[0]
    assert b"jane" not in collector.bodies[0]
    assert (spans.lost, spans.dropped) == (0, 0)


def test_the_service_has_the_name_that_the_environment_gives(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_SERVICE_NAME wins over the default."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/own/path")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-assistant")
    spans = Spans.from_environment()
    assert spans is not None
    spans.observe(finished())
    spans.close()
    assert collector.paths == ["/own/path"]
    named = {each.key: each.value.string_value for each in collector.resources()[0].resource.attributes}
    assert named["service.name"] == "shop-assistant"


def test_a_collector_that_refuses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that a collector answers with 400 are lost, counted, and raise nothing."""
    refusing = Collector(status=400)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", refusing.url)
    spans = Spans.from_environment()
    assert spans is not None
    spans.observe(finished())
    spans.close()
    refusing.close()
    assert spans.lost == 4


def test_a_collector_that_is_down_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody listening, requests are observed as ever and closing gives up in the time it was given."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    spans = Spans.from_environment()
    assert spans is not None
    for _ in range(20):
        spans.observe(finished())
    closing = threading.Thread(target=spans.close, args=(0.5,))
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


class Stuck(InMemorySpanExporter):
    """An exporter that delivers nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.free.wait(30)
        return super().export(spans)


def test_a_stuck_exporter_costs_spans_and_no_waiting() -> None:
    """What does not fit is dropped and counted to the last request; all that was not dropped arrives."""
    exporter = Stuck()
    spans = Spans(exporter)
    sent = MAX_SPANS + 1000
    for _ in range(sent):
        spans.observe(finished(steps={}))
    assert spans._background.flush()
    dropped = spans.dropped
    assert dropped >= 1000
    exporter.free.set()
    spans.close()
    assert len(exporter.get_finished_spans()) == sent - dropped


def test_a_value_that_opentelemetry_refuses_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch larger than the queue is told as the environment's fault, not as a traceback."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(MAX_SPANS + 1))
    with pytest.raises(UsageError, match="max_export_batch_size"):
        Spans.from_environment()
