"""Shadow calls: the same request to another variant, after the answer, recorded and shown to nobody."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from harness.serve.gateway.answers import ask_app, whole
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.running import Running
from harness.serve.gateway.served import AppRequest, ServedApp
from harness.serve.gateway.turn import Turn

MOST_AT_ONCE = 16


class Shadows:
    """Runs shadow calls in the background, at most ``most`` at once; what comes on top is left out and counted."""

    def __init__(self, apps: Mapping[str, ServedApp], parts: Parts, most: int = MOST_AT_ONCE) -> None:
        self._apps, self._parts, self._most = apps, parts, most
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, names: Sequence[str], request: AppRequest, answered: Turn) -> None:
        """Ask the apps called ``names`` what was answered already. Returns at once and never raises."""
        for name in names:
            if len(self._tasks) >= self._most:
                if self._parts.figures is not None:
                    self._parts.figures.shadow_dropped(answered.app)
                continue
            task = asyncio.create_task(self._run(name, request, _turn(name, answered)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End those that still run."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, request: AppRequest, turn: Turn) -> None:
        running = Running(turn, self._parts.observers)
        problem: BaseException | None = None
        try:
            running.answered(await whole(ask_app(self._apps[name], request, stream=False)))
        except asyncio.CancelledError as stopped:
            problem = stopped
            raise
        except Exception as fault:  # recorded in the turn: a shadow's failure is nobody else's
            problem = fault
        finally:
            running.over(problem)


def _turn(name: str, answered: Turn) -> Turn:
    return Turn(
        id=uuid.uuid4().hex,
        route=answered.route,
        principal=answered.principal,
        asked=answered.asked,
        app=answered.app,
        arm=name.rpartition("@")[2],
        shadow=True,
        shadow_of=answered.id,
        user=answered.user,
        input=answered.input,
        max_tokens=answered.max_tokens,
        temperature=answered.temperature,
        seed=answered.seed,
    )
