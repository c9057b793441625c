"""Cases: rows committed in the suite, and rows taken from a pinned package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from harness.errors import Problem, UsageError
from harness.spec.functions import load_function
from harness.spec.suites import Case, ExternalCases, ExternalRow
from harness.spec.yaml_file import explain, line_in, load
from harness.store import digest_bytes

Fetch = Callable[[str, str], Path]
Rewriting = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One file of ``cases/``: its rows, or the external source that yields them.

    ``code`` is the sha256 of each file of the suite's folder that rewrites inputs of an external source.
    """

    path: str
    cases: tuple[Case, ...] = ()
    external: ExternalCases | None = None
    folder: Path = Path()
    code: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.external.rows) if self.external else len(self.cases)

    def resolve(self, fetch: Fetch) -> tuple[Case, ...]:
        """All cases; ``fetch(source, sha256)`` gives the local file of an external source."""
        if self.external is None:
            return self.cases
        rewriting = {name: load_function(self.folder, where) for name, where in self.external.rewrite.items()}
        return _external(self.external, self.path, fetch, rewriting)


def load_case_file(file: Path, root: Path) -> tuple[CaseFile | None, list[Problem]]:
    """Read one ``cases/*.jsonl`` or ``cases/*.yaml``."""
    shown = file.relative_to(root).as_posix()
    if file.suffix == ".yaml":
        external, problems = load(file, shown, ExternalCases)
        return _with_code(external, problems, file, shown) if external else (None, problems)
    cases: list[Case] = []
    problems = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if line.strip():
            case, wrong = _row(line, shown, number)
            cases += [case] if case else []
            problems += wrong
    if not cases and not problems:
        problems.append(Problem(shown, 1, "no case in this file; add a row or delete the file"))
    return CaseFile(shown, tuple(cases)), problems


def _with_code(
    external: ExternalCases, problems: list[Problem], file: Path, shown: str
) -> tuple[CaseFile, list[Problem]]:
    folder, code = file.parent.parent, {}
    for name, where in external.rewrite.items():
        source = folder / where.split(":")[0]
        if source.is_file():
            code[source.name] = digest_bytes(source.read_bytes().replace(b"\r\n", b"\n"))
        else:
            wrong = f"rewrite: no file {source.name!r} in {folder.name}/; it must lie in the suite's folder"
            problems.append(Problem(shown, line_in(file, ("rewrite", name)), wrong))
    return CaseFile(shown, external=external, folder=folder, code=code), problems


def _row(line: bytes, shown: str, number: int) -> tuple[Case | None, list[Problem]]:
    try:
        data = orjson.loads(line)
    except ValueError as error:
        return None, [Problem(shown, number, f"not valid JSON: {error}")]
    if not isinstance(data, dict):
        return None, [Problem(shown, number, f"expected an object, found {type(data).__name__}")]
    try:
        return Case.model_validate(data), []
    except ValidationError as error:
        return None, [Problem(shown, number, explain(dict(item))) for item in error.errors()]


def case_ids(files: Iterable[CaseFile]) -> Iterator[str]:
    """The ids of all cases, without fetching any package."""
    for file in files:
        yield from (case.id for case in file.cases)
        if (external := file.external) is not None:
            yield from (_slug(external, _row_id(row)) for row in external.rows)


def duplicates(files: Iterable[CaseFile]) -> list[Problem]:
    """Case ids that stand twice in a suite."""
    seen: dict[str, str] = {}
    problems = []
    for file in files:
        rows = file.external.rows if file.external else ()
        prefix = file.external.prefix if file.external else ""
        ids = [prefix + (row if isinstance(row, str) else row.id) for row in rows] or [case.id for case in file.cases]
        for name in ids:
            if name in seen:
                problems.append(
                    Problem(file.path, None, f"duplicate case id {name!r}, also in {seen[name]}; rename one")
                )
            seen[name] = file.path
    return problems


def _external(spec: ExternalCases, shown: str, fetch: Fetch, rewriting: Mapping[str, Rewriting]) -> tuple[Case, ...]:
    content = fetch(spec.source, spec.sha256).read_bytes()
    data = (
        orjson.loads(content) if spec.format == "json" else [orjson.loads(x) for x in content.splitlines() if x.strip()]
    )
    rows = {str(dig(row, spec.id)): row for row in data}
    absent = [name for name in map(_row_id, spec.rows) if name not in rows]
    if absent:
        raise UsageError.of(
            [Problem(shown, None, f"{spec.source} has no row with {spec.id} = {name!r}") for name in absent]
        )
    cases = [_case(spec, row, rows[_row_id(row)]) for row in spec.rows]
    return tuple(_rewritten(case, rewriting, shown) for case in cases) if rewriting else tuple(cases)


def _rewritten(case: Case, rewriting: Mapping[str, Rewriting], shown: str) -> Case:
    inputs = dict(case.inputs)
    for name, rewrite in rewriting.items():
        try:
            text: Any = rewrite(inputs[name], case.id)
        except Exception as error:
            message = f"rewrite of {name!r} raised {type(error).__name__}: {error}"
            raise UsageError.of([Problem(shown, None, f"case {case.id}: {message}")]) from error
        if not isinstance(text, str):
            message = f"rewrite of {name!r} gave {type(text).__name__}, not a text"
            raise UsageError.of([Problem(shown, None, f"case {case.id}: {message}")])
        inputs[name] = text
    return case.model_copy(update={"inputs": inputs})


def _slug(spec: ExternalCases, name: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", (spec.prefix + name).lower())


def _row_id(row: ExternalRow | str) -> str:
    return row if isinstance(row, str) else row.id


def _case(spec: ExternalCases, row: ExternalRow | str, data: dict[str, Any]) -> Case:
    extra = ExternalRow(id=row) if isinstance(row, str) else row
    inputs = {name: _cut(dig(data, field), spec.truncate.get(name)) for name, field in spec.inputs.items()}
    expect = {name: dig(data, field) for name, field in spec.expect.items()}
    return Case(
        id=_slug(spec, extra.id),
        inputs={**spec.constants, **inputs, **extra.inputs},
        expect={**expect, **extra.expect},
        slices=(*spec.slices, *extra.slices),
    )


def _cut(value: Any, limit: int | None) -> Any:
    if limit is None or not isinstance(value, str) or len(value) <= limit:
        return value
    return value[:limit].rsplit(None, 1)[0]


def dig(data: Any, field: str) -> Any:
    """The value at a dotted field; UsageError names the part that is absent."""
    for part in field.split("."):
        try:
            data = data[int(part)] if isinstance(data, list) else data[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"field {field!r} is absent at {part!r} in a row of the source"
            raise UsageError(message) from error
    return data
