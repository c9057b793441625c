"""The register of checks: a check is a decorated function that takes settings and returns a closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from harness.evals.checks.settings import settings_model
from harness.evals.checks.subject import Run

Better = Literal["higher", "lower"]
Range = tuple[float | None, float | None]
WhenEmpty = Literal["judge", "fail", "unscored"]
Fetch = Callable[[str, str], Path]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a check is built: the suite's folder, and ``fetch(source, sha256)`` for files out of packages."""

    suite_dir: Path
    fetch: Fetch


@dataclass(frozen=True, slots=True)
class Built:
    """A closure whose unit, range or direction hang on the settings, or that rests on more bytes than them.

    ``sources`` (digests of files) go into the check's digest; ``prepare`` loads what the first score would.
    """

    run: Run
    unit: str | None = None
    range: Range | None = None
    better: Better | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None


Factory = Callable[..., "Run | Built"]
F = TypeVar("F", bound=Factory)


@dataclass(frozen=True, slots=True)
class Registered:
    """A check as it was declared."""

    name: str
    factory: Factory
    model: type[BaseModel]
    unit: str
    version: int
    range: Range
    better: Better
    expects: bool
    stand_in: str
    when_empty: WhenEmpty
    reads_output: bool


REGISTER: dict[str, Registered] = {}


def check(
    name: str,
    *,
    unit: str = "share",
    version: int = 1,
    range: Range = (0.0, 1.0),  # noqa: A002 - the word of the measurement table
    better: Better = "higher",
    **options: Any,
) -> Callable[[F], F]:
    """Register the function below as check ``name``.

    Its keyword-only, annotated arguments are the settings; an argument ``context`` is given the Context.
    ``version`` grows when the same settings and output would score otherwise. Options: ``expects`` (a case must
    have an expectation), ``stand_in`` (the setting that replaces it), ``when_empty`` (``judge``: the closure
    decides about a blank output, ``fail``: 0, ``unscored``), ``reads_output`` (False for checks of figures).
    """

    def register(factory: F) -> F:
        defaults: dict[str, Any] = {"expects": False, "stand_in": "", "when_empty": "judge", "reads_output": True}
        if name in REGISTER or options.keys() - defaults.keys():
            message = f"check {name!r} is registered twice or with unknown options {sorted(options)}"
            raise ValueError(message)
        model = settings_model(name, factory)
        REGISTER[name] = Registered(name, factory, model, unit, version, range, better, **{**defaults, **options})
        return factory

    return register
