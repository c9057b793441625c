"""Gates of the old and the new yardstick side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.run.yardstick import Effect, Move
from harness.spec.gates import Gate
from harness.spec.repository import SuiteFiles
from harness.spec.yaml_file import line_in

# What a gate says beyond its name and its reason; a change of these two measures nothing otherwise.
_SILENT = {"id", "why"}
# For these a larger value asks for more, or for less.
_RISING: Mapping[str, int] = {
    "at_least": 1, "at_most": -1, "no_worse_than_baseline_by": -1, "better_than_baseline_by": 1,
}  # fmt: skip


def moved_gates(app: str, old: SuiteFiles, new: SuiteFiles, root: Path) -> Iterator[Move]:
    """Every gate that was added, removed, renamed or changed; looser required gates need an approval."""
    path = f"suites/{app}/gates.yaml"
    before = {gate.id: gate for gate in old.gates}
    after = {gate.id: gate for gate in new.gates}
    lines = {gate.id: line_in(root / path, ("gates", place)) for place, gate in enumerate(new.gates)}
    added = [gate for name, gate in after.items() if name not in before]
    for name, gate in before.items():
        if name in after:
            for what, effect in differences(gate, after[name]):
                waits = gate.required and effect != "harder"
                yield Move(app, "gate", f"gate {name}: {what}", effect, waits, path, lines[name])
            continue
        twin = next((other for other in added if _content(other) == _content(gate)), None)
        if twin is not None:
            added.remove(twin)
            what = f"gate {name} is now called {twin.id}"
            yield Move(app, "gate", what, "changed", path=path, line=lines[twin.id])
        else:
            kind = "required" if gate.required else "advisory"
            yield Move(app, "gate", f"{kind} gate {name} removed", "looser", gate.required, path)
    for gate in added:
        kind = "required" if gate.required else "advisory"
        yield Move(app, "gate", f"{kind} gate {gate.id} added", "harder", path=path, line=lines[gate.id])


def differences(old: Gate, new: Gate) -> Iterator[tuple[str, Effect]]:
    """What the gate asks for otherwise, key by key, each with its effect; the reason a person gave does not count."""
    same_rule = (old.rule, old.metric, old.statistic) == (new.rule, new.metric, new.statistic)
    for key in Gate.model_fields:
        was, now = getattr(old, key), getattr(new, key)
        if key in _SILENT or was == now:
            continue
        yield f"{key} {_shown(was)} -> {_shown(now)}", _effect(key, old, was, now) if same_rule else "changed"


def _effect(key: str, old: Gate, was: Any, now: Any) -> Effect:
    if key == "threshold":
        return _harder(_RISING[old.rule] * (now - was) > 0)
    if key == "required":
        return _harder(bool(now))
    if key == "confidence":
        return _harder(now > was)
    if key == "max_unscored":
        return _harder(now < was)
    if key == "profiles":
        # Dropping one is looser whatever else is added.
        return _harder(set(was) <= set(now))
    return "changed"


def _harder(yes: bool) -> Effect:
    return "harder" if yes else "looser"


def _content(gate: Gate) -> dict[str, Any]:
    return gate.model_dump(exclude=_SILENT)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
