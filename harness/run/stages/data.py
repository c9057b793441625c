"""The stage ``data``: marts are built, no case stands in them, and adapters still fit what they were made from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.data.contamination import Pair
from harness.errors import SignoffError, UsageError
from harness.run.contamination import mart_source, search, shown_sources, summary
from harness.run.data_rows import NAME, Rows, adapter_rows, failed_mart_rows, mart_rows
from harness.run.stages.asking import load_cases
from harness.run.stages.record import Context, StageReport
from harness.spec.candidates import base_recipe
from harness.spec.data_metrics import SEEN
from harness.spec.measurement import Measurement, encode
from harness.spec.repository import AppFiles, SuiteFiles
from harness.spec.suites import Case

if TYPE_CHECKING:
    from harness.data.marts import BuiltMart, StepDone

_SHORT_DIGEST = 12


def measure(context: Context) -> StageReport:
    """Run the stage. A mart that cannot be built makes rows that depend on it errors; wrong files end the run."""
    started, report = time.monotonic(), StageReport(NAME)
    stage = _Stage(context, *_build(context))
    with context.folder.jsonl(f"measurements/{NAME}.jsonl") as out:
        for name, suite in context.suites():
            begun, count, errors = time.monotonic(), 0, 0
            for row in stage.rows(name, suite):
                out.write(encode(row))
                count, errors = count + 1, errors + (row.status == "error")
            out.flush()
            seconds = round(time.monotonic() - begun, 3)
            report.apps[name] = {"seconds": seconds, "outputs": 0, "errors": errors, "calls": 0}
            report.rows, report.errors = report.rows + count, report.errors + errors
    context.folder.write_json(f"artifacts/{NAME}/contamination.json", stage.pairs)
    report.found = [*stage.told, *(f"mart {name} is not built: {lost.why}" for name, lost in stage.failed.items())]
    report.found += [*(_told(built) for built in stage.built.values()), *stage.waivers]
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a mart could not be built, and how many audits said so."""

    why: str
    audits: int


def _build(context: Context) -> tuple[Mapping[str, BuiltMart], Mapping[str, _Failed]]:
    """Every mart of the tree, built now: a gate never judges by an old one."""
    from harness.data.marts import AuditError, build_mart

    options = context.options
    built: dict[str, BuiltMart] = {}
    failed: dict[str, _Failed] = {}
    for name in context.plan.repository.marts:
        try:
            built[name] = build_mart(options.root, name, options.cache, _said(name, quiet=options.quiet))
        except UsageError:
            raise
        except AuditError as error:
            failed[name] = _Failed(str(error), 1)
        except SignoffError as error:
            failed[name] = _Failed(str(error), 0)
    return built, failed


def _said(mart: str, *, quiet: bool) -> Callable[[StepDone], None]:
    def said(done: StepDone) -> None:
        if not quiet and not done.skipped:
            print(f"mart {mart}: {done.name} ({done.rows:,} rows, {done.seconds:.1f} s)", file=sys.stderr)

    return said


@dataclass
class _Stage:
    context: Context
    built: Mapping[str, BuiltMart]
    failed: Mapping[str, _Failed]
    told: list[str] = field(default_factory=list)
    waivers: list[str] = field(default_factory=list)
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def rows(self, name: str, suite: SuiteFiles) -> Iterator[Measurement]:
        """Everything that is measured of one app."""
        files = self.context.plan.repository.apps[name]
        row = Rows(name, files.digest)
        if suite.marts:
            yield from self._seen(suite, files, row)
        recipes = {key: base_recipe(key.split("/")[0], files.root)[0] for key in suite.adapters}
        for mart in sorted({recipe.mart for recipe in recipes.values() if recipe}):
            if mart in self.built:
                yield from mart_rows(mart, self.built[mart], row)
            elif mart in self.failed:
                yield from failed_mart_rows(mart, self.failed[mart].why, self.failed[mart].audits, row)
        digests = {mart: built.digest for mart, built in self.built.items()}
        for key, recipe in recipes.items():
            yield from adapter_rows(files, files.adapters[key], recipe, digests, row)

    def _seen(self, suite: SuiteFiles, files: AppFiles, row: Rows) -> Iterator[Measurement]:
        options = self.context.options
        cases = load_cases(suite, options)
        sources = [*(mart_source(built) for built in self.built.values()), *shown_sources(files)]
        today = datetime.now(UTC).date()
        found = search(row.app, cases, sources, suite.waivers, cache=options.cache, today=today)
        self.told += filter(None, [summary(found)])
        self.waivers += found.waiver_sentences()
        self.pairs[row.app] = [pair.as_dict() for pair in found.pairs]
        unknown = "; ".join(f"mart {mart} is not built: {lost.why}" for mart, lost in self.failed.items())
        seen = found.cases
        for case in cases:
            yield _seen_row(case, seen.get(case.id, ()), unknown, row)


def _seen_row(case: Case, pairs: Sequence[Pair], unknown: str, row: Rows) -> Measurement:
    about: dict[str, Any] = {"slices": case.slices, "group": case.group}
    if pairs:
        more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
        return row.scored(SEEN, case.id, 1.0, "cases", reason=pairs[0].sentence + more, **about)
    if unknown:
        return row.lost(SEEN, case.id, unknown, "error", "cases", **about)
    return row.scored(SEEN, case.id, 0.0, "cases", **about)


def _told(built: BuiltMart) -> str:
    splits = ", ".join(f"{name} {count:,}" for name, count in built.counts.items())
    ages = built.manifest["freshness"]
    late = [f"{source} is {'too old' if found['status'] == 'error' else 'getting old'}"
            for source, found in ages.items() if found["status"] != "pass"]  # fmt: skip
    age = f"; {', '.join(late)}" if late else "; fresh" if ages else ""
    rows = sum(built.counts.values())
    return f"mart {built.mart.name} {built.digest[:_SHORT_DIGEST]}: {rows:,} rows ({splits}){age}"
