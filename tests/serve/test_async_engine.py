"""The engine's thread: many callers, cancellation, and what happens when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from harness.errors import SignoffError
from harness.serve.engine.async_engine import AsyncEngine
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import Delta, EngineIdentity, Event, Generation, GenerationRequest, RequestError
from tests.serve.helpers import Solo, ask


class _Breaking:
    """An engine that fails in its second step."""

    identity = EngineIdentity("breaking", "1", "float32", "none", "")
    busy = False

    def __init__(self) -> None:
        self._admitted = 0
        self._steps = 0

    def prepare(self, request: GenerationRequest) -> GenerationRequest:
        """Nothing to prepare."""
        return request

    def admit(self, prepared: GenerationRequest) -> int:
        """Take anything."""
        self.busy = True
        self._admitted += 1
        return self._admitted

    def step(self) -> list[Event]:
        """Work once, then break."""
        self._steps += 1
        if self._steps > 1:
            raise MemoryError("no room")
        return [Event(1, Delta("a"))]

    def cancel(self, ticket: int) -> None:
        """Nothing to free."""


@pytest.fixture
def served(engine: TransformersEngine) -> Iterator[AsyncEngine]:
    """The tiny engine behind its thread."""
    running = AsyncEngine(engine)
    yield running
    running.close()


def test_concurrent_callers_get_their_own_answers(served: AsyncEngine, solo: Solo) -> None:
    """Many awaited requests at once each get the answer that they would get alone."""
    requests = [ask("hello " * count, max_tokens=4 + count) for count in range(1, 20)]

    async def all_at_once() -> list[Generation]:
        return await asyncio.gather(*(served.generate(request) for request in requests))

    assert [found.text for found in asyncio.run(all_at_once())] == [solo(request) for request in requests]


def test_it_serves_one_event_loop_after_another(served: AsyncEngine) -> None:
    """The engine outlives the loop of its first caller."""
    first, second = (asyncio.run(served.generate(ask("hi", max_tokens=5))) for _ in range(2))
    assert first.text == second.text


def test_a_stream_ends_with_the_generation(served: AsyncEngine) -> None:
    """A stream hands out the text piece by piece and then the generation that holds all of it."""

    async def collect() -> list[Delta | Generation]:
        return [piece async for piece in served.stream(ask("hello", max_tokens=20))]

    *pieces, last = asyncio.run(collect())
    assert isinstance(last, Generation)
    assert len(pieces) > 3
    assert "".join(piece.text for piece in pieces if isinstance(piece, Delta)) == last.text


def test_a_request_that_cannot_be_served_fails_alone(served: AsyncEngine) -> None:
    """A refused request raises its own error while others are answered."""

    async def both() -> list[Generation | BaseException]:
        calls = [served.generate(ask("hi", max_tokens=limit)) for limit in (9999, 3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    refused, answered = asyncio.run(both())
    assert isinstance(refused, RequestError)
    assert isinstance(answered, Generation)


def test_cancelling_the_caller_frees_the_slot(served: AsyncEngine, engine: TransformersEngine) -> None:
    """When the awaiting task is cancelled, the engine stops working on its request."""

    async def cancel_midway() -> None:
        task = asyncio.create_task(served.generate(ask("hi", max_tokens=1900)))
        while not engine.busy:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while engine.busy:
                await asyncio.sleep(0.001)

    asyncio.run(cancel_midway())


def test_leaving_a_stream_frees_the_slot(served: AsyncEngine, engine: TransformersEngine) -> None:
    """Closing a stream before its end frees the request's slot."""

    async def leave() -> None:
        stream = served.stream(ask("hi", max_tokens=1900))
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(10):
            while engine.busy:
                await asyncio.sleep(0.001)

    asyncio.run(leave())


def test_a_dead_engine_fails_everyone_who_waits() -> None:
    """If a step raises, waiting and later callers get a SignoffError that names the cause; nobody hangs."""
    served = AsyncEngine(_Breaking())

    async def wait() -> list[Generation | BaseException]:
        calls = [served.generate(ask("hi")) for _ in range(3)]
        async with asyncio.timeout(10):
            return await asyncio.gather(*calls, return_exceptions=True)

    for found in asyncio.run(wait()):
        assert isinstance(found, SignoffError)
        assert "MemoryError: no room" in str(found)
    with pytest.raises(SignoffError, match="no room"):
        asyncio.run(served.generate(ask("hi")))


def test_closing_fails_those_who_wait(engine: TransformersEngine) -> None:
    """Closing the engine ends its thread and tells those who still wait."""
    served = AsyncEngine(engine)

    async def close_midway() -> None:
        task = asyncio.create_task(served.generate(ask("hi", max_tokens=1900)))
        while not engine.busy:
            await asyncio.sleep(0.001)
        served.close()
        with pytest.raises(SignoffError, match="closed"):
            await task

    asyncio.run(close_midway())
