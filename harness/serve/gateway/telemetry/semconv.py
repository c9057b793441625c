"""The names of OpenTelemetry's conventions for generative AI that spans use, all in this one place.

The conventions (github.com/open-telemetry/semantic-conventions-genai) are in development and do rename things; the
constants in ``opentelemetry.semconv`` are deprecated in their favour. Names under ``signoff.`` are our own.
"""

from __future__ import annotations

from typing import Final

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
PROMPT_NAME: Final = "gen_ai.prompt.name"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"

ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"

CHAT, TEXT_COMPLETION, EMBEDDINGS, EXECUTE_TOOL = "chat", "text_completion", "embeddings", "execute_tool"
PROVIDER: Final = "signoff"

REQUEST_ID: Final = "signoff.request.id"
APP: Final = "signoff.app"
VARIANT: Final = "signoff.variant"
ADAPTER: Final = "signoff.adapter"
DIGEST: Final = "signoff.digest"
CACHE: Final = "signoff.cache"
OUTCOME: Final = "signoff.outcome"
SHADOW: Final = "signoff.shadow"
SHADOW_OF: Final = "signoff.shadow_of"
QUEUE_S: Final = "signoff.queue_s"
STEP: Final = "signoff.step.id"
STEP_KIND: Final = "signoff.step.kind"
STEP_STATUS: Final = "signoff.step.status"
STEP_CACHED: Final = "signoff.step.cached"
STEP_START_KNOWN: Final = "signoff.step.start_known"

CAPTURE_MESSAGES: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable that lets texts into spans."""
