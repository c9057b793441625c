"""Function steps: Python of the suite folder."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from harness.serve.steps.callers import StepError
from harness.spec.functions import load_function

__all__ = ["load_function", "run_function"]


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
