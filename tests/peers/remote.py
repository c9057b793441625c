"""Asking a foreign server through our engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from harness.serve.protocol import Decoding, Generation, GenerationRequest, Message
from harness.serve.remote import Contract, Contracts, Endpoint, RemoteEngine, close_session, contract_of, session
from harness.spec.models import Model

T = TypeVar("T")


def request(
    text: str, *, adapter: str | None = None, logprobs: int | None = None, **decoding: Any
) -> GenerationRequest:
    """One user message, greedy unless said otherwise."""
    return GenerationRequest(
        (Message("user", text),), Decoding(**{"max_tokens": 24, **decoding}), adapter=adapter, logprobs=logprobs
    )


def remote(url: str, model_id: str, **more: Any) -> Model:
    """The model as ``model.yaml`` would hold it."""
    return Model(
        name="far", engine="openai", base_url=url, model_id=model_id, licence="MIT", context=512, timeout_s=120, **more
    )


def probed(url: str, model_id: str, records: Path, base: str = "") -> Contract:
    """The endpoint's contract; with ``base`` that of an adapter on it."""
    here = Endpoint(url, model_id, "the peer", timeout_s=120)
    over = replace(here, model_id=base) if base else None
    return _run(lambda: contract_of(session(), here, records, base=over))


def asked(model: Model, records: Path, *requests: GenerationRequest) -> list[Generation]:
    """The answers of our engine, all asked at once."""

    async def work() -> list[Generation]:
        engine = RemoteEngine(model, Contracts(records))
        return list(await asyncio.gather(*(engine.generate(each) for each in requests)))

    return _run(work)


def streamed(model: Model, records: Path, wanted: GenerationRequest) -> tuple[list[str], Generation]:
    """The pieces of one answer, and the answer."""

    async def work() -> tuple[list[str], Generation]:
        pieces: list[str] = []
        async with aclosing(RemoteEngine(model, Contracts(records)).stream(wanted)) as stream:
            async for piece in stream:
                if isinstance(piece, Generation):
                    return pieces, piece
                pieces.append(piece.text)
        raise AssertionError("no answer")

    return _run(work)


def statuses(contract: Contract) -> dict[str, str]:
    """The features that are not honoured."""
    return {name: found.status for name, found in contract.features.items() if found.status != "honoured"}


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def inside() -> T:
        try:
            return await work()
        finally:
            await close_session()

    return asyncio.run(inside())
