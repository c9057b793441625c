"""Case files as collectors, and one test for each case and check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SignoffError, UsageError
from harness.run.collected import CaseHead, heads
from harness.spec.measurement import Measurement, Variant
from harness.spec.suites import CheckSpec

if TYPE_CHECKING:
    from harness.run.pytest_trees import Tree

_SHOWN_CHARACTERS = 800


class CaseRows(pytest.File):
    """``suites/<app>/cases/*``: each case times each check that applies to it."""

    def __init__(self, *, tree: Tree, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tree = tree
        self.app = self.path.parents[1].name

    def collect(self) -> Iterator[pytest.Item]:
        """The items, in the file's order."""
        try:
            suite = self.tree.suite(self.app)
        except UsageError as error:
            raise self.CollectError(str(error)) from error
        shown = self.path.relative_to(self.tree.root).as_posix()
        file = next(file for file in suite.case_files if file.path == shown)
        self._declare_markers(suite.suite.slices)
        for head in heads(file, self.path.read_bytes()):
            for check in suite.suite.checks:
                # What a model grades is a matter of the stage evals and its gates, not of single cases.
                if head.has(check) and not check.graded:
                    name = f"{head.id}[{check.id}]"
                    # With the whole id pytest sees that the check is a parameter, which --lf compares.
                    yield CheckItem.from_parent(
                        self, name=name, nodeid=f"{self.nodeid}::{name}", head=head, check=check
                    )

    def _declare_markers(self, slices: dict[str, str]) -> None:
        known = {line.split(":")[0] for line in self.config.getini("markers")}
        for name, description in slices.items():
            if marker(name) not in known:
                self.config.addinivalue_line("markers", f"{marker(name)}: cases of the slice {name!r} ({description})")


def marker(slice_name: str) -> str:
    """The marker of a slice, a name that ``-m`` can take."""
    return f"slice_{slice_name.replace('-', '_').replace('.', '_')}"


class CheckItem(pytest.Item):
    """One check of one case.

    It passes when every share that the check gives is perfect. Values of other units are gates' matter: they are
    reported as properties of the test and never fail it.
    """

    def __init__(self, *, head: CaseHead, check: CheckSpec, parent: CaseRows, **kwargs: Any) -> None:
        super().__init__(parent=parent, **kwargs)
        self.app, self.tree = parent.app, parent.tree
        self.head, self.check = head, check
        self.signoff_line = head.line
        for name in head.slices:
            self.add_marker(marker(name))

    def setup(self) -> None:
        """Wait for the outputs; an error when the app gave none, or the baseline of a case that fails."""
        try:
            rows = self._rows("candidate")
            if self._failed(rows) and self.tree.results.compared[self.app]:
                rows = [*rows, *self._rows("baseline")]
        except SignoffError as error:
            pytest.fail(str(error), pytrace=False)
        for row in rows:
            if row.status == "error":
                reason = f"case {self.head.id}: no output of the {row.variant} to check: {row.reason}"
                pytest.fail(reason, pytrace=False)

    def runtest(self) -> None:
        """Judge what the check said."""
        rows = self._rows("candidate")
        self.user_properties += [(row.metric, row.value) for row in rows if row.value is not None]
        failed = self._failed(rows)
        if failed:
            self._skip_if_known(failed)
            pytest.fail(self._report(failed), pytrace=False)
        unscored = [row for row in rows if row.status == "unscored"]
        if unscored:
            pytest.skip(f"{self.check.id} gave no score: {unscored[0].reason}")

    def _failed(self, rows: Sequence[Measurement]) -> list[Measurement]:
        perfect = self.tree.results.perfect
        return [row for row in rows if row.status == "scored" and row.unit == "share" and not perfect(row)]

    def _skip_if_known(self, failed: Sequence[Measurement]) -> None:
        if not self.tree.results.compared[self.app]:
            return
        before = {row.metric: row for row in self._rows("baseline")}
        was = [before[row.metric] for row in failed if row.metric in before]
        if not was or any(row.status == "scored" and not self._failed([row]) for row in was):
            return
        unscored = [row for row in was if row.status == "unscored"]
        pytest.skip(
            f"gave no score at the baseline: {unscored[0].reason}" if unscored else "was failing at the baseline"
        )

    def _rows(self, variant: Variant) -> Sequence[Measurement]:
        return self.tree.results.of(self.app, self.head.id, self.check.id, variant)

    def _report(self, failed: Sequence[Measurement]) -> str:
        row = self.tree.results.outputs[self.app][self.head.id]
        step = self.check.step
        lines = [f"case {self.head.id}: {item.metric} is {item.value:g}" for item in failed]
        lines += _shown("input", row["input"])
        if self.check.expect is not None:
            lines += _shown("expected", row["expect"].get(self.check.expect))
        output = row["steps"][step]["output"] if step else row["output"]
        lines += _shown(f"output of {step}" if step else "output", output)
        for reason in dict.fromkeys(item.reason for item in failed if item.reason):
            lines += _shown("reason", reason)
        return "\n".join(lines)

    def reportinfo(self) -> tuple[Path, int, str]:
        """File, line and name, as pytest shows them."""
        return self.path, self.head.line, f"{self.head.id}[{self.check.id}]"


def _shown(name: str, value: Any) -> list[str]:
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"
    first, *rest = cut.split("\n")
    return [f"  {name}: {first}", *(f"    {line}" for line in rest)]
