"""Functions of a suite folder, loaded by path so that two versions of a file live side by side."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UsageError


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
