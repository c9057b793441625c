"""The pytest plugin: ``pytest suites/`` runs each case of a suite against each of its checks.

It is loaded by every pytest run of an environment that has Signoff installed. So it imports nothing heavy, and does
nothing until a path below ``suites/<app>/`` is collected.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SignoffError

if TYPE_CHECKING:
    from harness.run.pytest_trees import Trees

_FOLDER = pytest.StashKey[Path]()
_TREES = pytest.StashKey["Trees"]()
_DEFAULTS = pytest.StashKey[Any]()
_CASE_FILES = (".jsonl", ".yaml")
_APP = "signoff_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("signoff", "suites of LLM apps (signoff)")
    group.addoption(
        "--signoff-app", action="append", default=[], metavar="NAME", help="only this app's suite; may be given again"
    )
    group.addoption(
        "--baseline",
        dest="signoff_baseline",
        metavar="REF",
        help="compare suites with the apps at this branch, tag or commit: what failed there already is skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of this run's outputs, which the workers of pytest-xdist share; nobody makes it yet."""
    given = getattr(config, "workerinput", {}).get("signoff_folder")
    config.stash[_FOLDER] = Path(given or Path(tempfile.gettempdir()) / f"signoff-{token_hex(8)}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the outputs of the whole run are."""
    node.workerinput["signoff_folder"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what was started; the folder goes with the process that named it."""
    if trees := config.stash.get(_TREES, None):
        trees.close()
    if not hasattr(config, "workerinput") and _FOLDER in config.stash:
        shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the suites that ``--signoff-app`` does not name."""
    wanted = config.getoption("--signoff-app")
    return True if wanted and _is_suite(collection_path) and collection_path.name not in wanted else None


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Give the tests below a suite's folder its fixtures, and no other test: ``app`` and ``client`` are usual names."""
    if isinstance(collector, pytest.Directory | pytest.Session) and _is_suite(collector.path):
        from harness.run.pytest_fixtures import register

        register(collector, _trees(collector.config).tree(collector.path.parents[1]))
    elif isinstance(collector, pytest.Module):
        with contextlib.suppress(SignoffError):
            # Files that are wrong are told by the test that needs them.
            _choose_deepevals_model(collector)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect ``suites/<app>/cases/*.jsonl`` and ``*.yaml``."""
    if file_path.suffix not in _CASE_FILES or file_path.parent.name != "cases" or not _is_suite(file_path.parents[1]):
        return None
    from harness.run.pytest_items import CaseRows

    tree = _trees(parent.config).tree(file_path.parents[3])
    collected: CaseRows = CaseRows.from_parent(parent, path=file_path, tree=tree)
    return collected


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note in the report which app a test is about."""
    if (suite := _suite_above(item.path)) is not None:
        item.user_properties.append((_APP, suite.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let a test that is written for deepeval ask the model of its app."""
    try:
        asks = _choose_deepevals_model(item)
    except SignoffError as error:
        pytest.fail(str(error), pytrace=False)
    if not asks:
        return (yield)
    from harness.run.pytest_deepeval import own_loop

    with own_loop():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before the first test: ask the apps everything that the selected tests look at, in one pass."""
    trees = session.config.stash.get(_TREES, None)
    stopped = session.testsfailed and not session.config.option.continue_on_collection_errors
    if trees is not None and not session.config.option.collectonly and not stopped:
        trees.measure(session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skipped case point at its row and not at this plugin."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and hasattr(item, "signoff_line"):
        report.longrepr = (str(item.path), item.signoff_line + 1, report.longrepr[2])
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that passing tests are not a verdict."""
    found = (report for kind in terminalreporter.stats.values() for report in kind)
    ran = (report for report in found if isinstance(report, pytest.TestReport))
    apps = {str(value) for report in ran for name, value in report.user_properties if name == _APP}
    if apps:
        flags = " ".join(f"--app {name}" for name in sorted(apps))
        terminalreporter.write_line(
            f"signoff: single cases are no verdict on a release, whatever pytest's status is; run: signoff gate {flags}"
        )


def _is_suite(folder: Path) -> bool:
    return folder.parent.name == "suites" and (folder / "app.yaml").is_file()


def _suite_above(path: Path) -> Path | None:
    return next((folder for folder in path.parents if folder.parent.name == "suites" and _is_suite(folder)), None)


def _choose_deepevals_model(node: pytest.Item | pytest.Module) -> bool:
    suite = _suite_above(node.path)
    if suite is None or node.path.suffix != ".py" or b"deepeval" not in node.path.read_bytes():
        return False
    from harness.run.pytest_deepeval import Defaults, imports_deepeval

    if not imports_deepeval(node.path):
        return False
    defaults = node.config.stash.setdefault(_DEFAULTS, Defaults())
    defaults.take(_trees(node.config).tree(suite.parents[1]), suite.name)
    return True


def _trees(config: pytest.Config) -> Trees:
    if _TREES not in config.stash:
        from harness.run.pytest_trees import Trees

        quiet = hasattr(config, "workerinput") or config.option.verbose < 0
        config.stash[_TREES] = Trees(config.stash[_FOLDER], config.getoption("signoff_baseline"), quiet=quiet)
    return config.stash[_TREES]
