"""A small mart of the test's own: notes of two authors, cleaned by two steps."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson

from harness.data.marts import BuiltMart, StepDone, build_mart

MART = """\
name: notes
description: Short notes.
licence: CC0-1.0
sources:
  raw_notes:
    from: path:raw/notes.jsonl
    format: jsonl
    columns: {id: INTEGER, author: VARCHAR, body: VARCHAR, stamp: TIMESTAMP}
    optional: {mood: VARCHAR}
    licence: CC0-1.0
key: id
group: author
text: text
labels:
  mood: [glad, sad]
splits: {train: 0.7, test: 0.3}
"""
FIRST = """\
CREATE TABLE tidied AS SELECT id, author, trim(body) AS text, mood, stamp FROM raw_notes;
"""
SECOND = """\
CREATE TABLE notes AS SELECT id, author, text, mood, CASE WHEN text LIKE 'draft%' THEN 'draft' END AS drop_reason
FROM tidied;
"""
WORDS = ("river", "lamp", "harbour", "violin", "meadow", "copper", "winter", "ladder", "orchard", "thunder", "velvet",
         "compass", "saddle", "lantern", "granite", "whistle")  # fmt: skip


def note(number: int, **changed: Any) -> dict[str, Any]:
    """One row; its text shares no two words in a row with another number's."""
    words = [WORDS[(number * k + number // 16) % 16] + str(number) for k in range(1, 9)]
    return {
        "id": number,
        "author": f"author-{number % 20}",
        "body": " ".join(words),
        "mood": "glad" if number % 2 else "sad",
        "stamp": "2026-01-01T00:00:00Z",
        **changed,
    }


def notes(count: int) -> list[dict[str, Any]]:
    """The first ``count`` rows."""
    return [note(number) for number in range(count)]


def write(root: Path, rows: list[dict[str, Any]], mart: str = MART, **files: str) -> Path:
    """The mart below ``root``; ``files`` are by name, with ``__`` for a slash and ``_sql`` or ``_py`` at the end."""
    folder = root / "data" / "notes"
    for name in ("raw", "sql"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "mart.yaml").write_text(mart, encoding="utf-8")
    (folder / "sql/01_tidied.sql").write_text(FIRST, encoding="utf-8")
    (folder / "sql/02_notes.sql").write_text(SECOND, encoding="utf-8")
    (folder / "raw/notes.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    for name, text in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = folder / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def build(root: Path, cache: Path) -> tuple[BuiltMart, list[StepDone]]:
    """Build it, and what was said."""
    said: list[StepDone] = []
    return build_mart(root, "notes", cache, said.append), said


def ran(said: list[StepDone]) -> list[str]:
    """The steps that were not skipped."""
    return [step.name for step in said if not step.skipped]


def contents(folder: Path) -> dict[str, bytes]:
    """The files that must be the same in every build."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "timings.json"}


def copy(root: Path, to: Path) -> Path:
    """The versioned files of the repository ``root``, without what was built."""
    shutil.copytree(root / "data", to / "data", ignore=shutil.ignore_patterns("build", ".build*"))
    return to


def lines(built: BuiltMart, name: str) -> list[dict[str, Any]]:
    """The rows of one of the lists."""
    return [orjson.loads(line) for line in (built.folder / name).read_bytes().splitlines()]
