"""``signoff check``: everything that can be known of the files without running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from harness.errors import Problem, UsageError
from harness.gate import minimum_cases
from harness.run.branches import unreachable
from harness.run.plan import Plan, code_problems, unmonitored
from harness.run.proposals import proposals
from harness.run.yardstick import compare_yardsticks
from harness.spec.cases import CaseFile
from harness.spec.data_metrics import SEEN
from harness.spec.gates import Gate
from harness.spec.git import Revision, edited_releases, extract, find_baseline
from harness.spec.graded import settings_of
from harness.spec.repository import Repository, SuiteFiles, load_repository
from harness.spec.serving import read_serving
from harness.spec.waivers import WAIVERS
from harness.stats import FEW_CHANGED
from harness.store import convert_once


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``signoff check`` found in valid files."""

    apps: Mapping[str, str]
    cases: Mapping[str, int]
    warnings: Sequence[str]


def check(root: Path, cache: Path, baseline: str | None = None, apps: Sequence[str] = ()) -> CheckReport:
    """Read every file; UsageError holds all problems, released prompts edited in place among them."""
    try:
        repository = load_repository(root, only=apps)
    except UsageError as error:
        if not error.problems:
            raise
        raise UsageError.of([*error.problems, *_edited(root, *_baseline(root, cache, baseline))]) from error
    revision, tree = _baseline(root, cache, baseline)
    problems = [*_edited(root, revision, tree), *code_problems(repository), *read_serving(root)[1]]
    if problems:
        raise UsageError.of(problems)
    sizes = {name: sum(len(file) for file in suite.case_files) for name, suite in repository.suites.items()}
    digests = {name: files.digest for name, files in repository.apps.items()}
    moves = compare_yardsticks(Plan(repository, revision, tree, {}), apps).moves
    warnings = [*(move.sentence for move in moves), *warnings_of(repository), *unreachable(repository)]
    warnings += [str(problem) for problem in unmonitored(repository)]
    warnings += proposals(repository)
    warnings += expired_waivers(repository, datetime.now(UTC).date())
    return CheckReport(digests, sizes, warnings)


def _baseline(root: Path, cache: Path, baseline: str | None) -> tuple[Revision, Path | None]:
    revision = find_baseline(root, baseline)
    commit = revision.commit
    if commit is None:
        return revision, None
    return revision, convert_once(f"baseline-{commit}", cache, lambda out: extract(root, commit, out))


def _edited(root: Path, revision: Revision, tree: Path | None) -> Sequence[Problem]:
    return edited_releases(root, tree, revision.commit or "") if tree else ()


def expired_waivers(repository: Repository, today: date) -> list[str]:
    """Waivers whose last day is over: what they accepted counts again."""
    return [
        f"suites/{name}/{WAIVERS}: the waiver of case {waiver.case} and {waiver.row} of {waiver.mart} by {waiver.by} "
        f"expired on {waiver.expires.isoformat()}; renew it or remove it"
        for name, suite in repository.suites.items()
        for waiver in suite.waivers
        if waiver.expired(today)
    ]


def warnings_of(repository: Repository) -> list[str]:
    """Gates that their number of cases can never pass, even with a perfect result, and those that may not block."""
    advisory = [
        f"{name}: gate {gate!r} stays advisory whatever gates.yaml says; {why}"
        for name, suite in repository.suites.items()
        for gate, why in suite.demoted.items()
    ]
    return advisory + [
        f"{name}: gate {gate.id!r} has {have} {noun}{_where(gate)} and can {word} pass: "
        f"it needs at least {need}; add {need - have} {noun}, or widen its threshold"
        for name, suite in repository.suites.items()
        for gate in suite.gates
        for have, need, word, noun in [(gate_size(gate, suite), *_needed(gate), _observed(gate))]
        if have < need
    ]


def _needed(gate: Gate) -> tuple[int, str]:
    """How many observations the gate needs, and what is to be said of one with fewer."""
    need = minimum_cases(gate)
    if gate.paired and gate.metric.startswith("load.") and need < FEW_CHANGED:
        # A latency differs in every pair of blocks: below this number its interval is guarded, and mostly too wide.
        return FEW_CHANGED, "hardly ever"
    return need, "never"


def _observed(gate: Gate) -> str:
    return "blocks" if gate.metric.startswith("load.") else "cases"


def _where(gate: Gate) -> str:
    return "" if gate.slice == "all" else f" in slice {gate.slice!r}"


def gate_size(gate: Gate, suite: SuiteFiles) -> int:
    """How many cases the gate's metric is measured on."""
    for measured in (suite.load, suite.probes):
        if measured is not None and gate.metric in measured.metrics:
            return measured.metrics[gate.metric]
    if suite.promptfoo is not None and gate.metric in (sizes := suite.promptfoo.sizes(suite.suite.checks)):
        return min(sizes[gate.metric], sum(map(len, suite.case_files)))
    if suite.stage_of(gate.metric) == "data":
        seen = sum(_count(file, gate.slice, None, ()) for file in suite.case_files)
        return seen if gate.metric == SEEN else len(suite.adapters)
    metric = gate.metric.split(".")[0]
    rule = next((item for item in suite.suite.properties if item.id == metric), None)
    if rule is not None:
        return min(rule.cases, sum(_count(file, gate.slice, None, rule.slices) for file in suite.case_files))
    spec = next(item for item in suite.suite.checks if item.id == metric)
    count = sum(_count(file, gate.slice, spec.expect, spec.slices) for file in suite.case_files)
    # The profile that grades the fewest cases must be able to pass, too.
    return min(count, *map(settings_of(spec).limit, gate.profiles)) if spec.graded else count


def _count(file: CaseFile, wanted: str, expect: str | None, slices: Sequence[str]) -> int:
    if file.external is None:
        rows = [(case.slices, set(case.expect)) for case in file.cases]
    else:
        shared = set(file.external.expect)
        rows = [
            (file.external.slices, shared)
            if isinstance(row, str)
            else ((*file.external.slices, *row.slices), shared | set(row.expect))
            for row in file.external.rows
        ]
    return sum(
        (wanted == "all" or wanted in have)
        and (expect is None or expect in keys)
        and (not slices or not set(slices).isdisjoint(have))
        for have, keys in rows
    )
