"""Cases of the old and the new yardstick side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.run.yardstick import Move
from harness.spec.cases import CaseFile
from harness.spec.repository import SuiteFiles
from harness.store import digest_of

NAMED = 4


@dataclass(frozen=True, slots=True)
class _Case:
    """Where a case stands, and the digest of what is asked and expected."""

    path: str
    digest: str


def moved_cases(app: str, old: SuiteFiles, new: SuiteFiles, root: Path) -> Iterator[Move]:
    """Cases deleted, changed and added: one move each, however many there are. Deleted ones need an approval."""
    before, after = _cases(old), _cases(new)
    gone = [name for name in before if name not in after]
    changed = [name for name in before if name in after and before[name].digest != after[name].digest]
    fresh = [name for name in after if name not in before]
    if gone:
        path = before[gone[0]].path
        yield Move(app, "case", f"{_listed(gone)} deleted", "looser", approval=True, path=path)
    for names, word in ((changed, "changed"), (fresh, "added")):
        if names:
            path = after[names[0]].path
            effect: Any = "changed" if word == "changed" else "harder"
            yield Move(app, "case", f"{_listed(names)} {word}", effect, path=path, line=_line(root / path, names[0]))


def _cases(suite: SuiteFiles) -> Mapping[str, _Case]:
    return {name: case for file in suite.case_files for name, case in _of(file)}


def _of(file: CaseFile) -> Iterator[tuple[str, _Case]]:
    if file.external is None:
        for case in file.cases:
            # A note is for people; nothing is measured by it.
            yield case.id, _Case(file.path, digest_of(case.model_dump(mode="json", exclude={"note"})))
        return
    shared = file.external.model_dump(mode="json", exclude={"rows", "licence"}) | {"code": dict(file.code)}
    for row in file.external.rows:
        name = row if isinstance(row, str) else row.id
        content = {} if isinstance(row, str) else row.model_dump(mode="json")
        yield file.external.prefix + name, _Case(file.path, digest_of([shared, content]))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"case {shown}" if len(names) == 1 else f"{len(names)} cases ({shown})"


def _line(path: Path, name: str) -> int:
    if path.suffix != ".jsonl":
        return 1
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if name.encode() in line and orjson.loads(line)["id"] == name:
            return number
    return 1
