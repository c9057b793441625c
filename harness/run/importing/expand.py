"""From the ``tests`` of a config to the single tests that promptfoo would run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.run.importing.config_file import (
    Folder,
    Unreadable,
    is_code,
    load_data,
    load_lines,
    load_rows,
)
from harness.run.importing.csv_tests import test_of
from harness.run.importing.record import Ledger
from harness.run.importing.rendering import render

_MOST_TESTS = 100_000
_KNOWN = frozenset(
    {
        "assert", "assertScoringFunction", "description", "metadata", "options", "prompts", "provider",
        "providerOutput", "providers", "threshold", "vars",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Test:
    """One test with everything filled in; ``group`` is the test of the config that it was made from."""

    name: str
    group: str
    variables: Mapping[str, Any]
    assertions: Sequence[Mapping[str, Any]]
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompts: Sequence[str] = ()
    providers: Sequence[str] = ()
    note: str = ""


def expand(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> list[Test]:
    """Every test of the config; what cannot be read is listed in the ledger."""
    default = _default(config, folder, ledger)
    tests: list[Test] = []
    for name, raw in _raw(config, folder, ledger):
        try:
            tests += _expanded(name, _merged(default, raw), folder, ledger)
        except Unreadable as error:
            ledger.lost("test", str(error), name)
        if len(tests) > _MOST_TESTS:
            ledger.lost("tests", f"only the first {_MOST_TESTS} of the expanded tests", name)
            return tests[:_MOST_TESTS]
    return tests


def _default(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> Mapping[str, Any]:
    default = config.get("defaultTest") or {}
    try:
        default = folder.load(default) if isinstance(default, str) else default
    except Unreadable as error:
        ledger.lost("defaultTest", str(error))
        return {}
    if not isinstance(default, Mapping):
        ledger.lost("defaultTest", f"it is {type(default).__name__}, not a mapping")
        return {}
    return default


def _raw(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, raw in itertools.chain(
        _listed(config.get("tests") or [], "tests", folder, ledger), _scenarios(config, folder, ledger)
    ):
        if not isinstance(raw, Mapping):
            ledger.lost("test", f"it is {type(raw).__name__}, not a mapping", name)
            continue
        for key in sorted(set(raw) - _KNOWN):
            ledger.lost(f"key {key!r}", "no key of a test that an import knows", name)
        yield _named(name, raw), raw


def _named(name: str, raw: Mapping[str, Any]) -> str:
    described = str(raw.get("description") or "").strip()
    return f"{name} ({described[:60]})" if described else name


def _scenarios(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> Iterator[tuple[str, Any]]:
    for number, scenario in enumerate(config.get("scenarios") or [], start=1):
        place = f"scenarios[{number}]"
        if not isinstance(scenario, Mapping):
            ledger.lost("scenario", f"it is {type(scenario).__name__}, not a mapping", place)
            continue
        rows = list(_listed(scenario.get("config") or [{}], f"{place}.config", folder, ledger))
        tests = list(_listed(scenario.get("tests") or [{}], f"{place}.tests", folder, ledger))
        for (with_row, row), (name, test) in itertools.product(rows, tests):
            both = isinstance(row, Mapping) and isinstance(test, Mapping)
            yield (
                f"{name} with {with_row.rsplit('.', 1)[-1]}" if len(rows) > 1 else name,
                _merged(row, test) if both else test,
            )


def _listed(value: Any, place: str, folder: Folder, ledger: Ledger) -> Iterator[tuple[str, Any]]:
    """The tests of ``value``: a list, or names of files; each with a name for people, numbered from 1."""
    if isinstance(value, str):
        yield from _from_file(value, place, folder, ledger)
        return
    if not isinstance(value, list):
        ledger.lost(place, "tests made by a program, which an import does not run")
        return
    for number, item in enumerate(value, start=1):
        if isinstance(item, str):
            yield from _from_file(item, f"{place}[{number}]", folder, ledger)
        elif isinstance(item, Mapping) and "path" in item:
            ledger.lost("tests", f"{item['path']} makes tests by a program, which an import does not run", place)
        else:
            yield f"{place}[{number}]", item


def _from_file(reference: str, place: str, folder: Folder, ledger: Ledger) -> Iterator[tuple[str, Any]]:
    try:
        if "://" in reference.removeprefix("file://"):
            raise Unreadable(f"{reference} is fetched by promptfoo; save it as a file beside the config")
        if is_code(reference):
            raise Unreadable(f"{reference} makes tests by a program, which an import does not run")
        for file in folder.find(reference):
            rows = _rows_of(file)
            yield from ((f"{folder.shown(file)}[{number}]", row) for number, row in enumerate(rows, start=1))
    except Unreadable as error:
        ledger.lost("tests", str(error), place)


def _rows_of(file: Path) -> Sequence[Any]:
    if file.suffix in {".csv", ".tsv"}:
        return [_row(row, file, number) for number, row in enumerate(load_rows(file), start=1)]
    if file.suffix == ".jsonl":
        return load_lines(file)
    if file.suffix in {".yaml", ".yml", ".json"}:
        data = load_data(file)
        return data if isinstance(data, list) else [data]
    raise Unreadable(f"{file.name}: tests stand in csv, tsv, jsonl, json or yaml")


def _row(row: Mapping[str, str], file: Path, number: int) -> Mapping[str, Any]:
    try:
        return test_of(row)
    except Unreadable as error:
        raise Unreadable(f"{file.name}, row {number}: {error}") from error


def _merged(default: Mapping[str, Any], test: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**default, **test}
    for key in ("vars", "options", "metadata"):
        parts = [part.get(key) for part in (default, test)]
        if all(isinstance(part, Mapping) for part in parts if part is not None):
            merged[key] = {**(parts[0] or {}), **(parts[1] or {})}
    own = list(test.get("assert") or [])
    alone = bool((test.get("options") or {}).get("disableDefaultAsserts"))
    merged["assert"] = own if alone else [*(default.get("assert") or []), *own]
    return merged


def _expanded(name: str, raw: Mapping[str, Any], folder: Folder, ledger: Ledger) -> Iterator[Test]:
    variables = {key: _loaded(value, folder) for key, value in _variables(raw.get("vars"), folder).items()}
    options = raw.get("options") or {}
    wide = [] if options.get("disableVarExpansion") else [key for key, value in variables.items() if _is_list(value)]
    if math.prod(len(variables[key]) for key in wide) > _MOST_TESTS:
        raise Unreadable(f"its variables expand to more than {_MOST_TESTS} tests")
    threshold = raw.get("threshold")
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise Unreadable(f"threshold {threshold!r} is no number")
    if "assertScoringFunction" in raw:
        ledger.lost("assertScoringFunction", "a program decides about the test; an import does not run it", name)
    chosen = raw.get("providers") or ([raw["provider"]] if isinstance(raw.get("provider"), str) else [])
    for number, values in enumerate(itertools.product(*(variables[key] for key in wide)), start=1):
        bound = _nested({**variables, **dict(zip(wide, values, strict=True))})
        yield Test(
            name=f"{name} #{number}" if wide else name,
            group=name,
            variables=bound,
            assertions=[item for item in raw["assert"] if isinstance(item, Mapping)],
            threshold=threshold,
            options=options,
            metadata=raw.get("metadata") or {},
            prompts=[str(item) for item in raw.get("prompts") or []],
            providers=[str(item) for item in chosen],
            note=str(raw.get("description") or ""),
        )


def _variables(given: Any, folder: Folder) -> dict[str, Any]:
    parts = given if isinstance(given, list) else [given or {}]
    made: dict[str, Any] = {}
    for part in parts:
        data = folder.load(part) if isinstance(part, str) else part
        if not isinstance(data, Mapping):
            raise Unreadable(f"vars hold {type(data).__name__}, not a mapping")
        made |= {str(key): value for key, value in data.items()}
    return made


def _loaded(value: Any, folder: Folder) -> Any:
    if isinstance(value, str) and value.startswith("file://"):
        files = folder.find(value) if not is_code(value) else []
        return [folder.load(str(file)) for file in files] if len(files) > 1 else folder.load(value)
    return [_loaded(item, folder) for item in value] if isinstance(value, list) else value


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _nested(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables that name other variables, filled in once, as promptfoo does."""
    return {key: render(value, variables) if isinstance(value, str) else value for key, value in variables.items()}
