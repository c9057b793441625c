"""Settings of a check: read off the signature, validated strictly, all problems at once."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from harness.errors import UsageError
from harness.evals.checks.subject import shown

INJECTED = "context"


def settings_model(name: str, factory: Callable[..., Any]) -> type[BaseModel]:
    """A strict model of the keyword-only arguments of ``factory``."""
    hints = get_type_hints(factory, include_extras=True)
    fields: dict[str, Any] = {}
    for argument in inspect.signature(factory).parameters.values():
        if argument.kind is not argument.KEYWORD_ONLY:
            message = f"check {name!r}: argument {argument.name!r} must be keyword-only"
            raise TypeError(message)
        if argument.name != INJECTED:
            default = ... if argument.default is argument.empty else argument.default
            # By alias, because a setting may be called "schema" or "copy", as methods of a model are.
            fields[f"setting_{argument.name}"] = (hints[argument.name], Field(default, alias=argument.name))
    config = ConfigDict(extra="forbid", strict=True)
    model: type[BaseModel] = create_model(f"{name} settings", __config__=config, **fields)
    return model


def read_settings(name: str, model: type[BaseModel], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with defaults filled in; UsageError that names every wrong key, its value and what is allowed."""
    try:
        valid = model.model_validate(dict(settings))
    except ValidationError as error:
        problems = [_wording(model, problem) for problem in error.errors(include_url=False)]
        raise wrong_settings(name, *problems) from error
    return {str(field.alias): getattr(valid, name) for name, field in model.model_fields.items()}


def wrong_settings(name: str, *problems: str) -> UsageError:
    """One error for all ``problems`` of the settings of check ``name``."""
    return UsageError("; ".join(f"check {name!r}: {problem}" for problem in problems))


def _wording(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    allowed = [str(field.alias) for field in model.model_fields.values()]
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown setting {key!r} = {shown(problem['input'])}{hint}; allowed: {', '.join(allowed) or 'none'}"
    if problem["type"] == "missing":
        return f"setting {key!r} is missing; {_needed(model, str(problem['loc'][0]))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"setting {key!r} = {shown(problem['input'])}: {message[:1].lower()}{message[1:]}"


def _needed(model: type[BaseModel], key: str) -> str:
    field = model.model_json_schema()["properties"].get(key, {})
    return f"it is {field.get('type', 'needed')}" if "enum" not in field else f"allowed: {field['enum']}"
