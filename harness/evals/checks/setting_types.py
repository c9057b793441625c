"""The types of settings that several checks share; each says in its message what is allowed."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field


def _jsonpath(path: str) -> str:
    compiled_path(path)
    return path


@lru_cache(maxsize=256)
def compiled_path(path: str) -> Any:
    """A JSONPath, compiled once; ValueError when it is none."""
    from jsonpath_ng.ext import parse

    try:
        return parse(path)
    except Exception as error:
        message = f"not a JSONPath such as $.intent or $.items[*].sku ({error})"
        raise ValueError(message) from error


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
JsonPath = Annotated[str, Field(min_length=1), AfterValidator(_jsonpath)]
