"""A verdict whose yardstick moved."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from harness.gate import Approval, apply_approval, hold

PASS = {"verdict": "pass", "exit_code": 0, "next_action": "merge", "reasons": ["every required gate passed"]}
LOOSER = {"app": "desk", "kind": "gate", "what": "gate level: threshold 0.8 -> 0.7", "approval": True}
ADDED = {"app": "desk", "kind": "case", "what": "case x added", "approval": False}


def old(verdict: str, now: str, n: int = 60, *, required: bool = True) -> dict[str, Any]:
    """A gate of the old yardstick beside the verdict of today's gate of that name."""
    return {"app": "desk", "id": "level", "required": required, "verdict": verdict, "now": now, "n": n}


@pytest.mark.parametrize(
    ("moves", "gates", "waits"),
    [
        ([], [], False),
        ([ADDED], [], False),
        ([LOOSER], [], True),
        ([ADDED], [old("pass", "pass")], False),
        ([ADDED], [old("fail", "pass")], True),
        ([ADDED], [old("fail", "inconclusive")], True),
        ([ADDED], [old("fail", "not_applicable")], True),
        ([ADDED], [old("fail", "removed")], True),
        ([ADDED], [old("fail", "fail")], False),
        ([ADDED], [old("fail", "pass", required=False)], False),
        ([ADDED], [old("inconclusive", "pass")], False),
        ([ADDED], [old("inconclusive", "pass", n=0)], True),
    ],
)
def test_what_waits(moves: list[dict[str, Any]], gates: list[dict[str, Any]], waits: bool) -> None:
    """A looser yardstick waits, and so does a pass that the old one fails or knows nothing of."""
    held = hold(PASS, moves, gates)
    assert (held["verdict"], held["exit_code"]) == (("inconclusive", 2) if waits else ("pass", 0))
    assert bool(held["needs_approval"]) is waits
    assert held["yardstick_moved"] == moves


@pytest.mark.parametrize("decided", ["fail", "error"])
def test_worse_verdicts_stay(decided: str) -> None:
    """A fail and an error cannot become something that is approved."""
    assert hold(PASS | {"verdict": decided}, [LOOSER], [])["verdict"] == decided


def test_an_undecided_run_names_the_yardstick_first() -> None:
    """Whoever approves must read what moved before they read which gate lacks cases."""
    held = hold(PASS | {"verdict": "inconclusive", "next_action": "add 4 cases"}, [LOOSER], [])
    assert held["reasons"][0].endswith("gate level: threshold 0.8 -> 0.7")
    assert held["next_action"].startswith("add 4 cases; restore the yardstick")


@pytest.mark.parametrize("named", [True, False])
def test_an_approval_must_name_the_move(named: bool) -> None:
    """The same digests beside another baseline may have moved by more: only what was named is covered."""
    apps = {"desk": {"candidate": "b", "baseline": "a"}}
    held = hold(PASS | {"apps": apps, "gates": [], "approval": None}, [LOOSER], [])
    names = tuple(held["needs_approval"]) if named else ()
    approval = Approval("Dana", "seen", "2027-01-01", "2027-12-31", "run", apps, {"desk": "y"}, names)
    result = apply_approval(held, [approval], date(2027, 2, 1), yardstick={"desk": "y"})
    assert result["exit_code"] == (0 if named else 2)
    assert any("it does not cover desk: gate level" in reason for reason in result["reasons"]) is not named
