"""Checks that a suite writes in Python."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.evals.checks.paths import inside
from harness.evals.checks.registry import Built, Context, check
from harness.evals.checks.setting_types import Number, Text, Texts
from harness.evals.checks.subject import Score, Subject, Unscored, printable, shown
from harness.store import digest_bytes, digest_file

Function = Annotated[str, Field(pattern=r"^[^:]+\.py:[A-Za-z_]\w*$", description="file.py:function")]


@check("python")
def python(
    *,
    context: Context,
    function: Function,
    files: Texts | None = None,
    unit: Text = "share",
    minimum: Number | None = 0.0,
    maximum: Number | None = 1.0,
    better: Literal["higher", "lower"] = "higher",
) -> Built:
    """What ``function`` (``file.py:name`` of the suite's folder) says of the Subject: bool, number, Score or several.

    An exception, None or a value outside ``minimum`` to ``maximum`` gives no score. The file's bytes and those of
    ``files``, the other files that it reads, belong to the check's digest; sibling modules cannot be imported.
    """
    file, name = function.split(":")
    path = inside(context.suite_dir, file, "function")
    sources = {file: digest_file(path)}
    sources |= {other: digest_file(inside(context.suite_dir, other, "files")) for other in files or ()}
    own = load_function(path, name)

    def run(subject: Subject) -> Score | list[Score]:
        said = own(subject)
        if isinstance(said, list | tuple):
            return _several([_score(item, name) for item in said], name)
        return _score(said, name)

    return Built(run, unit=unit, range=(minimum, maximum), better=better, sources=sources)


def load_function(path: Path, name: str) -> Callable[[Subject], Any]:
    """Function ``name`` of a Python file; ValueError when the file does not import or lacks it."""
    # The path is in the name: two checkouts of a suite must not share one module.
    module_name = f"signoff_check_{path.stem}_{digest_bytes(str(path).encode() + path.read_bytes())[:16]}"
    module = sys.modules.get(module_name) or _imported(path, module_name)
    function = getattr(module, name, None)
    if not callable(function) or inspect.iscoroutinefunction(function):
        message = f"setting 'function' = {shown(f'{path.name}:{name}')}: the file defines no plain function {name!r}"
        raise ValueError(message)
    found: Callable[[Subject], Any] = function
    return found


def _imported(path: Path, module_name: str) -> Any:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up here while it is still being imported.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if not isinstance(error, Exception | SystemExit):
            raise
        message = f"setting 'function': {path.name} does not import ({type(error).__name__}: {error})"
        raise ValueError(message) from error
    return module


def _score(said: Any, name: str) -> Score:
    if isinstance(said, Score):
        value = None if said.value is None else _number(said.value, name)
        return Score(value, printable(said.reason), said.metric, said.unit)
    return Score(_number(said, name))


def _number(said: Any, name: str) -> float:
    # numpy's numbers and booleans are none of Python's but have item().
    plain = said.item() if hasattr(said, "item") else said
    if not isinstance(plain, bool | int | float):
        raise Unscored(f"{name} returned {type(said).__name__} {shown(said)}, not a bool, a number or a Score")
    return float(plain)


def _several(scores: list[Score], name: str) -> list[Score]:
    metrics = [score.metric for score in scores]
    if len(set(metrics)) < len(metrics):
        raise Unscored(f"{name} returned several scores with the same metric; name each by Score(metric=...)")
    return scores
