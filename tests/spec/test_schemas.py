"""The schemas that editors use, and that the documentation knows every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import orjson
import pytest
import yaml
from pydantic import BaseModel

from harness.evals.checks import catalogue
from harness.spec.schemas import FILES, encoded, schemas
from tests.run.project import APP, GATES, ROOT, SUITE

REWRITE = "python -m harness.spec.schemas docs/schemas"


@pytest.mark.parametrize("name", sorted(FILES))
def test_committed_schema_is_current(name: str) -> None:
    """docs/schemas holds what the code says."""
    path = ROOT / "docs/schemas" / f"{name}.json"
    current = path.is_file() and path.read_bytes() == encoded(schemas()[name])
    assert current, f"{path.relative_to(ROOT)} is not current; rewrite it with: {REWRITE}"


def test_no_schema_of_a_kind_that_is_gone() -> None:
    """There is no file in docs/schemas for which no kind exists."""
    assert {path.stem for path in (ROOT / "docs/schemas").iterdir()} == set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_schema_is_a_schema(name: str) -> None:
    """Every schema is valid in its own dialect and closed to unknown keys."""
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def problems(name: str, data: Any) -> list[str]:
    """What an editor would underline."""
    return [error.message for error in jsonschema.Draft202012Validator(schemas()[name]).iter_errors(data)]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("app", "suites/*/app.yaml"), ("suite", "suites/*/suite.yaml"), ("gates", "suites/*/gates.yaml"),
     ("model", "models/*/model.yaml"), ("external-cases", "suites/*/cases/*.yaml")],
)  # fmt: skip
def test_files_that_ship_fit(name: str, pattern: str) -> None:
    """Every file of the apps that ship is valid by its schema."""
    files = sorted(ROOT.glob(pattern))
    assert files
    for file in files:
        assert problems(name, yaml.safe_load(file.read_text(encoding="utf-8"))) == [], file


def test_prompts_and_cases_that_ship_fit() -> None:
    """Every prompt's front matter and every committed case is valid by its schema."""
    for file in sorted(ROOT.glob("prompts/*/*/*.prompty")):
        assert problems("prompt", yaml.safe_load(file.read_text(encoding="utf-8").split("---\n")[1])) == [], file
    for file in sorted(ROOT.glob("suites/*/cases/*.jsonl")):
        for line in file.read_bytes().splitlines()[:20]:
            assert problems("case", orjson.loads(line)) == [], file


@pytest.mark.parametrize(
    ("name", "text", "old", "new"),
    [
        ("app", APP, "kind: function", "kind: magic"),
        ("app", APP, "name: desk", "nam: desk"),
        ("suite", SUITE, "checks:", "check:"),
        ("gates", GATES, "at_least", "above"),
        ("gates", GATES, "threshold: 0.8", "threshold: high"),
    ],
)
def test_mistakes_are_underlined(name: str, text: str, old: str, new: str) -> None:
    """A valid file fits, and the same file with one mistake does not."""
    assert problems(name, yaml.safe_load(text)) == []
    assert problems(name, yaml.safe_load(text.replace(old, new))) != []


def keys(schema: dict[str, Any]) -> Iterator[str]:
    """Every key of a schema and of the objects inside it."""
    for part in (schema, *schema.get("$defs", {}).values()):
        yield from part.get("properties", {})


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_key_is_documented(name: str) -> None:
    """docs/files.md explains each key under the heading of its kind of file."""
    text = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(name)}\b.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/files.md has no heading '## {name}'"
    missing = sorted({key for key in keys(schemas()[name]) if f"`{key}`" not in section.group(0)})
    assert missing == [], f"docs/files.md, '## {name}': not explained: {', '.join(missing)}"


def test_every_check_is_documented() -> None:
    """docs/files.md names each check that a suite can use."""
    text = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    assert [name for name in catalogue() if f"`{name}`" not in text] == []


def test_options_may_be_a_list_or_a_mapping() -> None:
    """A choice's options are accepted in both forms that the reader of the file accepts, and in no other."""
    step = {"id": "a", "kind": "llm", "prompt": "a/b/1.0.0", "model": "m"}
    for options, fits in ((["x", "y"], True), ({"x": "an x", "y": "a y"}, True), (["x"], False), ("x", False)):
        output = {"kind": "choice", "options": options}
        assert (problems("app", {"name": "a", "inputs": {}, "steps": [{**step, "output": output}]}) == []) is fits


def test_kinds_are_models() -> None:
    """Every kind of file is a closed pydantic model."""
    for model, place in FILES.values():
        assert issubclass(model, BaseModel) and model.model_config["extra"] == "forbid" and place
