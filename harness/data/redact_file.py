"""A file with everything replaced that tells who somebody is: text, JSON lines, JSON, tables."""

from __future__ import annotations

import csv
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO

from harness.data.placeholders import LITERAL, Vault
from harness.data.record_files import (
    Kind,
    Record,
    document,
    json_lines,
    kind_of,
    opened,
    paragraphs,
    refuse,
    table,
)
from harness.errors import UsageError
from harness.store.files import TEMPORARY, room_for, sync

_MEND = "write to another disk with --out"


@dataclass(slots=True)
class Redacted:
    """What was done: records read and changed, and how often a value of each kind was replaced."""

    records: int = 0
    changed: int = 0
    entities: Counter[str] = field(default_factory=Counter)


class Redactor:
    """Redacts files with one anonymiser.

    Placeholders are numbered anew for every record of JSON lines and tables, and once for a text or a document.
    ``fields`` names the only fields or columns that are looked at, however deep they stand.
    """

    def __init__(self, texts: Any, fields: frozenset[str] | None = None) -> None:
        self._texts, self._fields = texts, fields

    def redact(self, source: Path, write: TextIO, kind: Kind | None = None) -> Redacted:
        """Write ``source`` to ``write``.

        Raises UsageError, naming the line, for what cannot be read as ``kind`` (default: by the file's name), and for
        a field that never occurs.
        """
        kind = kind or kind_of(source)
        if kind == "text" and self._fields is not None:
            raise UsageError(f"{source} is read as text, which has no fields; leave out --fields or give --format")
        done, met = Redacted(), set[str]()
        with opened(source) as stream:
            _WRITERS[kind](self, source, stream, write, done, met)
        missing = sorted((self._fields or frozenset()) - met)
        if missing and done.records:
            raise UsageError(f"{source} has no field {', '.join(missing)}: nothing was written")
        return done

    def value(self, value: Any, done: Redacted, met: set[str], vault: Vault | None = None) -> Any:
        """One record's value, redacted and counted."""
        vault = Vault() if vault is None else vault
        before = vault.replaced.copy()
        fresh = self._only(value, vault, met) if self._fields is not None else self._texts.anonymise_json(value, vault)
        found = vault.replaced - before
        found.pop(LITERAL, None)
        done.records += 1
        done.changed += bool(found)
        done.entities += found
        return fresh

    def _only(self, value: Any, vault: Vault, met: set[str]) -> Any:
        if isinstance(value, dict):
            return {name: self._named(name, inner, vault, met) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._only(inner, vault, met) for inner in value]
        return value

    def _named(self, name: str, value: Any, vault: Vault, met: set[str]) -> Any:
        if name not in (self._fields or ()):
            return self._only(value, vault, met)
        met.add(name)
        (fresh,) = self._texts.anonymise_json({name: value}, vault).values()
        return fresh

    def text(self, path: Path, stream: BinaryIO, write: TextIO, done: Redacted, met: set[str]) -> None:
        """A text in pieces of paragraphs."""
        vault = Vault()
        for record in paragraphs(path, stream):
            write.write(self.value(record.value, done, met, vault))

    def json_lines(self, path: Path, stream: BinaryIO, write: TextIO, done: Redacted, met: set[str]) -> None:
        """JSON lines; what has nothing to redact stays as it was written."""
        for record in json_lines(path, stream):
            if record.value is None:
                write.write(record.source)
                continue
            fresh = self._checked(path, record, done, met)
            end = record.source[len(record.source.rstrip("\r\n")) :]
            write.write(record.source if fresh == record.value else _json(fresh) + end)

    def document(self, path: Path, stream: BinaryIO, write: TextIO, done: Redacted, met: set[str]) -> None:
        """A JSON document, indented."""
        record = document(path, stream)
        fresh = self._checked(path, record, done, met)
        write.write(record.source if fresh == record.value else _json(fresh, indent=2) + "\n")

    def _checked(self, path: Path, record: Record, done: Redacted, met: set[str]) -> Any:
        try:
            return self.value(record.value, done, met)
        except RecursionError:
            refuse(path, record.line, "nested too deeply")

    def table(self, path: Path, stream: BinaryIO, write: TextIO, done: Redacted, met: set[str]) -> None:
        """A table; its header is redacted too: it may be the first row of one that has none."""
        read = table(path, stream)
        writer = csv.writer(write, delimiter=read.delimiter, lineterminator=read.line_end)
        header = [self._texts.anonymise(name).text for name in read.header]
        if header:
            writer.writerow(header)
        # What was redacted is no name of a column.
        names = [
            name.removeprefix("\ufeff") if name == shown else ""
            for name, shown in zip(read.header, header, strict=True)
        ]
        met.update(names)
        for row in read.rows:
            # Two columns of one name must not become one.
            vault = Vault()
            cells = [{name: cell} for name, cell in zip(names, row.value, strict=False)]
            fresh = self.value(cells, done, met, vault)
            writer.writerow([next(iter(cell.values())) for cell in fresh])


_Writer = Callable[[Redactor, Path, BinaryIO, TextIO, Redacted, set[str]], None]
_WRITERS: dict[Kind, _Writer] = {
    "text": Redactor.text,
    "jsonl": Redactor.json_lines,
    "json": Redactor.document,
    "csv": Redactor.table,
}


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Half of a surrogate pair is JSON, but no UTF-8.
    return (
        text if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text) else json.dumps(value, indent=indent)
    )


@contextmanager
def replacing(target: Path, like: Path) -> Iterator[TextIO]:
    """A stream whose content is all of ``target`` when the block ends well, and none of it otherwise.

    ``target`` gets the permissions of ``like``. Raises UsageError when the disk is full or the folder not writable.
    """
    if not target.parent.is_dir():
        raise UsageError(f"{target} cannot be written: there is no folder {target.parent}")
    fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY}")
    with room_for(target, _MEND):
        try:
            with fresh.open("x", encoding="utf-8", newline="") as stream:
                shutil.copymode(like, fresh)
                yield stream
            sync(fresh)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        sync(target.parent)


@contextmanager
def holding(output: BinaryIO) -> Iterator[TextIO]:
    """A stream whose content goes to ``output`` when the block ends well, and none of it otherwise."""
    with TemporaryFile() as held:
        stream = TextIOWrapper(held, encoding="utf-8", newline="", write_through=True)
        yield stream
        held.seek(0)
        shutil.copyfileobj(held, output)
        output.flush()
        stream.detach()
