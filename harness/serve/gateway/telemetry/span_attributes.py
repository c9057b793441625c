"""What a span says of a request and of each of its steps, in the words of ``semconv``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from harness.serve.gateway.telemetry import semconv as names
from harness.serve.gateway.telemetry.texts import Texts
from harness.serve.gateway.turn import Route, Turn

Attributes = dict[str, Any]

_OPERATIONS: Mapping[Route, str] = {
    "chat": names.CHAT,
    "completions": names.TEXT_COMPLETION,
    "embeddings": names.EMBEDDINGS,
}
_STEP_OPERATIONS = {"llm": names.CHAT, "function": names.EXECUTE_TOOL, "http": "http"}


def request_name(turn: Turn) -> str:
    """``chat support``; without a name when nothing of that name is served, because callers may send any."""
    return f"{_OPERATIONS[turn.route]} {turn.app or turn.model}".strip()


def request_attributes(turn: Turn, texts: Texts) -> Attributes:
    """The attributes of a request's span. ``texts`` decides whether prompts and answers are among them."""
    served, said = turn.app or turn.model, texts.of(turn)
    found: Attributes = {
        names.OPERATION_NAME: _OPERATIONS[turn.route],
        names.PROVIDER_NAME: names.PROVIDER,
        names.REQUEST_MODEL: turn.asked if served else None,
        names.REQUEST_SEED: turn.seed,
        names.REQUEST_TEMPERATURE: turn.temperature,
        names.REQUEST_MAX_TOKENS: turn.max_tokens,
        names.REQUEST_STREAM: turn.stream,
        names.RESPONSE_ID: turn.response_id,
        names.RESPONSE_MODEL: served,
        names.RESPONSE_FINISH_REASONS: (turn.finish_reason,) if turn.finish_reason else None,
        names.RESPONSE_TIME_TO_FIRST_CHUNK: turn.first_s if turn.stream else None,
        names.USAGE_INPUT_TOKENS: turn.tokens.prompt,
        names.USAGE_OUTPUT_TOKENS: turn.tokens.completion,
        names.USAGE_CACHE_READ_INPUT_TOKENS: turn.tokens.cached_prompt,
        names.HTTP_STATUS: turn.status,
        names.ERROR_TYPE: None if turn.outcome == "ok" else turn.outcome,
        names.REQUEST_ID: turn.id,
        names.APP: turn.app,
        names.VARIANT: turn.arm,
        names.ADAPTER: turn.adapter,
        names.DIGEST: turn.digest,
        names.CACHE: turn.cache,
        names.OUTCOME: turn.outcome,
        names.SHADOW: turn.shadow,
        names.SHADOW_OF: turn.shadow_of,
        names.QUEUE_S: turn.queue_s,
        names.INPUT_MESSAGES: _message("user", said.text(turn.input)),
        names.OUTPUT_MESSAGES: _message("assistant", said.text(turn.output), turn.finish_reason),
    }
    return _known(found)


def step_name(name: str, step: Mapping[str, Any]) -> str:
    """``chat reply``, ``execute_tool lookup``, ``http stock``."""
    return f"{_STEP_OPERATIONS.get(step.get('kind', ''), 'step')} {name}"


def step_attributes(name: str, step: Mapping[str, Any]) -> Attributes:
    """The attributes of a step's span. Its output is in the log of requests only."""
    kind = step.get("kind", "")
    found: Attributes = {
        names.OPERATION_NAME: {"llm": names.CHAT, "function": names.EXECUTE_TOOL}.get(kind),
        names.STEP: name,
        names.STEP_KIND: kind,
        names.STEP_STATUS: step.get("status"),
        names.STEP_CACHED: step.get("cached"),
        names.ERROR_TYPE: "failed" if step.get("status") == "error" else None,
    }
    if kind == "function":
        found |= {names.TOOL_NAME: name, names.TOOL_TYPE: "function"}
    if kind == "llm" or step.get("tokens_out"):
        reason = step.get("finish_reason")
        found |= {
            names.PROVIDER_NAME: names.PROVIDER,
            names.REQUEST_MODEL: step.get("model"),
            names.PROMPT_NAME: step.get("prompt"),
            names.RESPONSE_FINISH_REASONS: (reason,) if reason else None,
            names.USAGE_INPUT_TOKENS: step.get("tokens_in"),
            names.USAGE_OUTPUT_TOKENS: step.get("tokens_out"),
        }
    return _known(found)


def _message(role: str, text: str | None, finish_reason: str = "") -> str | None:
    """One message in the JSON of the conventions."""
    if not text:
        return None
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    return orjson.dumps([{**message, "finish_reason": finish_reason} if finish_reason else message]).decode()


def _known(found: Attributes) -> Attributes:
    return {name: value for name, value in found.items() if value is not None and value != ""}
