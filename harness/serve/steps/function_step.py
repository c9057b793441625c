"""Function steps: Python of the suite folder, loaded by path so that two versions live side by side."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from harness.errors import UsageError
from harness.serve.steps.callers import StepError


def load_function(folder: Path, reference: str) -> Callable[..., Any]:
    """The function ``file.py:name`` of a suite folder; UsageError when the file does not import or lacks it."""
    file, _, name = reference.partition(":")
    path = folder / file
    # The module's name holds the path: baseline and candidate each get a module of their own.
    unique = f"signoff_suite_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        message = f"{path}: not a Python file"
        raise UsageError(message)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        message = f"{path}: does not import ({type(error).__name__}: {error})"
        raise UsageError(message) from error
    function = getattr(module, name, None)
    if not callable(function):
        message = f"{path}: defines no function {name!r}"
        raise UsageError(message)
    found: Callable[..., Any] = function
    return found


async def run_function(function: Callable[..., Any], bound: Mapping[str, Any]) -> Any:
    """Call it with the bound inputs as keywords, in a thread unless it is a coroutine function.

    StepError when it raises, or returns what JSON cannot hold (keys that are no texts, a lone surrogate).
    """
    try:
        if inspect.iscoroutinefunction(function):
            value = await function(**bound)
        else:
            value = await asyncio.to_thread(function, **bound)
    except Exception as error:
        message = f"{function.__name__} raised {type(error).__name__}: {error}"
        raise StepError(message) from error
    try:
        orjson.dumps(value, default=str)
    except TypeError as error:
        message = f"{function.__name__} returned what JSON cannot hold ({error}): {value!r:.200}"
        raise StepError(message) from error
    return value
