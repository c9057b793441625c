"""Users of the arms of an experiment: who was dealt where, and what became of each in the same stretch of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from harness.monitor.indicators import Indicator, said
from harness.monitor.traffic import TraceWindow
from harness.stats.distributions import Floats
from harness.stats.two_samples import Flags


@dataclass(slots=True)
class _User:
    arm: str
    first: float
    moved: bool = False
    sums: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of the users that can be counted, in the order in which they came.

    ``values`` is each one's mean, ``arms`` the place of its arm among ``Experiment.arms``; users without a value are
    left out of both and counted, by arm, in ``silent``.
    """

    values: Floats
    arms: Any
    users: tuple[str, ...]
    silent: Mapping[str, int]

    def of(self, places: Sequence[int]) -> tuple[Floats, Flags]:
        """Values of the users of two arms, with a flag for those of the first."""
        keep = np.isin(self.arms, places)
        return self.values[keep], np.asarray(self.arms[keep] == places[0])

    def count(self, place: int) -> int:
        """Users of one arm that have a value."""
        return int((self.arms == place).sum())


@dataclass(frozen=True, slots=True)
class Experiment:
    """What the log tells of an experiment. ``users`` counts everybody who was dealt an arm, by arm.

    ``moved`` met two arms, ``young`` have not been there for the whole horizon, ``other`` requests came to their arm
    otherwise than by their user (testers, nobody named, before the start). ``versions`` counts the requests of each arm
    by the digest that answered.
    """

    arms: tuple[str, ...]
    users: Mapping[str, int]
    outcomes: Mapping[str, Outcome]
    moved: int
    young: int
    other: int
    versions: Mapping[str, Counter[str]]


def gather(window: TraceWindow, arms: Sequence[str], indicators: Sequence[Indicator], horizon: timedelta) -> Experiment:
    """Read the window twice: when each user came, then what happened to each within ``horizon`` of that.

    A user's value is final when it is counted. Values that grow while somebody looks would not be what a confidence
    sequence is made for.
    """
    found, other, versions = _arrivals(window, arms)
    stretch = horizon.total_seconds()
    for each in found.values():
        each.sums, each.counts = [0.0] * len(indicators), [0] * len(indicators)
    for row in window.requests():
        user = found.get(str(row.get("user") or ""))
        if user is None or user.moved or row.get("assigned") != "user":
            continue
        if not user.first <= _seconds(row["received"]) < user.first + stretch:
            continue
        given = window.given(row)
        for place, indicator in enumerate(indicators):
            one = said(indicator, row, given)
            if one is not None and one.value is not None:
                user.sums[place] += one.value
                user.counts[place] += 1
    stayed = {name: user for name, user in found.items() if not user.moved}
    until = window.until.timestamp()
    ripe = sorted(
        ((user.first, name) for name, user in stayed.items() if user.first + stretch <= until), key=lambda each: each
    )
    names = [name for _, name in ripe]
    dealt = Counter(user.arm for user in stayed.values())
    return Experiment(
        arms=tuple(arms),
        users={arm: dealt[arm] for arm in arms},
        outcomes={each.id: _outcome(names, stayed, place, arms) for place, each in enumerate(indicators)},
        moved=len(found) - len(stayed),
        young=len(stayed) - len(ripe),
        other=other,
        versions=versions,
    )


def _arrivals(window: TraceWindow, arms: Sequence[str]) -> tuple[dict[str, _User], int, Mapping[str, Counter[str]]]:
    found: dict[str, _User] = {}
    versions: dict[str, Counter[str]] = {arm: Counter() for arm in arms}
    other = 0
    for row in window.requests():
        name, arm = str(row.get("user") or ""), str(row.get("arm") or "")
        if row.get("assigned") != "user" or not name or arm not in arms:
            other += 1
            continue
        at = _seconds(row["received"])
        user = found.setdefault(name, _User(arm, at))
        user.first = min(user.first, at)
        user.moved = user.moved or user.arm != arm
        versions[arm][str(row.get("digest") or "")] += 1
    return found, other, versions


def _outcome(names: Sequence[str], users: Mapping[str, _User], place: int, arms: Sequence[str]) -> Outcome:
    told = [name for name in names if users[name].counts[place]]
    silent = Counter(users[name].arm for name in names if not users[name].counts[place])
    values = np.array([users[name].sums[place] / users[name].counts[place] for name in told])
    index = {arm: number for number, arm in enumerate(arms)}
    codes = np.array([index[users[name].arm] for name in told], dtype=np.intp)
    return Outcome(values, codes, tuple(told), silent)


def _seconds(received: str) -> float:
    return datetime.fromisoformat(received).timestamp()
