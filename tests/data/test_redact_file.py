"""Redacting files: every format, only named fields, mistakes with their line, nothing half."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from harness.data.anonymiser import Anonymiser
from harness.data.record_files import Kind
from harness.data.redact_file import Redacted, Redactor, holding, replacing
from harness.errors import UsageError
from tests.data import planted, survivors


def _redact(
    anonymiser: Anonymiser, path: Path, fields: frozenset[str] | None = None, kind: Kind | None = None
) -> tuple[str, Redacted]:
    out = io.StringIO(newline="")
    done = Redactor(anonymiser, fields).redact(path, out, kind)
    return out.getvalue(), done


def _file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_json_lines(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """Every string is redacted; a line with nothing in it stays as it was written, blank lines and line ends too."""
    plain = b'{"n":1.50,  "t": "where is my lamp?"}\r\n\n'
    path = _file(tmp_path, "a.jsonl", plain + b'{"t": "I\'m Dana Reyes", "to": ["dana@example.com"]}\r\n["ORD-47105"]')
    text, done = _redact(anonymiser, path)
    assert text.encode() == plain + b'{"t": "I\'m <PERSON_1>", "to": ["<EMAIL_1>"]}\r\n["<ORDER_1>"]'
    assert (done.records, done.changed, dict(done.entities)) == (3, 2, {"PERSON": 1, "EMAIL": 1, "ORDER": 1})


def test_only_named_fields(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """With ``fields`` everything else stays, however deep the named ones are."""
    value = {"id": "ORD-47105", "turns": [{"text": "ORD-47105", "id": "ORD-47105"}], "text": {"de": ["ORD-48213"]}}
    path = _file(tmp_path, "a.jsonl", json.dumps(value))
    text, _ = _redact(anonymiser, path, frozenset({"text"}))
    assert json.loads(text) == {
        "id": "ORD-47105", "turns": [{"text": "<ORDER_1>", "id": "ORD-47105"}], "text": {"de": ["<ORDER_2>"]},
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_field_that_never_occurs_is_a_mistake(anonymiser: Anonymiser, tmp_path: Path, name: str) -> None:
    """A misspelt field would leave everything in the file: it is refused."""
    path = _file(tmp_path, name, "message\nx\n" if name == "a.csv" else '{"message": "x"}\n')
    with pytest.raises(UsageError, match="has no field mesage: nothing was written"):
        _redact(anonymiser, path, frozenset({"mesage"}))


def test_text_has_no_fields(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """Fields of a text are refused, not ignored."""
    with pytest.raises(UsageError, match="read as text, which has no fields"):
        _redact(anonymiser, _file(tmp_path, "a.txt", "x"), frozenset({"a"}))


def test_text_keeps_its_shape(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """Lines, line ends and a missing last one stay; the same person has one placeholder in the whole file."""
    path = _file(tmp_path, "a.txt", "Hi,\r\n\r\nI'm Runa Halvey.\r\n\r\nRegards,\r\nRuna Halvey")
    text, done = _redact(anonymiser, path)
    assert text == "Hi,\r\n\r\nI'm <PERSON_1>.\r\n\r\nRegards,\r\n<PERSON_1>"
    assert done.entities == {"PERSON": 2}


def test_long_text_in_pieces(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """A text of many pieces loses no line and keeps no identifier."""
    messages = planted()
    content = "\n\n".join(message.text for message in messages * 6) + "\n"
    text, done = _redact(anonymiser, _file(tmp_path, "a.log", content))
    assert done.records > 3
    assert len(text.splitlines()) > len(messages) * 6
    assert survivors(text, [i for message in messages for i in message.planted if "@" in i]) == []


def test_json_document(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """A document is one record; without findings it stays as it was written."""
    text, done = _redact(anonymiser, _file(tmp_path, "a.json", '\ufeff[{"phone": 493055501}, 12345678901234567890]'))
    assert json.loads(text) == [{"phone": "<PHONE_1>"}, 12345678901234567890]
    assert done.records == 1
    assert _redact(anonymiser, _file(tmp_path, "b.json", '{ "a":1.50 }'))[0] == '{ "a":1.50 }'


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(anonymiser: Anonymiser, tmp_path: Path, delimiter: str) -> None:
    """Cells are redacted under their column's name, quoted cells with line ends too; two columns may share a name."""
    rows = [["id", "first_name", "note", "note"], ["7", "Xu", 'says "hi",\nORD-47105; bye', "dana@example.com"]]
    made = io.StringIO(newline="")
    csv.writer(made, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    text, done = _redact(anonymiser, _file(tmp_path, "a.csv", "\ufeff" + made.getvalue()))
    assert (text[0], text[-2:]) == ("\ufeff", "\r\n")
    assert list(csv.reader(io.StringIO(text[1:], newline=""), delimiter=delimiter)) == [
        rows[0], ["7", "<PERSON_1>", 'says "hi",\n<ORDER_1>; bye', "<EMAIL_1>"],
    ]  # fmt: skip
    assert (done.records, done.changed) == (1, 1)


def test_the_header_may_be_a_row(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """A table without a header keeps nothing of its first row either."""
    text, _ = _redact(anonymiser, _file(tmp_path, "a.csv", "7,dana@example.com\n8,jo@example.com\n"))
    assert text == "7,<EMAIL_1>\n8,<EMAIL_1>\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": dana@example.com}\n', r"a\.jsonl:2: not JSON: Expecting value at column 7"),
        ("a.jsonl", b'{"a": "x"}\n{"a": "y"', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"a": NaN}\n', r"a\.jsonl:1: NaN is no JSON number"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: nested too deeply"),
        ("a.json", b'{"a":\n  1,\n  b}', r"a\.json:3: not JSON"),
        ("a.json", b"", r"a\.json:1: not JSON"),
        ("a.txt", b"ok\nd\xe4na\n", r"a\.txt:2: not UTF-8: byte 0xe4 at column 2"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a\.csv:3: 3 cells, the header has 2 columns"),
        ("a.csv", b'a,b\n1,"2\n', r"a\.csv:2: not a row of the table"),
        ("a.csv", b"a,b\n1\n", r"a\.csv:2: 1 cells"),
    ],
)  # fmt: skip
def test_mistakes_name_their_line(
    anonymiser: Anonymiser, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """What cannot be read is a mistake of the user's with file and line, and the message quotes nothing of it."""
    with pytest.raises(UsageError, match=message) as caught:
        _redact(anonymiser, _file(tmp_path, name, content))
    assert "dana" not in str(caught.value)


def test_deep_values_are_refused_too(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """A value that can be read but not walked is a mistake, not a traceback."""
    deep = "[" * 900 + '"x"' + "]" * 900
    try:
        text, _ = _redact(anonymiser, _file(tmp_path, "a.jsonl", deep))
    except UsageError as error:
        assert "a.jsonl:1: nested too deeply" in str(error)
    else:
        assert text == deep


def test_empty_files_stay_empty(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """An empty text, table or list of lines is no mistake."""
    for name in ("a.txt", "a.csv", "a.jsonl"):
        assert _redact(anonymiser, _file(tmp_path, name, ""))[0] == ""


def test_half_a_surrogate_is_written(anonymiser: Anonymiser, tmp_path: Path) -> None:
    """An escaped half of a surrogate pair, which is JSON and no UTF-8, comes out escaped again."""
    text, _ = _redact(anonymiser, _file(tmp_path, "a.jsonl", r'{"a": "\ud83d ORD-47105"}'))
    assert text == r'{"a": "\ud83d <ORDER_1>"}'


def test_large_files_are_read_a_record_at_a_time(tmp_path: Path) -> None:
    """Redacting 60 MB of JSON lines takes a few megabytes of memory."""

    class Same:
        def anonymise_json(self, value: Any, vault: Any = None) -> Any:
            return value

    line = json.dumps({"text": "x" * 6000}) + "\n"
    path = tmp_path / "a.jsonl"
    path.write_text(line * 10_000)
    tracemalloc.start()
    with (tmp_path / "out").open("w") as out:
        Redactor(Same()).redact(path, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_target_is_written_whole_or_not(tmp_path: Path) -> None:
    """When redacting fails midway the old target stays, nothing else is left, and permissions are the source's."""
    source, target = _file(tmp_path, "in.txt", "x"), _file(tmp_path, "out.txt", "old")
    source.chmod(0o600)
    with pytest.raises(RuntimeError), replacing(target, source) as stream:
        stream.write("new")
        raise RuntimeError
    assert (target.read_text(), set(tmp_path.iterdir())) == ("old", {source, target})
    with replacing(target, source) as stream:
        stream.write("new")
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o600)


def test_standard_output_gets_all_or_nothing() -> None:
    """What fails midway writes nothing."""
    out = io.BytesIO()
    with pytest.raises(RuntimeError), holding(out) as stream:
        stream.write("new")
        raise RuntimeError
    assert out.getvalue() == b""
    with holding(out) as stream:
        stream.write("é\r\n")
    assert out.getvalue() == "é\r\n".encode()
