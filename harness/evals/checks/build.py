"""From a name and settings to a check that never raises and never gives a number that cannot be averaged."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evals.checks.registry import REGISTER, Better, Built, Context, Fetch, Range, Registered
from harness.evals.checks.settings import INJECTED, read_settings, wrong_settings
from harness.evals.checks.subject import Run, Score, Subject, Unscored, printable, shown
from harness.store import cache_home, digest_of
from harness.store import fetch as fetch_source

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """A check with its settings.

    ``run`` gives at least one score, never raises, and every value is finite and inside ``range``. ``digest``
    changes whenever another score may come out. ``prepare`` loads files that the first score would need.
    """

    id: str
    run: Callable[[Subject], list[Score]]
    unit: str
    digest: str
    range: Range
    better: Better
    prepare: Callable[[], object] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """What the documentation says of a check; ``schema`` is the JSON Schema of its settings."""

    name: str
    doc: str
    schema: dict[str, Any]
    unit: str
    version: int
    range: Range
    better: Better
    expects: bool


def build_check(
    name: str,
    settings: Mapping[str, Any],
    *,
    suite_dir: Path,
    expects: bool | None = None,
    fetch: Fetch | None = None,
) -> Check:
    """The check ``name`` with ``settings``.

    ``expects`` says whether the suite names an expectation for it (None: not known). ``fetch(source, sha256)``
    gives local files of packages; by default those of the store. Raises UsageError with all problems at once.
    """
    if name not in REGISTER:
        message = f"there is no check {name!r}; there are {', '.join(sorted(REGISTER))}"
        raise UsageError(message)
    declared = REGISTER[name]
    values = read_settings(name, declared.model, settings)
    _expectation_given(declared, values, expects)
    built = _built(declared, values, Context(suite_dir, fetch or partial(_from_store, suite_dir)))
    limits = built.range or declared.range
    return Check(
        id=name,
        run=guarded(built.run, declared, values, limits),
        unit=built.unit or declared.unit,
        digest=_digest(declared, values, built),
        range=limits,
        better=built.better or declared.better,
        prepare=built.prepare or (lambda: None),
    )


def catalogue() -> dict[str, CheckInfo]:
    """All checks by name, for the documentation and for editors."""
    return {
        name: CheckInfo(
            name,
            inspect.getdoc(item.factory) or "",
            item.model.model_json_schema(),
            item.unit,
            item.version,
            item.range,
            item.better,
            item.expects,
        )
        for name, item in sorted(REGISTER.items())
    }


def _from_store(suite_dir: Path, source: str, sha256: str) -> Path:
    return fetch_source(source, sha256, cache=cache_home(), root=suite_dir)


def _expectation_given(declared: Registered, values: Mapping[str, Any], expects: bool | None) -> None:
    stands_in = bool(declared.stand_in) and values[declared.stand_in] is not None
    if declared.expects and expects is False and not stands_in:
        instead = f" or the setting {declared.stand_in!r}" if declared.stand_in else ""
        raise wrong_settings(declared.name, f"it needs 'expect', the key of the cases' expectation{instead}")
    if expects and stands_in:
        raise wrong_settings(declared.name, f"'expect' and the setting {declared.stand_in!r} exclude each other")


def _built(declared: Registered, values: Mapping[str, Any], context: Context) -> Built:
    takes_context = INJECTED in inspect.signature(declared.factory).parameters
    try:
        made = declared.factory(**values, **({INJECTED: context} if takes_context else {}))
    except ValueError as error:
        raise wrong_settings(declared.name, str(error)) from error
    return made if isinstance(made, Built) else Built(made)


def _digest(declared: Registered, values: Mapping[str, Any], built: Built) -> str:
    parts = {"name": declared.name, "version": declared.version, "settings": values, "sources": dict(built.sources)}
    try:
        return digest_of(parts)
    except TypeError as error:
        raise wrong_settings(declared.name, f"the settings are not plain JSON: {error}") from error


def guarded(
    run: Run, declared: Registered, values: Mapping[str, Any], limits: Range
) -> Callable[[Subject], list[Score]]:
    """``run`` behind the rules that hold for every check."""
    needs = declared.expects and not (declared.stand_in and values[declared.stand_in] is not None)
    allow_empty = bool(values.get("allow_empty", False))

    def safe(subject: Subject) -> list[Score]:
        if needs and subject.expect is None:
            return [Score(None, "the case expects nothing of this check")]
        if declared.reads_output and (early := _without_output(subject, declared, allow_empty)) is not None:
            return [early]
        try:
            made = run(subject)
            scores = [made] if isinstance(made, Score) else made
            return [_sound(score, limits) for score in scores] or [Score(None, f"{declared.name} gave no score")]
        except Unscored as error:
            return [Score(None, printable(str(error)))]
        except Exception as error:
            return [Score(None, printable(f"{declared.name} raised {type(error).__name__}: {error}"))]

    return safe


def _without_output(subject: Subject, declared: Registered, allow_empty: bool) -> Score | None:
    output: Any = subject.output
    if not isinstance(output, str):
        return Score(None, f"the output is {type(output).__name__}, not text")
    if declared.when_empty == "judge" or allow_empty:
        return None
    # A function step that returned nothing reads "null", which would pass every check of absence.
    if output.strip() and not (subject.parsed is None and output == "null"):
        return None
    return Score(0.0 if declared.when_empty == "fail" else None, "the output is empty")


def _sound(score: Score, limits: Range) -> Score:
    value, (low, high) = score.value, limits
    if value is None:
        return score if score.reason else Score(None, "no reason was given", score.metric, score.unit)
    if not math.isfinite(value):
        return Score(None, f"the value is {value}, which cannot be averaged", score.metric, score.unit)
    inside = (low is None or value >= low - _ROUNDING) and (high is None or value <= high + _ROUNDING)
    if not inside:
        return Score(None, f"the value {shown(value)} lies outside {low} to {high}", score.metric, score.unit)
    value = max(value, low) if low is not None else value
    value = min(value, high) if high is not None else value
    return score if value == score.value else Score(value, score.reason, score.metric, score.unit)
