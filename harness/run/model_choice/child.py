"""The process that serves one candidate, and nothing beside it: its memory and its time are the candidate's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import SignoffError
from harness.run.gateway import Gateway
from harness.run.model_choice.made import Made
from harness.run.model_choice.variants import Variant, variant
from harness.serve import LocalServer

if TYPE_CHECKING:
    from fastapi import FastAPI

_PEAK = "VmHWM:"


def build(root: str, cache: str, app: str, candidate: str, made: Mapping[str, Any] | None = None) -> FastAPI:
    """The models that the candidate's steps ask. It keeps no answers: what is timed must be computed."""
    from harness.serve.backend import Backend
    from harness.serve.engine.hub import ModelHub
    from harness.serve.gateway.lifecycle import Lifecycle
    from harness.serve.gateway.routes import create_app
    from harness.serve.service import NO_LIMITS, served_models
    from harness.spec.repository import load_repository
    from harness.spec.serving import Serving

    repository = load_repository(Path(root), only=(app,))
    suite = repository.suites[app]
    assert suite.candidates is not None, "the parent read the same file"
    chosen = next(each for each in suite.candidates.candidates if each.id == candidate)
    check = next(each for each in suite.suite.checks if each.id == suite.candidates.metric.split(".")[0])
    found = variant(repository, app, suite.candidates, chosen, check, Made.of(made) if made else None)
    backend = Backend(ModelHub(Path(root), Path(cache)))
    served = served_models([found.files, found.brief], backend.hub)
    return create_app(served, {}, None, Serving(limits=NO_LIMITS), lifecycle=Lifecycle(closers=(backend.close,)))


class CandidateGateway(Gateway):
    """The gateway of one candidate, started by the first call."""

    def __init__(self, root: Path, cache: Path, app: str, found: Variant, log: Path) -> None:
        super().__init__(root, None, [app], cache, log)
        self._order: dict[str, Any] = {
            "root": str(root),
            "cache": str(cache),
            "app": app,
            "candidate": found.id,
            "made": found.made.as_dict() if found.made else None,
        }

    def _start(self) -> LocalServer:
        server = LocalServer("harness.run.model_choice.child:build", args=self._order, log=self._log)
        server.__enter__()
        return server

    @property
    def pid(self) -> int | None:
        """The process, None while nothing had to be asked."""
        return self._server.pid if self._server else None

    def peak_bytes(self) -> int | None:
        """The most memory that the process ever held at once; None where the system does not say."""
        return None if self.pid is None else peak_bytes(self.pid)


def peak_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """The peak resident memory of a process, in bytes; None where the system does not say."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(_PEAK))
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def first_line(error: Exception) -> str:
    """What a person is told of an error in one line."""
    text = str(error).strip().splitlines()
    said = text[0] if text else type(error).__name__
    return said if isinstance(error, SignoffError) else f"{type(error).__name__}: {said}"
