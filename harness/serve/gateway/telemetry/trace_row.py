"""One row of the log of requests: its fields, in their order, and how a request becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

from harness.serve.gateway.telemetry.pseudonym import Pseudonyms
from harness.serve.gateway.telemetry.texts import RowTexts, Texts
from harness.serve.gateway.turn import Turn

SCHEMA_VERSION = 1
REQUEST = "request"

FieldType = Literal["text", "whole", "number", "flag", "steps"]

COMMON: Mapping[str, FieldType] = MappingProxyType({"schema_version": "whole", "kind": "text", "received": "text"})
"""Fields of every row, whatever its kind."""

FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        **COMMON,
        "id": "text",
        "response_id": "text",
        "app": "text",
        "model": "text",
        "arm": "text",
        "assigned": "text",
        "shadow": "flag",
        "shadow_of": "text",
        "adapter": "text",
        "digest": "text",
        "route": "text",
        "stream": "flag",
        "cache": "text",
        "outcome": "text",
        "status": "whole",
        "error": "text",
        "finish_reason": "text",
        "tokens_in": "whole",
        "tokens_out": "whole",
        "tokens_cached": "whole",
        "queue_s": "number",
        "first_s": "number",
        "total_s": "number",
        "seconds_per_token": "number",
        "user": "text",
        "key_id": "text",
        "input": "text",
        "output": "text",
        "steps": "steps",
    }
)
"""Fields of a row of kind ``request``. All are always there; texts are null where none are kept."""

STEP_FIELDS: Mapping[str, FieldType] = MappingProxyType(
    {
        "id": "text",
        "kind": "text",
        "status": "text",
        "reason": "text",
        "latency_ms": "number",
        "tokens_in": "whole",
        "tokens_out": "whole",
        "cached": "flag",
        "finish_reason": "text",
        "prompt": "text",
        "branch": "text",
        "output": "text",
    }
)
"""Fields of each entry of ``steps``."""

# What a note may say in plain text: names that this server gave. All other texts are anonymised.
PLAIN = frozenset({"id", "response_id", "request_id", "app", "model", "arm", "adapter", "digest", "route", "key_id"})


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC with milliseconds; texts of this form sort by time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request_row(turn: Turn, texts: Texts, users: Pseudonyms) -> dict[str, Any]:
    """The row of a finished request."""
    found = texts.of(turn)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": REQUEST,
        "received": timestamp(turn.received),
        "id": turn.id,
        "response_id": turn.response_id,
        "app": turn.app,
        "model": turn.model,
        "arm": turn.arm,
        "assigned": turn.assigned,
        "shadow": turn.shadow,
        "shadow_of": turn.shadow_of,
        "adapter": turn.adapter,
        "digest": turn.digest,
        "route": turn.route,
        "stream": turn.stream,
        "cache": turn.cache,
        "outcome": turn.outcome,
        "status": turn.status,
        # Errors quote what was wrong in the request.
        "error": found.text(turn.error),
        "finish_reason": turn.finish_reason,
        "tokens_in": turn.tokens.prompt,
        "tokens_out": turn.tokens.completion,
        "tokens_cached": turn.tokens.cached_prompt,
        "queue_s": turn.queue_s,
        "first_s": turn.first_s,
        "total_s": turn.total_s,
        "seconds_per_token": turn.seconds_per_token,
        "user": users.of(turn.user),
        "key_id": turn.principal.key_id,
        "input": found.text(turn.input),
        "output": found.text(turn.output),
        "steps": [_step(name, step, found) for name, step in turn.steps.items()],
    }


def _step(name: str, step: Mapping[str, Any], texts: RowTexts) -> dict[str, Any]:
    return {
        "id": name,
        "kind": step.get("kind", ""),
        "status": step.get("status", ""),
        "reason": texts.text(step.get("reason", "")),
        "latency_ms": step.get("latency_ms"),
        "tokens_in": step.get("tokens_in", 0),
        "tokens_out": step.get("tokens_out", 0),
        "cached": step.get("cached"),
        "finish_reason": step.get("finish_reason", ""),
        "prompt": step.get("prompt", ""),
        "branch": step.get("branch", ""),
        "output": texts.as_text(step.get("output")),
    }


def note_row(kind: str, row: Mapping[str, Any], texts: Texts, users: Pseudonyms, received: float) -> dict[str, Any]:
    """The row of something else than a request: ``row`` with its user replaced and its texts anonymised.

    With no anonymiser it holds the names in ``PLAIN``, numbers and truth values. ``received`` (seconds since 1970) is
    when it came.
    """
    noted: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "kind": kind, "received": timestamp(received)}
    if "user" in row:
        noted["user"] = users.of(str(row["user"] or ""))
    noted |= {name: value for name, value in row.items() if name in PLAIN}
    rest = {name: value for name, value in row.items() if name not in PLAIN and name not in COMMON and name != "user"}
    if texts.none:
        return noted | {name: value for name, value in rest.items() if isinstance(value, int | float | None)}
    found = texts.row((rest,))
    for name, value in rest.items():
        kept = found.value({name: value})
        noted |= {str(name): None} if kept is None else kept
    return noted
