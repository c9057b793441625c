"""An engine behind its own thread, awaited from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from harness.errors import SignoffError
from harness.serve.protocol import Delta, Engine, EngineIdentity, EngineStats, Event, Generation, GenerationRequest

Listener = Callable[[Event], None]


class Generator(Protocol):
    """What the rest of the harness asks of a served model: the asynchronous face of any engine."""

    @property
    def identity(self) -> EngineIdentity:
        """What computes the answers."""
        ...

    async def generate(self, request: GenerationRequest) -> Generation:
        """The finished answer."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncIterator[Delta | Generation]:
        """Pieces of text as they come, then the finished generation."""
        ...


class AsyncEngine:
    """Runs ``engine`` in one thread of its own; ``generate`` and ``stream`` may be called from any event loop.

    Cancelling the awaiting task frees the request's row before the next step. If the engine fails, every
    waiting request fails with a SignoffError that says why, and so does every later one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._listeners: dict[int, Listener] = {}
        self._lock = threading.Lock()
        self._unserved: dict[int, Listener] = {}
        self._failure: SignoffError | None = None
        self._preparers = ThreadPoolExecutor(2, thread_name_prefix="signoff-prepare")
        self._thread = threading.Thread(target=self._run, name="signoff-engine", daemon=True)
        self._thread.start()

    @property
    def identity(self) -> EngineIdentity:
        """What the engine is."""
        return self._engine.identity

    async def generate(self, request: GenerationRequest) -> Generation:
        """The finished answer; raises RequestError if it cannot be served, SignoffError if the engine died."""
        async with aclosing(self.stream(request)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Generation):
                    return piece
        raise SignoffError("the engine ended a request without an answer")

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Generation, None]:
        """Pieces of text as they come, then the finished generation. Errors as for ``generate``."""
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Event] = asyncio.Queue()
        # Long prompts and schemas are taken apart here, so that they do not hold up the tokens of others.
        prepared = await loop.run_in_executor(self._preparers, self._prepare, request)
        call = _Call(prepared, lambda event: _post(loop, inbox, event))
        self._submit(call)
        finished = False
        try:
            while not finished:
                event = await inbox.get()
                finished = event.error is not None or event.generation is not None
                if event.error is not None:
                    raise event.error
                if event.delta is not None:
                    yield event.delta
                if event.generation is not None:
                    yield event.generation
        finally:
            if not finished:
                self._commands.put(lambda: self._cancel(call))

    async def load_adapter(self, digest: str, folder: Path) -> None:
        """Let the engine serve the adapter in ``folder`` as ``digest``; UsageError if it cannot."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[None] = loop.create_future()

        def load() -> None:
            try:
                self._engine.load_adapter(digest, folder)
            except SignoffError as problem:
                _settle(loop, loaded, problem)
            else:
                _settle(loop, loaded, None)

        with self._lock:
            if self._failure is not None:
                raise SignoffError(str(self._failure)) from self._failure
        self._commands.put(load)
        await loaded

    @property
    def stats(self) -> EngineStats:
        """How full the engine is; read from any thread, so figures may be one step apart."""
        return self._engine.stats

    def close(self) -> None:
        """Stop the thread after the step it is in; requests still waiting fail with a SignoffError."""
        self._commands.put(None)
        self._thread.join()
        self._preparers.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, request: GenerationRequest) -> Any:
        try:
            return self._engine.prepare(request)
        except SignoffError:
            raise
        except Exception as problem:
            message = f"the request could not be prepared: {type(problem).__name__}: {problem}"
            raise SignoffError(message) from problem

    def _submit(self, call: _Call) -> None:
        with self._lock:
            if self._failure is not None:
                raise SignoffError(str(self._failure)) from self._failure
            self._unserved[id(call)] = call.listener
        self._commands.put(lambda: self._admit(call))

    def _admit(self, call: _Call) -> None:
        with self._lock:
            self._unserved.pop(id(call), None)
        if call.cancelled:
            return
        try:
            call.ticket = self._engine.admit(call.prepared)
        except SignoffError as problem:
            call.listener(Event(0, error=problem))
            return
        self._listeners[call.ticket] = call.listener

    def _cancel(self, call: _Call) -> None:
        call.cancelled = True
        self._listeners.pop(call.ticket, None)
        self._engine.cancel(call.ticket)

    def _run(self) -> None:
        try:
            while self._obey():
                for event in self._engine.step():
                    self._deliver(event)
            self._fail(SignoffError("the engine was closed"))
        except BaseException as problem:  # the thread ends here, and nobody else would tell those who wait
            self._fail(SignoffError(f"the engine thread died: {type(problem).__name__}: {problem}"), problem)

    def _obey(self) -> bool:
        """Carry out what was asked since the last step, sleeping while idle; False to stop."""
        idle = not self._engine.busy
        while True:
            try:
                command = self._commands.get(block=idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            idle = False

    def _deliver(self, event: Event) -> None:
        last = event.generation is not None or event.error is not None
        listener = self._listeners.pop(event.ticket, None) if last else self._listeners.get(event.ticket)
        if listener is not None:
            listener(event)

    def _fail(self, failure: SignoffError, cause: BaseException | None = None) -> None:
        failure.__cause__ = cause
        with self._lock:
            self._failure = failure
            waiting = [*self._listeners.values(), *self._unserved.values()]
            self._listeners.clear()
            self._unserved.clear()
        for listener in waiting:
            listener(Event(0, error=SignoffError(str(failure))))


class _Call:
    """One request between the event loop and the engine's thread."""

    __slots__ = ("cancelled", "listener", "prepared", "ticket")

    def __init__(self, prepared: Any, listener: Listener) -> None:
        self.prepared, self.listener = prepared, listener
        self.ticket = 0
        self.cancelled = False


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], problem: SignoffError | None) -> None:
    """Resolve a future of another thread's loop, if that still waits for it."""

    def settle() -> None:
        if future.done():
            return
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)


def _post(loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Event], event: Event) -> None:
    """Hand an event over to the loop; a loop that is closed has nobody left to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(inbox.put_nowait, event)
