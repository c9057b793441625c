"""The repositories that a pytest run has met, and what has been asked of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.run.collected import Results, ask_collected, wanted_of
from harness.run.options import Options
from harness.spec.repository import SuiteFiles, load_repository
from harness.store import cache_home, digest_of
from harness.store.files import locked

if TYPE_CHECKING:
    import pytest

    from harness.run.pytest_bench import Bench


class Tree:
    """One repository: its suites as they are collected, its results and its bench as they are needed."""

    def __init__(self, root: Path, folder: Path, baseline: str | None, *, quiet: bool) -> None:
        self.root = root
        self._folder = folder
        self._baseline, self._quiet = baseline, quiet
        self._apps: set[str] = set()
        self._suites: dict[str, SuiteFiles] = {}
        self._bench: Bench | None = None
        self._results: Results | None = None
        self._items: list[pytest.Item] = []

    def meet(self, app: str) -> None:
        """Note an app that tests may ask."""
        self._apps.add(app)

    def suite(self, app: str) -> SuiteFiles:
        """The files that check an app; UsageError when they are invalid."""
        self.meet(app)
        if app not in self._suites:
            self._suites[app] = load_repository(self.root, only=(app,)).suites[app]
        return self._suites[app]

    def want(self, items: Sequence[pytest.Item]) -> None:
        """Choose the tests whose cases will be asked."""
        self._items = [item for item in items if item.path.is_relative_to(self.root / "suites")]

    @property
    def bench(self) -> Bench:
        """Where the apps are asked; UsageError when their files or the baseline are invalid."""
        if self._bench is None:
            from harness.run.pytest_bench import Bench

            apps = tuple(sorted(self._apps))
            options = Options(self.root, cache_home(), apps, baseline=self._baseline, quiet=self._quiet)
            self._bench = Bench(options, self._folder / "gateway.log")
        return self._bench

    @property
    def results(self) -> Results:
        """The answers to all chosen tests. The first process makes them, the others wait and read its files."""
        if self._results is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with locked(self._folder / "lock"):
                if not Results.ready(self._folder):
                    ask_collected(lambda: self.bench, wanted_of(*self._wishes()), self._folder)
            self._results = Results.read(self._folder)
        return self._results

    def _wishes(self) -> tuple[list[tuple[str, str, str]], list[str]]:
        from harness.run.pytest_items import CheckItem

        checked = [(item.app, item.head.id, item.check.id) for item in self._items if isinstance(item, CheckItem)]
        users = [item for item in self._items if "outputs" in getattr(item, "fixturenames", ())]
        folders = {item.path.relative_to(self.root / "suites").parts[0] for item in users}
        return checked, sorted(folders & self._apps)

    def prepare(self) -> None:
        """Make the results now if any chosen test looks at them."""
        if any(self._wishes()):
            _ = self.results

    def close(self) -> None:
        """Stop what was started."""
        if self._bench is not None:
            self._bench.close()


class Trees:
    """All repositories of a run. ``folder`` is shared by the processes of the run."""

    def __init__(self, folder: Path, baseline: str | None, *, quiet: bool) -> None:
        self._folder = folder
        self._baseline, self._quiet = baseline, quiet
        self._trees: dict[Path, Tree] = {}

    def tree(self, root: Path) -> Tree:
        """The repository at ``root``."""
        if root not in self._trees:
            folder = self._folder / digest_of(str(root))[:16]
            self._trees[root] = Tree(root, folder, self._baseline, quiet=self._quiet)
        return self._trees[root]

    def measure(self, items: Sequence[pytest.Item]) -> None:
        """Ask everything that ``items`` look at."""
        for tree in self._trees.values():
            tree.want(items)
            tree.prepare()

    def close(self) -> None:
        """Stop what was started."""
        for tree in self._trees.values():
            tree.close()
