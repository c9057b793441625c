"""What a gateway tells of its requests: metrics, spans, and the log of requests that ``monitor`` reads."""

from harness.serve.gateway.telemetry.metrics import Metrics
from harness.serve.gateway.telemetry.observed import Telemetry
from harness.serve.gateway.telemetry.spans import Spans
from harness.serve.gateway.telemetry.trace_log import TraceLog
from harness.serve.gateway.telemetry.trace_reader import read_traces

__all__ = ["Metrics", "Spans", "Telemetry", "TraceLog", "read_traces"]
