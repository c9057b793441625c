"""Serving: an in-process engine with continuous batching, and an OpenAI-compatible gateway for models and apps."""

from harness.serve.engine.async_engine import AsyncEngine, Generator
from harness.serve.engine.loader import (
    convert_gguf,
    engine_identity,
    load_transformers,
    prepare_process,
    tokenizer_template_digest,
)
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import (
    AppRequest,
    AppResponse,
    DecodingOverrides,
    LoadedModel,
    ServedApp,
    ServedModel,
    StreamingApp,
    Tokens,
)
from harness.serve.protocol import (
    ChoiceOutput,
    Decoding,
    Engine,
    EngineIdentity,
    Event,
    Generation,
    GenerationRequest,
    JsonOutput,
    Message,
    Output,
    RequestError,
    TextOutput,
)
from harness.serve.server import LocalServer, serve

__all__ = [
    "AppRequest",
    "AppResponse",
    "AsyncEngine",
    "ChoiceOutput",
    "Decoding",
    "DecodingOverrides",
    "Engine",
    "EngineIdentity",
    "Event",
    "Generation",
    "GenerationRequest",
    "Generator",
    "JsonOutput",
    "LoadedModel",
    "LocalServer",
    "Message",
    "Output",
    "RequestError",
    "ServedApp",
    "ServedModel",
    "StreamingApp",
    "TextOutput",
    "Tokens",
    "convert_gguf",
    "create_app",
    "engine_identity",
    "load_transformers",
    "prepare_process",
    "serve",
    "tokenizer_template_digest",
]
