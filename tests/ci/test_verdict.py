"""What the required job makes of the jobs before it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.run.project import ROOT

SCRIPTS = ROOT / ".github/scripts"
BUSY = {"jobs": [{"stage": "regression", "apps": ["desk"]}], "any": True}
IDLE: dict[str, Any] = {"jobs": [], "any": False}


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("ci_verdict", SCRIPTS / "verdict.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("jobs", None)


def needs(**results: str) -> dict[str, dict[str, str]]:
    """How the jobs ended; those that are not named succeeded."""
    return {name: {"result": results.get(name, "success")} for name in ("adapters", "tests", "check", "measure")}


@pytest.mark.parametrize(
    ("plan", "ended", "said"),
    [
        (BUSY, {}, []),
        (IDLE, {"measure": "skipped"}, []),
        (BUSY, {"measure": "skipped"}, ["job measure was skipped although it was needed"]),
        (None, {"measure": "skipped"}, ["job measure was skipped although it was needed"]),
        (IDLE, {"tests": "skipped", "measure": "skipped"}, ["job tests was skipped although it was needed"]),
        (IDLE, {"check": "cancelled", "measure": "skipped"}, ["job check was cancelled"]),
        (BUSY, {"measure": "failure"}, ["job measure failed"]),
        (IDLE, {"adapters": "cancelled", "measure": "skipped"}, ["job adapters was cancelled"]),
        (BUSY, {"adapters": "skipped"}, ["job adapters was skipped although it was needed"]),
        (BUSY, {"measure": "something new"}, ["job measure something new"]),
    ],
)
def test_only_success_counts(verdict: ModuleType, plan: Any, ended: dict[str, str], said: list[str]) -> None:
    """Anything but success is red, but for a stage that the plan did not ask for."""
    assert verdict.lost_jobs(needs(**ended), plan) == said


def test_what_an_unbuilt_adapter_needs_is_told(verdict: ModuleType) -> None:
    """The sentence of the job that built it is the first reason and the next action, whatever else broke for it."""
    ended = needs(adapters="failure", check="failure", measure="skipped")
    ended["adapters"]["outputs"] = {"told": "sorter/1.0.0 was built here and must be committed"}  # type: ignore[assignment]
    lost = [*verdict.lost_jobs(ended, None), *verdict.lost_parts(None)]
    told = verdict.brief(None, 0, lost, verdict.unbuilt(ended["adapters"]))
    assert told["reasons"][:2] == [
        "job adapters failed: sorter/1.0.0 was built here and must be committed", "job check failed",
    ]  # fmt: skip
    assert (told["verdict"], told["next_action"]) == ("error", "sorter/1.0.0 was built here and must be committed")
    assert verdict.unbuilt({"result": "success"}) == ""
