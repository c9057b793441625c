"""The field ``response_format``: OpenAI's three formats, and the choice among options that is our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.serve.gateway.fields import Closed
from harness.serve.protocol import ChoiceOutput, JsonOutput, Output, TextOutput

# Options are compared with each other and scored in one pass: many of them are no choice but an attack.
MOST_OPTIONS = 1024


class _TextFormat(Closed):
    type: Literal["text"]


class _JsonFormat(Closed):
    type: Literal["json_object"]


class _NamedSchema(Closed):
    name: str = ""
    description: str = ""
    # A field called "schema" would hide a method of pydantic's base class.
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = True


class _SchemaFormat(Closed):
    type: Literal["json_schema"]
    json_schema: _NamedSchema


class _ChoiceFormat(Closed):
    type: Literal["choice"]
    options: Annotated[list[str], Field(max_length=MOST_OPTIONS)]


Format = Annotated[_TextFormat | _JsonFormat | _SchemaFormat | _ChoiceFormat, Field(discriminator="type")]


def output_of(wanted: Format | None) -> Output:
    """What the engine is asked for; RequestError for options that are no choice."""
    if isinstance(wanted, _ChoiceFormat):
        return ChoiceOutput(tuple(wanted.options))
    if isinstance(wanted, _SchemaFormat):
        return JsonOutput(wanted.json_schema.json_schema)
    return JsonOutput() if isinstance(wanted, _JsonFormat) else TextOutput()


def schema_in(wanted: Format | None) -> tuple[str, Any] | None:
    """The schema that the caller sent and the name of its field; None where there is none."""
    if isinstance(wanted, _SchemaFormat):
        return "response_format.json_schema.schema", wanted.json_schema.json_schema
    return None


def options_in(wanted: Format | None) -> Sequence[str]:
    """The options of a choice."""
    return wanted.options if isinstance(wanted, _ChoiceFormat) else ()
