"""The contract probe: what an endpoint really honours, asked once and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.serve.remote.address import Endpoint
from harness.serve.remote.features import Feature
from harness.serve.remote.probes import PROBES, Asker
from harness.serve.remote.probes.adapters import observe_adapter
from harness.serve.remote.probes.asking import ignored, unknown
from harness.serve.remote.record import Contract, Observation, load, new_contract, record_path, save
from harness.serve.remote.transport import EndpointError, exchange, refusal, session
from harness.store import cache_home

# What else a server says of itself (dates, request ids, times) is different every time.
_TELLING_HEADERS = ("server", "openai-version", "x-powered-by")
_TELLING_FIELDS = ("id", "owned_by", "parent", "max_model_len", "digest")
_SHOWN = 200


class Contracts:
    """Gives the contract of an endpoint: from memory, from the record below ``home``, or by probing now.

    Requests that come while an endpoint is probed wait for the one probe. A contract that has expired is probed
    again; a server that was exchanged is noticed by the next process, or by ``signoff probe-endpoint --again``.
    """

    def __init__(self, home: Path | None = None, client: aiohttp.ClientSession | None = None) -> None:
        self._home = home
        self._client = client
        self._known: dict[tuple[str, str, str], Contract] = {}
        self._under_way: dict[tuple[str, str, str], asyncio.Task[Contract]] = {}

    async def of(self, endpoint: Endpoint) -> Contract:
        """What ``endpoint`` honours; EndpointError when it does not answer at all."""
        return await self._once(endpoint, None)

    async def of_adapter(self, endpoint: Endpoint, base: Endpoint) -> Contract:
        """Whether the adapter at ``endpoint`` has an effect (``chat``), and on its own rows only (``batch_exact``)."""
        return await self._once(endpoint, base)

    async def _once(self, endpoint: Endpoint, base: Endpoint | None) -> Contract:
        key = (endpoint.base_url, endpoint.model_id, base.model_id if base else "")
        kept = self._known.get(key)
        if kept is not None and not kept.expired:
            return kept
        if key not in self._under_way:
            client = self._client or session()
            self._under_way[key] = task = asyncio.ensure_future(contract_of(client, endpoint, self._home, base=base))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One caller that gives up must not end the probe that others wait for.
        self._known[key] = await asyncio.shield(self._under_way[key])
        return self._known[key]


async def contract_of(
    client: aiohttp.ClientSession,
    endpoint: Endpoint,
    home: Path | None = None,
    *,
    base: Endpoint | None = None,
    again: bool = False,
) -> Contract:
    """The recorded contract, or a new one, which is recorded; ``again`` probes in any case."""
    reported = await introduced(client, endpoint)
    path = record_path(
        home or cache_home(), endpoint.base_url, endpoint.model_id, reported, base.model_id if base else ""
    )
    kept = None if again else await asyncio.to_thread(load, path)
    if kept is not None:
        return kept
    asker = Asker(client, endpoint)
    features = await (observe_adapter(asker, base) if base else observe(asker))
    made = new_contract(endpoint.base_url, endpoint.model_id, reported, features, asker.requests)
    await asyncio.to_thread(save, path, made)
    return made


async def observe(asker: Asker) -> dict[Feature, Observation]:
    """Run every probe. SignoffError when the endpoint does not answer even a plain question."""
    found: dict[Feature, Observation] = {}
    for probe, features in PROBES.items():
        try:
            found |= await probe(asker)
        except EndpointError as problem:
            if "chat" not in found:
                raise
            found |= dict.fromkeys(features, unknown(asker.what(problem)))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as problem:
            # A body of no known shape: nothing of it can be believed.
            found |= dict.fromkeys(features, ignored(f"an answer of another shape: {type(problem).__name__} {problem}"))
        if "chat" in features and found["chat"].status != "honoured":
            seen = found["chat"]
            message = f"{asker.endpoint.where} does not answer a plain chat ({seen.status}): {seen.evidence}"
            raise SignoffError(message)
    return found


async def served_models(client: aiohttp.ClientSession, endpoint: Endpoint) -> list[str]:
    """The ids of the models that the endpoint lists."""
    reply = await exchange(client, endpoint, "GET", "/models")
    if reply.status != 200:
        raise refusal(endpoint, reply)
    return [name for card in cards(reply.content) if isinstance(name := card.get("id"), str)]


async def introduced(client: aiohttp.ClientSession, endpoint: Endpoint) -> dict[str, str]:
    """What the server says of itself and of the model: part of what a record is valid for."""
    reply = await exchange(client, endpoint, "GET", "/models")
    if reply.status in (401, 403):
        raise refusal(endpoint, reply)
    told = {name: reply.headers[name] for name in _TELLING_HEADERS if name in reply.headers}
    card = next((card for card in cards(reply.content) if card.get("id") == endpoint.model_id), {})
    told |= {f"model.{name}": str(card[name]) for name in _TELLING_FIELDS if card.get(name) is not None}
    version = await _version(client, endpoint)
    told |= {"version": version} if version else {}
    return {name: Observation.of("unknown", text).evidence for name, text in told.items()}


async def _version(client: aiohttp.ClientSession, endpoint: Endpoint) -> str:
    # Not part of OpenAI's API: vLLM and others answer it above /v1.
    parts = urlsplit(endpoint.base_url)
    root = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), "", ""))
    reply = await exchange(client, replace(endpoint, base_url=root), "GET", "/version")
    try:
        body = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        return ""
    version = body.get("version") if isinstance(body, dict) and reply.status == 200 else None
    return version[:_SHOWN] if isinstance(version, str) else ""


def cards(content: bytes) -> list[Mapping[str, Any]]:
    """The models in the answer of ``GET /models``; empty when it is something else."""
    try:
        data = orjson.loads(content)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
    return [card for card in data if isinstance(card, dict)] if isinstance(data, list) else []
