"""The yardstick moved: what measures an app differs from what measured its baseline, and whether that must be approved.

A gate says little when the change under review also chose the cases, checks and thresholds that it is held to. Each
such difference is named with its effect; what makes a verdict easier to reach waits for a named person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import UsageError
from harness.run.plan import Plan
from harness.spec.repository import Repository, SuiteFiles, load_repository, yardstick_digest

Effect = Literal["harder", "looser", "changed"]

MEASURED_ANEW = frozenset({"case", "check", "property", "judge", "slice", "suite"})
"""Kinds of moves after which the old cases and checks must be asked again to know the old verdict."""


@dataclass(frozen=True, slots=True)
class Move:
    """One difference: ``what`` is a phrase, ``approval`` says that a person must agree to it.

    ``path`` and ``line`` (1-based) are where the new yardstick says so, or would say so.
    """

    app: str
    kind: str
    what: str
    effect: Effect
    approval: bool = False
    path: str = ""
    line: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The record as it stands in verdict.json."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def sentence(self) -> str:
        """The difference in one line for people."""
        waits = ", needs an approval" if self.approval else ""
        return f"{self.app}: the yardstick moved ({self.effect}{waits}): {self.what}"


@dataclass(frozen=True)
class Yardstick:
    """How the yardstick moved. ``old`` holds the baseline's suites of the apps whose moved, ``root`` their tree."""

    moves: tuple[Move, ...] = ()
    old: Mapping[str, SuiteFiles] = field(default_factory=dict)
    root: Path | None = None

    @property
    def measured_anew(self) -> tuple[str, ...]:
        """The apps whose old cases and checks are no longer part of what is measured."""
        moved = {move.app for move in self.moves if move.kind in MEASURED_ANEW}
        return tuple(name for name in self.old if name in moved)


def compare_yardsticks(plan: Plan, apps: Sequence[str] = ()) -> Yardstick:
    """The yardstick of the plan's apps against their baseline's; nothing is read twice where the digests agree.

    ``apps`` are those that a person chose: with none, an app that the baseline has and the candidate lacks counts too.
    """
    root = plan.baseline_root
    if root is None:
        return Yardstick()
    moves = [] if apps else list(_removed(plan, root))
    suspects = [name for name, suite in plan.repository.suites.items() if _may_have_moved(root, name, suite)]
    if not suspects:
        return Yardstick(tuple(moves), {}, root)
    try:
        before = load_repository(root, with_marts=False, only=suspects)
    except UsageError as error:
        reason = str(error.problems[0] if error.problems else error)
        unreadable = (
            Move(name, "suite", f"the baseline's suite cannot be read ({reason})", "changed", approval=True,
                 path=f"suites/{name}/suite.yaml")
            for name in suspects
        )  # fmt: skip
        return Yardstick((*moves, *unreadable), {}, root)
    found = {name: tuple(_moves(name, before, plan.repository)) for name in suspects}
    moves += [move for name in suspects for move in found[name]]
    return Yardstick(tuple(moves), {name: before.suites[name] for name in suspects if found[name]}, root)


def old_digests(plan: Plan) -> dict[str, str]:
    """The digest of each app's yardstick at the baseline, as far as the app exists there."""
    root = plan.baseline_root
    return {
        name: yardstick_digest(root / "suites" / name, suite.suite, suite.case_files)
        for name, suite in plan.repository.suites.items()
        if root is not None and (root / "suites" / name / "suite.yaml").is_file()
    }


def _may_have_moved(root: Path, name: str, suite: SuiteFiles) -> bool:
    folder = root / "suites" / name
    if not (folder / "suite.yaml").is_file():
        return False
    # A judge's model lies outside of the suite's folder.
    return bool(suite.judges) or yardstick_digest(folder, suite.suite, suite.case_files) != suite.digest


def _removed(plan: Plan, root: Path) -> Iterator[Move]:
    for file in sorted(root.glob("suites/*/app.yaml")):
        if (name := file.parent.name) not in plan.repository.apps:
            what = "the app and its suite were deleted"
            yield Move(name, "app", what, "looser", approval=True, path=f"suites/{name}/app.yaml")


def _moves(name: str, before: Repository, after: Repository) -> Iterator[Move]:
    from harness.run.yardstick_cases import moved_cases
    from harness.run.yardstick_gates import moved_gates
    from harness.run.yardstick_suite import moved_suite

    old, new = before.suites[name], after.suites[name]
    yield from moved_gates(name, old, new, after.root)
    yield from moved_cases(name, old, new, after.root)
    yield from moved_suite(name, before, after)
