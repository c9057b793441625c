"""Is the output JSON, and is it of the promised shape?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.evals.checks.expectations import NotJson, json_value, read_json
from harness.evals.checks.paths import inside
from harness.evals.checks.patterns import compiled, found
from harness.evals.checks.registry import Built, Context, check
from harness.evals.checks.setting_types import Text
from harness.evals.checks.subject import PASSED, Run, Score, Subject, shown
from harness.store import digest_of

_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:json[ \t]*)?\n(.*?)^[ \t]*```[ \t]*$", re.S | re.M | re.I)


def unfenced(text: str) -> str:
    """What stands in the only fenced block of ``text``, or ``text`` itself."""
    blocks = _FENCE.findall(text)
    return str(blocks[0]) if len(blocks) == 1 else text


@check("json_valid")
def json_valid(*, fenced: bool = False) -> Run:
    """The output is JSON, strictly: no NaN, no comments, nothing around it.

    ``fenced``: where the output holds exactly one fenced block, that block counts.
    """

    def run(subject: Subject) -> Score:
        try:
            read_json(unfenced(subject.output) if fenced else subject.output)
        except NotJson as error:
            return Score(0.0, str(error))
        return PASSED

    return run


@check("json_schema")
def json_schema(
    *, context: Context, schema: dict[str, Any] | None = None, file: Text | None = None, fenced: bool = False
) -> Built:
    """The output is JSON that meets a JSON Schema (Draft 2020-12), given as ``schema`` or as a ``file`` of the suite.

    ``format`` is a remark and not checked, as the draft has it. References leave the schema nowhere: nothing is
    fetched. ``fenced``: where the output holds exactly one fenced block, that block counts.
    """
    validator, digest = schema_validator(_given(schema, file, context.suite_dir))

    def run(subject: Subject) -> Score:
        try:
            value = read_json(unfenced(subject.output)) if fenced else json_value(subject)
        except NotJson as error:
            return Score(0.0, str(error))
        # The first error only: the rest of a hostile document need not be walked.
        broken = next(validator.iter_errors(value), None)
        return PASSED if broken is None else Score(0.0, f"{broken.json_path}: {shown(broken.message, 200)}")

    return Built(run, sources={"schema": digest})


def _given(schema: dict[str, Any] | None, file: str | None, suite_dir: Path) -> Mapping[str, Any]:
    if (schema is None) == (file is None):
        message = "give either 'schema' or 'file'"
        raise ValueError(message)
    if file is None:
        assert schema is not None
        return schema
    try:
        loaded = read_json(inside(suite_dir, file, "file").read_text(encoding="utf-8"))
    except NotJson as error:
        message = f"setting 'file' = {file!r}: not JSON ({error.__cause__})"
        raise ValueError(message) from error
    if not isinstance(loaded, dict):
        message = f"setting 'file' = {file!r}: a schema is a JSON object"
        raise ValueError(message)  # noqa: TRY004 - the user's file, not a caller's argument
    return loaded


def schema_validator(schema: Mapping[str, Any]) -> tuple[Any, str]:
    """A validator of ``schema`` and the schema's digest; ValueError when it is no Draft 2020-12 schema."""
    from jsonschema import Draft202012Validator, SchemaError, validators
    from referencing.jsonschema import SchemaRegistry

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        message = f"setting 'schema' at {error.json_path}: {error.message}"
        raise ValueError(message) from error
    problems = list(_broken_patterns(schema)) + _broken_references(schema)
    if problems:
        raise ValueError("; ".join(f"setting 'schema': {problem}" for problem in problems))
    # The default registry would ask the network for references that it does not know.
    kind: Any = validators.extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return kind(schema, registry=SchemaRegistry()), digest_of(schema)


def _pattern(_validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not found(compiled(pattern), instance):
        yield ValidationError(f"{shown(instance)} does not match {pattern!r}")


def _broken_patterns(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        if isinstance(pattern := part.get("pattern"), str):
            try:
                compiled(pattern)
            except ValueError as error:
                yield str(error).removeprefix("setting ")
        for item in part.values():
            yield from _broken_patterns(item)
    elif isinstance(part, list):
        for item in part:
            yield from _broken_patterns(item)


def _broken_references(schema: Mapping[str, Any]) -> list[str]:
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, SchemaRegistry

    broken: list[str] = []

    def walk(resource: Any, resolver: Any) -> None:
        resolver = resolver.in_subresource(resource)
        contents = resource.contents if isinstance(resource.contents, Mapping) else {}
        for reference in (contents[key] for key in ("$ref", "$dynamicRef") if isinstance(contents.get(key), str)):
            try:
                resolver.lookup(reference)
            except (Unresolvable, ValueError, LookupError):
                broken.append(f"reference {reference!r} points to nothing inside the schema")
        for inner in resource.subresources():
            walk(inner, resolver)

    root = DRAFT202012.create_resource(schema)
    walk(root, SchemaRegistry().resolver_with_root(root))
    return broken
