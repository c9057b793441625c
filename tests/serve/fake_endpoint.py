"""A foreign OpenAI-compatible server over a made-up model, well-behaved but for the faults that a test asks for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

MODEL = "made-up"
KNOWN = frozenset(
    (
        *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "seed", "top_p"),
        *("top_k", "stop", "n", "logprobs", "top_logprobs", "logit_bias", "response_format", "stream"),
        "stream_options",
    )
)
# A token begins with the blank before its word, or goes on inside a word.
WORDS = [[" wind"], [" wave"], [" har", "bour"], [" light", "house"], [" rope"], [" tar", "paulin"], [" gull"]]
_TURNS = 30


@dataclass
class Fake:
    """``faults`` names what goes wrong; ``asked`` collects the bodies; ``key`` is the one that is let in."""

    faults: frozenset[str] = frozenset()
    key: str = ""
    broken: bytes = b""
    """What a stream sends after three pieces, before it ends without another word."""
    slow_s: float = 0.0
    """How long each piece of a stream takes."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """The status and headers of every answer, if the status is not 200."""
    version: str = "1.0"
    models: tuple[str, ...] = (MODEL,)
    asked: list[dict[str, Any]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    url: str = ""
    most_at_once: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    running: list[str] = field(default_factory=list)
    """The models of the requests under way."""
    _now: int = 0

    def has(self, fault: str) -> bool:
        """Whether that goes wrong."""
        return fault in self.faults

    def tokens(self, body: dict[str, Any]) -> list[str]:
        """What the model goes on to say, far beyond any limit."""
        said = body.get("prompt") or orjson.dumps(body["messages"]).decode()
        if self.has("system") and "messages" in body:
            said = orjson.dumps([turn for turn in body["messages"] if turn["role"] != "system"]).decode()
        drawn = body.get("temperature", 1) > 0 and not self.has("temperature")
        narrow = (body.get("top_k") == 1 and not self.has("top_k")) or (
            body.get("top_p", 1) < 0.01 and not self.has("top_p")
        )
        seed = body.get("seed") if not self.has("seed") else None
        salt = "" if not drawn or narrow else str(seed if seed is not None else len(self.asked))
        salt += str(len(self.asked)) if self.has("greedy") and not drawn else ""
        mixed = self.has("mixed") and "tuned" in self.running
        salt += "tuned" if body["model"] == "tuned" or mixed else ""
        digest = b"".join(hashlib.sha256(f"{said}{salt}{turn}".encode()).digest()[:1] for turn in range(_TURNS))
        return [piece for byte in digest for piece in WORDS[byte % len(WORDS)]]


def cut(fake: Fake, body: dict[str, Any]) -> tuple[list[str], str, list[str]]:
    """Tokens, finish_reason, and the tokens as they would be let out by a stream that forgets about stop strings."""
    tokens = fake.tokens(body)
    if body.get("logit_bias") and not fake.has("logit_bias"):
        tokens = ["x"] * len(tokens)
    wanted = body.get("response_format") or {}
    if (wanted.get("type") == "json_object" and not fake.has("json_object")) or (
        wanted.get("type") == "json_schema" and not fake.has("json_schema")
    ):
        schema = wanted.get("json_schema", {}).get("schema", {})
        text = orjson.dumps(_instance(schema)).decode()
        return list(text), "stop", list(text)
    names = [name for name in ("max_tokens", "max_completion_tokens") if not fake.has(name)]
    limit = next((body[name] for name in names if name in body), len(tokens))
    tokens, finish = tokens[:limit], "length" if limit < len(tokens) else "stop"
    loose = tokens
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = "".join(tokens)
        if stop in text and not fake.has("stop"):
            tokens, finish = _up_to(tokens, text.index(stop)), "stop"
    if fake.has("finish"):
        finish = None  # type: ignore[assignment]
    return tokens, finish, loose


def _up_to(tokens: list[str], length: int) -> list[str]:
    kept: list[str] = []
    for token in tokens:
        token = token[: length - len("".join(kept))]
        if not token:
            break
        kept.append(token)
    return kept


def _instance(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "boolean":
        return True
    return {name: _instance(part) for name, part in schema.get("properties", {}).items()}


def _logprobs(fake: Fake, body: dict[str, Any], tokens: list[str]) -> Any:
    count = body.get("top_logprobs", 0) if not fake.has("top_logprobs") else 0
    if "prompt" in body and "logprobs" in body:
        tops = [{token: -0.5, "~": -2.0} for token in tokens]
        return {"tokens": tokens, "token_logprobs": [-0.5] * len(tokens), "top_logprobs": tops, "text_offset": []}
    if not body.get("logprobs") or fake.has("logprobs"):
        return None
    worse = 0.1 if fake.has("penalty") else 3.0
    return {
        "content": [
            {
                "token": token,
                "logprob": -0.5,
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": other, "logprob": value, "bytes": list(other.encode())}
                    for other, value in ((token, -0.5), ("~", -worse), ("^", -4.0))[:count]
                ],
            }
            for token in tokens
        ]
    }


def _error(fake: Fake, status: int, message: str, param: str | None = None) -> web.Response:
    if fake.has("error_shape"):
        return web.json_response({"detail": message}, status=status)
    return web.json_response({"error": {"message": message, "type": "x", "param": param, "code": None}}, status=status)


def _wrong(fake: Fake, body: dict[str, Any]) -> web.Response | None:
    if not isinstance(body.get("temperature", 1), int | float):
        return _error(fake, 422 if fake.has("error_shape") else 400, "temperature must be a number", "temperature")
    unknown = sorted(body.keys() - KNOWN)
    if unknown and not fake.has("unknown_field"):
        return _error(fake, 400, f"unknown field {unknown[0]}", unknown[0])
    for fault in fake.faults:
        if fault.startswith("refuse:") and fault[7:] in body:
            return _error(fake, 400, f"{fault[7:]} is not supported", fault[7:])
    if body.get("model") not in fake.models:
        return _error(fake, 404, f"no model {body.get('model')}", "model")
    return None


def _usage(fake: Fake, body: dict[str, Any], tokens: list[str], count: int = 1) -> dict[str, Any]:
    if fake.has("usage"):
        return {}
    turns = [turn["content"] for turn in body.get("messages", ()) if turn["role"] != "system" or not fake.has("system")]
    read = len(" ".join([body.get("prompt", ""), *turns]).split())
    written = len(tokens) * count
    return {"usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}}


async def _answer(fake: Fake, request: web.Request) -> web.StreamResponse:
    given = request.headers.get("authorization")
    if fake.key and given != f"Bearer {fake.key}" and not (fake.has("key") and given):
        return _error(fake, 401, f"Incorrect API key provided: {given}")
    if fake.status != 200:
        said = {"error": {"message": f"given: {given}", "param": None}}
        return web.json_response(said, status=fake.status, headers=fake.headers)
    body = await request.json()
    fake.asked.append(body)
    fake.peers.add(request.transport.get_extra_info("peername") if request.transport else None)
    raw = request.path.endswith("/completions") and not request.path.endswith("/chat/completions")
    if raw and fake.has("completions"):
        return _error(fake, 404, "no such route")
    refused = _wrong(fake, body)
    if refused is not None:
        return refused
    if fake.has("system_role") and any(turn["role"] == "system" for turn in body.get("messages", ())):
        return _error(fake, 400, "roles must alternate", "messages")
    tokens, finish, loose = cut(fake, body)
    if body.get("stream"):
        return await _stream(fake, request, body, (tokens, finish, loose))
    choice = {"finish_reason": finish, "logprobs": _logprobs(fake, body, tokens)}
    choice |= {"text": "".join(tokens)} if raw else {"message": {"role": "assistant", "content": "".join(tokens)}}
    count = body.get("n", 1) if not fake.has("n") else 1
    choices = [{"index": index, **choice} for index in range(count)]
    return web.json_response({"id": "a", "choices": choices, **_usage(fake, body, tokens, count)})


async def _stream(
    fake: Fake, request: web.Request, body: dict[str, Any], answer: tuple[list[str], str, list[str]]
) -> web.StreamResponse:
    tokens, finish, loose = answer
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)

    async def send(choice: dict[str, Any] | None, **more: Any) -> None:
        data = orjson.dumps({"id": "a", "choices": [choice] if choice else [], **more})
        await response.write(b"data: " + data + b"\n\n")

    raw = "prompt" in body
    if not raw:
        await send({"index": 0, "delta": {} if fake.has("stream_role") else {"role": "assistant", "content": ""}})
    shown = loose if fake.has("stream_stop") and body.get("stop") else tokens
    if fake.has("stream"):
        shown = shown[:-3]
    for number, token in enumerate(shown):
        logprobs = None if fake.has("stream_logprobs") else _logprobs(fake, body, [token])
        piece = {"text": token} if raw else {"delta": {"content": token}}
        await send({"index": 0, **piece, "logprobs": logprobs, "finish_reason": None})
        if fake.broken and number == 2:
            await response.write(fake.broken)
            return response
        if fake.slow_s:
            await asyncio.sleep(fake.slow_s)
        if fake.has("cut") and number == 2 and request.transport:
            request.transport.close()
            return response
    await send({"index": 0, **({"text": ""} if raw else {"delta": {}}), "finish_reason": finish})
    if (body.get("stream_options") or {}).get("include_usage") and not fake.has("stream_usage"):
        await send(None, **_usage(fake, body, tokens))
    if not fake.has("stream_done"):
        await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def faking(*faults: str, **more: Any) -> AsyncIterator[Fake]:
    """A running fake; ``url`` ends in ``/v1``."""
    fake = Fake(frozenset(faults), **more)

    async def counted(request: web.Request) -> web.StreamResponse:
        fake._now += 1
        fake.most_at_once = max(fake.most_at_once, fake._now)
        try:
            if fake._now > 1 and fake.has("parallel"):
                return _error(fake, 500, "one at a time")
            fake.running.append((await request.json()).get("model"))
            await asyncio.sleep(0.005)
            return await _answer(fake, request)
        except (ConnectionResetError, asyncio.CancelledError):
            fake.hung_up.set()
            raise
        finally:
            fake._now -= 1
            if fake._now == 0:
                fake.running.clear()

    async def models(request: web.Request) -> web.Response:
        if fake.key and request.headers.get("authorization") != f"Bearer {fake.key}":
            return _error(fake, 401, f"Incorrect API key provided: {request.headers.get('authorization')}")
        return web.json_response({"object": "list", "data": [{"id": name, "owned_by": "me"} for name in fake.models]})

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": fake.version})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", counted)
    app.router.add_post("/v1/completions", counted)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, shutdown_timeout=1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield fake
    finally:
        await runner.cleanup()
