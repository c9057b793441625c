"""Numbers and reasons in plain English."""

from __future__ import annotations

import math

from harness.gate.verdicts import GateVerdict

LOG_SECONDS = "log s"
"""Natural logarithms of seconds: people are told seconds, and of a difference by how much longer it takes."""


def level(value: float | None, unit: str) -> str:
    """A value of a metric: a share as a percentage, anything else with its unit."""
    if value is None or not math.isfinite(value):
        return "unbounded"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == LOG_SECONDS:
        seconds = math.exp(value)
        return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
    return f"{value:.4g}" if unit in ("score", "") else f"{value:.4g} {unit}"


def difference(value: float | None, unit: str) -> str:
    """A difference of two values: of shares in percentage points, always signed."""
    if value is None or not math.isfinite(value):
        return "unbounded"
    if unit == "share":
        return f"{round(100 * value, 1) + 0.0:+.1f} points"
    if unit == LOG_SECONDS:
        return f"{round(100 * math.expm1(value), 1) + 0.0:+.1f} %"
    return f"{value:+.4g}" if unit in ("score", "") else f"{value:+.4g} {unit}"


def counted(count: int, noun: str) -> str:
    """A count with its noun in the right number."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def where(verdict: GateVerdict) -> str:
    """The place to which cases would be added."""
    return verdict.app if verdict.slice == "all" else f"slice {verdict.slice} of {verdict.app}"


def numbers(verdict: GateVerdict, unit: str) -> str:
    """What was found and what was asked, with the interval."""
    confidence = f"{100 * verdict.confidence:.4g} % confidence each way"
    cases = counted(verdict.n, "case")
    if verdict.rule in ("at_least", "at_most"):
        asked = f"{verdict.rule.replace('_', ' ')} {level(verdict.threshold, unit)}"
        span = f"[{level(verdict.low, unit)}, {level(verdict.high, unit)}]"
        return f"{level(verdict.estimate, unit)} {span} of {asked} ({cases}, {confidence})"
    change = f"{level(verdict.baseline, unit)} -> {level(verdict.candidate, unit)}"
    span = f"[{difference(verdict.low, unit)}, {difference(verdict.high, unit)}]"
    kind = "margin" if verdict.rule.startswith("no_worse") else "gain asked"
    margin = difference(verdict.threshold, unit).lstrip("+")
    return f"{change}, difference {difference(verdict.estimate, unit)} {span}, {kind} {margin} ({cases}, {confidence})"


def shortened(text: str, most: int = 160) -> str:
    """One line of at most so many characters: reasons may quote whole answers."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def lost_rows(errors: int, unscored: int) -> str:
    """Rows without a value, by kind."""
    parts = [counted(errors, "error")] if errors else []
    parts += [f"{unscored} unscored"] if unscored else []
    return " and ".join(parts)


def settle(verdict: GateVerdict) -> str:
    """What would settle an undecided gate, or an empty string when nothing that can be counted would."""
    ways = []
    if verdict.need_cases and verdict.metric.startswith("load."):
        # Requests of one pair of blocks share what the machine did then: only more pairs say more.
        pairs = math.ceil(verdict.need_cases * max(verdict.clusters, 1) / max(verdict.n, 1))
        ways.append(f"raise blocks by {pairs} in suites/{verdict.app}/load.yaml")
    elif verdict.need_cases:
        ways.append(f"add {counted(verdict.need_cases, 'case')} to {where(verdict)}")
    if verdict.need_repeats:
        ways.append(f"measure {counted(verdict.need_repeats, 'repeat')} a case instead of {verdict.repeats}")
    return ", or ".join(ways)
