"""A verdict whose yardstick moved with the change: what made it easier to pass waits for a named person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import EXIT_INCONCLUSIVE

_GOOD = ("pass", "not_applicable")


def hold(
    verdict: Mapping[str, Any], moves: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of verdict.json with ``yardstick_moved``, ``old_yardstick`` and ``needs_approval``.

    A pass that rests on a looser yardstick, or that the old one would have failed, becomes inconclusive until somebody
    approves exactly that. A fail and an error stay what they are.
    """
    names = _names(moves, old)
    result = {**verdict, "yardstick_moved": list(moves), "old_yardstick": list(old), "needs_approval": names}
    if not names or verdict["verdict"] not in ("pass", "inconclusive"):
        return result
    why = [f"the yardstick moved and nobody has approved it: {name}" for name in names]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if verdict["verdict"] == "inconclusive":
        action = f"{verdict['next_action']}; restore the yardstick as well ({names[0]}{more}), or have both approved"
        return result | {"reasons": [*why, *verdict["reasons"]], "next_action": action}
    action = (
        f"restore the yardstick, or let a named person approve that it moved ({names[0]}{more}): "
        "signoff approve latest --as NAME --note WHY --expires DATE"
    )
    return result | {
        "verdict": "inconclusive",
        "exit_code": EXIT_INCONCLUSIVE,
        "next_action": action,
        "reasons": [*why, *verdict["reasons"]],
    }


def _names(moves: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]) -> list[str]:
    waiting = [f"{move['app']}: {move['what']}" for move in moves if move["approval"]]
    waiting += [
        f"{gate['app']}: gate {gate['id']} {_said(gate)} under the old yardstick"
        for gate in old
        if gate["required"] and gate["now"] != "fail" and _against(gate)
    ]
    return waiting


def _against(gate: Mapping[str, Any]) -> bool:
    # Undecided for want of cases is why people add some; no row at all means that nobody knows.
    unknown = gate["verdict"] == "inconclusive" and gate["n"] == 0 and gate["now"] in _GOOD
    return bool(gate["verdict"] == "fail" or unknown)


def _said(gate: Mapping[str, Any]) -> str:
    return "fails" if gate["verdict"] == "fail" else "has no rows"
