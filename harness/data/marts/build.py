"""Building a mart: take the sources, run the steps that changed, check, write the files, put them in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.marts import loading, rows
from harness.data.marts.built import BuiltMart, inputs_of, mart_folder, read_built, text_digest
from harness.data.marts.exports import put_in_place, recover, timings_of, unfinished, write_files
from harness.data.marts.labels import REVISION as REVIEW_REVISION
from harness.data.marts.ledger import Ledger, Step, StepDone, opened
from harness.data.marts.origins import Fetched, fetch_source
from harness.data.marts.privacy import anonymiser_digest, finder_version
from harness.data.marts.sql_steps import add_functions, run_audit, run_step
from harness.errors import SignoffError, UsageError
from harness.spec.marts import Mart, Review, audits_of, steps_of
from harness.store import digest_of, short
from harness.store.files import locked, room_for

if TYPE_CHECKING:
    import duckdb

THREADS = "SIGNOFF_THREADS"
_NEEDED = ("duckdb", "stamina", "pyarrow", "sklearn", "fsspec", "presidio_analyzer")


def build_mart(root: Path, name: str, cache: Path, said: Callable[[StepDone], None] | None = None) -> BuiltMart:
    """Build ``data/<name>``; ``said`` hears of each step when it is done.

    Steps that have nothing new to do are skipped, a build that was killed goes on where it stopped, and of two builds
    at once one waits. Raises UsageError for what is wrong with files, sources or SQL, AuditError when an audit
    returns rows; the previous build stays as it was.
    """
    folder, mart = mart_folder(root.resolve(), name)
    place = cache / "marts" / f"{name}-{short(digest_of(str(folder)))}"
    with locked(place / "lock"):
        recover(folder)
        try:
            return _build(folder, mart, place, cache, said or _nobody)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in _NEEDED:
                raise
            message = f"building a mart needs {error.name}: pip install 'signoff[data]'"
            raise UsageError(message) from error
        finally:
            recover(folder)


def _nobody(done: StepDone) -> None:
    """Hears of a step when nobody asked to."""


def _build(folder: Path, mart: Mart, place: Path, cache: Path, said: Callable[[StepDone], None]) -> BuiltMart:
    fetched = {name: fetch_source(mart, name, folder, place, cache) for name in mart.sources}
    inputs = inputs_of(folder, mart, {name: found.sha256 for name, found in fetched.items()})
    before = read_built(folder, mart)
    if before is not None and before.manifest["inputs"] == inputs:
        return _unchanged(before, said)
    with room_for(folder / "build", "free some"):
        fresh = unfinished(folder)
        with opened(place / "mart.duckdb", _threads(), fresh) as connection:
            ledger = Ledger(connection, said)
            _run(ledger, folder, mart, fetched)
            write_files(connection, mart, fresh, inputs)
        versions = {name: version(name) for name in ("duckdb", "scikit-learn", "pyarrow")}
        modified = {name: found.modified for name, found in fetched.items()}
        (fresh / "timings.json").write_bytes(timings_of(ledger.done, modified, versions))
        put_in_place(folder)
    built = read_built(folder, mart)
    if built is None:
        raise SignoffError(f"mart {mart.name!r}: {folder / 'build'} changed while it was written; build it again")
    return built


def _unchanged(before: BuiltMart, said: Callable[[StepDone], None]) -> BuiltMart:
    for step in before.manifest["steps"]:
        said(StepDone(step["name"], step["rows"], step["seconds"], step["finished"], skipped=True))
    return before


def _threads() -> int | None:
    given = os.environ.get(THREADS, "")
    return int(given) if given.isdecimal() and int(given) > 0 else None


def _run(ledger: Ledger, folder: Path, mart: Mart, fetched: Mapping[str, Fetched]) -> None:
    plan = list(_steps(folder, mart, fetched))
    ledger.begin([(step.name, step.level) for step in plan])
    add_functions(ledger.connection, folder, mart.functions)
    for step in plan:
        ledger.run(step)


def _steps(folder: Path, mart: Mart, fetched: Mapping[str, Fetched]) -> Iterator[Step]:
    """Every step; the inputs of each but the first are all those before it."""
    chain = []
    for name in mart.sources:
        step = _load(mart, name, fetched[name])
        chain.append(step.digest)
        yield step
    chain.append(digest_of({file: text_digest(folder / file) for file in mart.functions}))
    for level, (name, code, action) in enumerate(_later(folder, mart), start=1):
        step = Step(name, level, code, digest_of(chain), action)
        chain.append(step.digest)
        yield step


def _load(mart: Mart, name: str, found: Fetched) -> Step:
    source = mart.sources[name]
    shown = f"source {name!r} of mart {mart.name!r}"
    code = digest_of([loading.REVISION, source.model_dump(mode="json", exclude={"freshness", "licence", "origin"})])

    def action(connection: duckdb.DuckDBPyConnection) -> int:
        return loading.load_source(connection, name, source, found.path, shown)

    return Step(f"load {name}", 0, code, found.sha256, action)


Action = Callable[["duckdb.DuckDBPyConnection"], int]


def _later(folder: Path, mart: Mart) -> Iterator[tuple[str, str, Action]]:
    for file in steps_of(folder):
        yield f"sql/{file.name}", text_digest(file), _sql(run_step, file, f"data/{mart.name}/sql/{file.name}")
    spec = mart.model_dump(mode="json", include={"name", "key", "group", "text", "labels", "anonymise"})
    privacy = [anonymiser_digest(), finder_version()] if mart.anonymise else None
    yield "clean", digest_of([rows.REVISION, spec, privacy]), lambda connection: rows.clean(connection, mart)
    spec = mart.model_dump(mode="json", include={"splits", "deduplicate"})
    # A mapping's digest does not know its order, and the order decides which share lies where.
    code = digest_of([rows.REVISION, spec, list(mart.splits)])
    yield "deduplicate and split", code, lambda connection: rows.decide(connection, mart)
    for file in audits_of(folder):
        shown = f"data/{mart.name}/sql/audits/{file.name}"
        yield f"audit {file.stem}", text_digest(file), _sql(run_audit, file, shown)
    settings = mart.review or Review()
    code = digest_of([REVIEW_REVISION, settings.model_dump(mode="json")])
    yield "review labels", code, lambda connection: rows.review(connection, mart, settings)


def _sql(run: Callable[[duckdb.DuckDBPyConnection, str, str], int], file: Path, shown: str) -> Action:
    return lambda connection: run(connection, file.read_text(encoding="utf-8"), shown)
