"""Settings of a deepeval metric: checked against the metric's own signature before anything is asked."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.evals.checks.subject import shown

# Ours to decide: who is asked, how, and where it is printed.
_OURS = frozenset(
    {
        *("model", "system_one_model", "eval_mode", "async_mode", "verbose_mode", "evaluation_template", "flaky"),
        *("args", "kwargs"),
    }
)


def read_settings(check: str, kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``kind`` with their values in its own types; UsageError names every one that it refuses."""
    allowed = {
        name: each
        for name, each in inspect.signature(kind).parameters.items()
        if name not in _OURS and not name.startswith("_")
    }
    hints = get_type_hints(kind.__init__)
    problems, values = [], {}
    for name, value in settings.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(sorted(allowed))
            problems.append(f"{kind.__name__} has no setting {name!r} = {shown(value)}{hint}; allowed: {known}")
            continue
        try:
            values[name] = _typed(hints.get(name, Any), value)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            problems.append(f"setting {name!r} = {shown(value)}: {said[:1].lower()}{said[1:]}")
    problems += [
        f"setting {name!r} of {kind.__name__} is missing"
        for name, each in allowed.items()
        if each.default is inspect.Parameter.empty and name not in settings and name != "name"
    ]
    if problems:
        raise UsageError("; ".join(f"check {check!r}: {problem}" for problem in problems))
    return values


def _typed(hint: Any, value: Any) -> Any:
    config = ConfigDict(arbitrary_types_allowed=True)
    try:
        adapter = TypeAdapter(hint, config=config)
    except Exception:  # a model has a configuration of its own, and takes none from outside
        adapter = TypeAdapter(hint)
    # A bool is a number to Python and a mistake to whoever wrote "threshold: true".
    if isinstance(value, bool) and "bool" not in str(hint):
        return adapter.validate_python(str(value))
    return adapter.validate_python(value)
