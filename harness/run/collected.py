"""What collected tests need of an app: asked and scored once, by one process, and read by all of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import SignoffError
from harness.spec.cases import CaseFile
from harness.spec.measurement import Measurement, Variant, read_measurements
from harness.spec.repository import SuiteFiles
from harness.spec.suites import CheckSpec, ExternalRow
from harness.store import write_atomic

if TYPE_CHECKING:
    from harness.run.pytest_bench import Bench

_ROWS, _OUTPUTS, _DONE = "measurements.jsonl", "outputs.jsonl", "done.json"


@dataclass(frozen=True, slots=True)
class CaseHead:
    """What is known of a case without its text: ``line`` counts from 0, ``expects`` are the keys of its expectation."""

    id: str
    line: int
    slices: tuple[str, ...]
    expects: frozenset[str]

    def has(self, check: CheckSpec) -> bool:
        """Whether the check applies to the case."""
        if check.expect is not None and check.expect not in self.expects:
            return False
        return not check.slices or not set(check.slices).isdisjoint(self.slices)


def heads(file: CaseFile, content: bytes) -> list[CaseHead]:
    """The cases of a file, whose bytes are ``content``; nothing is fetched for those of a package."""
    if file.external is None:
        lines = [number for number, line in enumerate(content.split(b"\n")) if line.strip()]
        return [
            CaseHead(case.id, line, case.slices, frozenset(case.expect))
            for case, line in zip(file.cases, lines, strict=True)
        ]
    spec = file.external
    rows = [ExternalRow(id=row) if isinstance(row, str) else row for row in spec.rows]
    return [
        CaseHead(
            # As the case will be called once its package is there.
            re.sub(r"[^a-z0-9_.-]+", "-", (spec.prefix + row.id).lower()),
            0,
            (*spec.slices, *row.slices),
            frozenset(spec.expect) | frozenset(row.expect),
        )
        for row in rows
    ]


@dataclass(slots=True)
class Wanted:
    """Which cases and checks of an app the tests look at. ``whole``: the outputs of all its cases."""

    cases: set[str] = field(default_factory=set)
    checks: set[str] = field(default_factory=set)
    whole: bool = False

    def files(self, suite: SuiteFiles) -> tuple[CaseFile, ...]:
        """The case files that have to be read."""
        return tuple(file for file in suite.case_files if self.whole or self._in(file))

    def _in(self, file: CaseFile) -> bool:
        # Blank content: only ids are looked at, and those of committed rows are in the file's cases already.
        ids = {case.id for case in file.cases} if file.external is None else {head.id for head in heads(file, b"")}
        return not ids.isdisjoint(self.cases)


def ask_collected(open_bench: Callable[[], Bench], wanted: Mapping[str, Wanted], folder: Path) -> None:
    """Ask and score what is wanted of each app, and leave it in ``folder`` for ``Results.read``.

    What breaks an app's run is told in the results: it is the same for every process that reads them.
    """
    done: dict[str, Any] = {"broken": {}, "lower": [], "compared": {}}
    with (folder / _ROWS).open("wb") as rows, (folder / _OUTPUTS).open("wb") as outputs:
        for name, what in wanted.items():
            try:
                bench = open_bench()
                done["compared"][name] = bench.compared(name)
                done["lower"] += _ask_app(bench, name, what, (rows.write, outputs.write))
            except SignoffError as error:
                done["broken"][name] = str(error)
    write_atomic(folder / _DONE, orjson.dumps(done))


def _ask_app(bench: Bench, name: str, wanted: Wanted, emit: Sequence[Any]) -> list[list[str]]:
    from harness.evals import Scorer, bind_checks

    suite = bench.plan.repository.suites[name]
    read = bench.cases(replace(suite, case_files=wanted.files(suite)))
    chosen = [case for case in read if wanted.whole or case.id in wanted.cases]
    bound = bind_checks(suite.suite, bench.options.root / "suites" / name, f"suites/{name}/suite.yaml")
    scorer = Scorer([check for check in bound if check.spec.id in wanted.checks])
    bench.ask(name, chosen, scorer, emit)
    return [[name, check.spec.id] for check in scorer.checks if check.check.better == "lower"]


@dataclass(frozen=True)
class Results:
    """Rows by (app, variant, case, check), outputs of the candidate by app and case.

    ``compared`` says of each app how its baseline stands to it: ``changed``, ``same``, or empty for none.
    """

    rows: Mapping[tuple[str, str, str, str], Sequence[Measurement]]
    outputs: Mapping[str, Mapping[str, dict[str, Any]]]
    broken: Mapping[str, str]
    compared: Mapping[str, str]
    lower: frozenset[tuple[str, str]]

    @staticmethod
    def ready(folder: Path) -> bool:
        """Whether another process, or this one, has left its results in ``folder``."""
        return (folder / _DONE).is_file()

    @classmethod
    def read(cls, folder: Path) -> Results:
        """The results in ``folder``."""
        done = orjson.loads((folder / _DONE).read_bytes())
        rows: dict[tuple[str, str, str, str], list[Measurement]] = defaultdict(list)
        for row in read_measurements(folder / _ROWS):
            rows[row.app, row.variant, row.case, row.check].append(row)
        outputs: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        for line in (folder / _OUTPUTS).read_bytes().splitlines():
            output = orjson.loads(line)
            if output["variant"] == "candidate":
                outputs[output["app"]][output["case"]] = output
        return cls(dict(rows), dict(outputs), done["broken"], done["compared"], frozenset(map(tuple, done["lower"])))

    def outputs_of(self, app: str) -> Mapping[str, dict[str, Any]]:
        """The candidate's outputs by case; SignoffError when the app's run broke."""
        if app in self.broken:
            raise SignoffError(self.broken[app])
        return self.outputs.get(app, {})

    def of(self, app: str, case: str, check: str, variant: Variant = "candidate") -> Sequence[Measurement]:
        """What a check said of a case, one row for each of its metrics; SignoffError when the app's run broke."""
        if app in self.broken:
            raise SignoffError(self.broken[app])
        if variant == "baseline" and self.compared[app] != "changed":
            variant = "candidate"
        rows = self.rows.get((app, variant, case, check), ())
        if not rows:
            message = f"case {case!r} of {app!r} was not asked for check {check!r}; run it as pytest collects it"
            raise SignoffError(message)
        return rows

    def perfect(self, row: Measurement) -> bool:
        """Whether a share is as good as it can be."""
        return row.value == (0.0 if (row.app, row.check) in self.lower else 1.0)


def wanted_of(items: Iterable[tuple[str, str, str]], whole: Iterable[str]) -> dict[str, Wanted]:
    """Collect (app, case, check) by app; the apps in ``whole`` are asked all their cases."""
    found: dict[str, Wanted] = defaultdict(Wanted)
    for app, case, check in items:
        found[app].cases.add(case)
        found[app].checks.add(check)
    for app in whole:
        found[app].whole = True
    return dict(found)
