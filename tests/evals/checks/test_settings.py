"""Settings: what is refused at build, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.evals.checks import build_check, catalogue


def _message(name: str, settings: dict[str, Any], folder: Path, **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        build_check(name, settings, suite_dir=folder, **more)
    return str(caught.value)


def test_unknown_check_lists_the_known_ones(tmp_path: Path) -> None:
    """A misspelt check is answered with all names."""
    message = _message("exact", {}, tmp_path)
    assert "'exact'" in message
    assert "exact_match" in message


def test_all_wrong_settings_come_at_once(tmp_path: Path) -> None:
    """Unknown, wrong-typed and out-of-range settings stand in one message with key, value and what is allowed."""
    message = _message("length", {"unit": "pages", "minimum": "3", "maximun": 9}, tmp_path)
    assert "'unit' = 'pages'" in message
    assert "'chars', 'words' or 'sentences'" in message
    assert "'minimum' = '3'" in message
    assert "unknown setting 'maximun' = 9 (did you mean 'maximum'?); allowed: unit, minimum, maximum" in message
    assert message.count("check 'length'") == 3


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("field_match", {}, "'path' is missing"),
        ("python", {}, "'function' is missing"),
        ("no_new_entities", {}, "'source' is missing"),
        ("exact_match", {"strip": "yes"}, "'strip' = 'yes'"),
        ("exact_match", {"strip": 1}, "'strip' = 1"),
        ("length", {"minimum": True}, "'minimum' = True"),
        ("length", {"minimum": -1}, "'minimum' = -1"),
        ("length", {"minimum": 5, "maximum": 4}, "'maximum' = 4"),
        ("contains", {"text": ""}, "'text' = ''"),
        ("contains_all", {"texts": []}, "'texts' = []"),
        ("contains_all", {"texts": "a,b"}, "'texts' = 'a,b'"),
        ("contains_any", {"texts": ["a", ""]}, "'texts.1' = ''"),
        ("regex", {"pattern": "("}, "'pattern' = '(': not a regular expression"),
        ("regex", {"pattern": "a", "flags": "g"}, "'flags' = 'g'"),
        ("regex", {"pattern": "a", "timeout_ms": 0}, "'timeout_ms' = 0"),
        ("json_schema", {}, "either 'schema' or 'file'"),
        ("json_schema", {"schema": {"type": "strin"}}, "'schema' at $.type"),
        ("json_schema", {"schema": {"$ref": "#/$defs/missing"}}, "'#/$defs/missing' points to nothing"),
        ("json_schema", {"schema": {"items": {"$ref": "https://example.com/s.json"}}}, "points to nothing inside"),
        ("json_schema", {"schema": {"not": {"$dynamicRef": "https://example.com/s"}}}, "points to nothing inside"),
        ("json_schema", {"schema": {"properties": {"a": {"pattern": "("}}}}, "$.properties.a.pattern: '('"),
        ("json_schema", {"file": "missing.json"}, "no such file"),
        ("json_schema", {"file": "../outside.json"}, "only files inside the suite's folder"),
        ("field_match", {"path": "$..["}, "not a JSONPath"),
        ("numeric", {"tolerance": -1.0}, "'tolerance' = -1.0"),
        ("numeric", {"value": float("nan")}, "'value' = nan"),
        ("numeric", {"pick": "any"}, "'last' or 'first'"),
        ("rouge", {"variant": "rouge-1"}, "'rouge1', 'rouge2' or 'rougeL'"),
        ("no_urls_outside", {"allow": ["https://shop.example/"]}, "give hosts such as"),
        ("no_urls_outside", {"allow": [""]}, "give hosts such as"),
        ("no_new_entities", {"source": "article"}, "'source"),
        ("refusal", {"replace": True}, "needs 'phrases'"),
        ("equals", {"strip": True}, "unknown setting 'strip'"),
    ],
)
def test_wrong_setting(name: str, settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A wrong setting is a usage error that names check, key and value."""
    message = _message(name, settings, tmp_path)
    assert said in message
    assert f"check {name!r}" in message


@pytest.mark.parametrize("name", [name for name, info in catalogue().items() if info.expects])
def test_missing_expectation_is_a_usage_error(name: str, tmp_path: Path) -> None:
    """A check that needs an expectation refuses a suite that names none."""
    settings = {"path": "$.a"} if name == "field_match" else {}
    assert "needs 'expect'" in _message(name, settings, tmp_path, expects=False)
    assert build_check(name, settings, suite_dir=tmp_path, expects=True).id == name


def test_expectation_and_constant_exclude_each_other(tmp_path: Path) -> None:
    """A constant replaces the expectation, and both at once are refused."""
    assert build_check("contains", {"text": "a"}, suite_dir=tmp_path, expects=False).id == "contains"
    assert "exclude each other" in _message("contains", {"text": "a"}, tmp_path, expects=True)


def test_digest_follows_settings_and_schema_file(tmp_path: Path) -> None:
    """The digest is stable, ignores spelled-out defaults, and moves with a setting or a file's content."""

    def digest(name: str, settings: dict[str, Any]) -> str:
        return build_check(name, settings, suite_dir=tmp_path).digest

    assert digest("length", {}) == digest("length", {"unit": "chars", "minimum": 1})
    assert digest("length", {}) != digest("length", {"unit": "words"})
    assert digest("contains_all", {"texts": ["a"]}) != digest("contains_any", {"texts": ["a"]})
    file = tmp_path / "answer.json"
    file.write_text('{"type": "object"}')
    before = digest("json_schema", {"file": "answer.json"})
    file.write_text('{"type": "array"}')
    assert digest("json_schema", {"file": "answer.json"}) != before


def test_schema_file_outside_by_link_is_refused(tmp_path: Path) -> None:
    """A link out of the suite's folder is not followed."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (suite / "schema.json").symlink_to(tmp_path / "secret.json")
    assert "only files inside" in _message("json_schema", {"file": "schema.json"}, suite)


def test_catalogue_documents_every_check_and_setting() -> None:
    """Every check has a doc text, a schema that forbids unknown settings, a unit and a direction."""
    for name, info in catalogue().items():
        assert info.doc, name
        assert info.schema["additionalProperties"] is False
        assert "context" not in info.schema["properties"]
        assert info.unit
        assert info.better in ("higher", "lower")
    assert catalogue()["json_schema"].schema["properties"].keys() == {"schema", "file", "fenced"}
