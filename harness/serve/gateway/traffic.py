"""Splitting users between variants by a stable hash: nothing is stored, and every process decides the same.

The arms of an app are tried in the order in which its file lists them. The draw of an arm for a user is the first 64
bits of sha256(experiment NUL app NUL arm NUL user), read as a fraction of one; the user is in the arm when the draw is
below ``share / (what the arms before it left over)``. Because every arm has a draw of its own, an arm that grows takes
from the arms listed after it, in proportion, and moves nobody else; adding or removing an arm works the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from harness.errors import Problem, UsageError
from harness.serve.gateway.parts import Arm, Assigned
from harness.spec.git import extract, find_baseline, git
from harness.spec.traffic import FILE, HASHED, ArmSpec, Traffic
from harness.store import convert_once, digest_bytes

_WHOLE = 2**64


def served_name(app: str, arm: str) -> str:
    """The name under which the gateway serves one arm of an app."""
    return f"{app}@{arm}"


def draw(experiment: str, app: str, arm: str, user: str) -> int:
    """The 64 bits that decide whether ``user`` is in ``arm``."""
    # A lone surrogate has no UTF-8 form, and a user's name must not be able to break the request.
    text = "\0".join((experiment, app, arm, user)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


@dataclass(frozen=True, slots=True)
class _Draw:
    """An arm with the bound that its draw must stay below: an integer, so that no machine rounds it otherwise."""

    name: str
    below: int


class _Split:
    """One app's traffic, ready to decide."""

    def __init__(self, app: str, traffic: Traffic) -> None:
        self._app, self._traffic = app, traffic
        self._variants = _bounds(traffic)
        self._shadows = [(arm, int(arm.percent / 100 * _WHOLE)) for arm in traffic.shadow]
        self._sources = {arm.name: arm.source for arm in traffic.variants}
        self._allowed = {user: arm for arm, users in traffic.allow.items() for user in users}

    def decide(self, user: str, request: str, now: datetime) -> Arm:
        name, by = self._variant(user, request, now)
        return Arm(name, served_name(self._app, name), self._shadows_of(name, user, request, now), by)

    def _variant(self, user: str, request: str, now: datetime) -> tuple[str, Assigned]:
        if user and self._allowed:
            hashed = HASHED + digest_bytes(user.encode("utf-8", "surrogatepass"))
            allowed = self._allowed.get(user) or self._allowed.get(hashed)
            if allowed:
                return allowed, "allowed"
        if self._traffic.default is not None and not self._runs(now):
            return self._traffic.default, "default"
        key = user or request
        for arm in self._variants[:-1]:
            if self._draw(arm.name, key) < arm.below:
                return arm.name, "user" if user else "request"
        return self._variants[-1].name, "user" if user else "request"

    def _shadows_of(self, answers: str, user: str, request: str, now: datetime) -> tuple[str, ...]:
        """The shadows of one request: sampled by request, so that no user's share of the load is all or nothing."""
        if not self._shadows or not self._runs(now):
            return ()
        return tuple(
            served_name(self._app, arm.name)
            for arm, below in self._shadows
            if arm.source != self._sources[answers] and self._draw(arm.name, request or user) < below
        )

    def _draw(self, arm: str, key: str) -> int:
        return draw(self._traffic.experiment, self._app, arm, key)

    def _runs(self, now: datetime) -> bool:
        start, end = self._traffic.start, self._traffic.end
        return (start is None or start <= now) and (end is None or now < end)


def _bounds(traffic: Traffic) -> list[_Draw]:
    left, bounds = Fraction(100), []
    for arm in traffic.variants:
        bounds.append(_Draw(arm.name, int(arm.percent / left * _WHOLE) if left > 0 else 0))
        left -= arm.percent
    return bounds


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SplitTraffic:
    """The traffic of all apps that have a ``traffic.yaml``, by app."""

    def __init__(self, traffic: Mapping[str, Traffic], now: Callable[[], datetime] = _utc_now) -> None:
        self._splits = {app: _Split(app, one) for app, one in traffic.items()}
        self._now = now

    def arm(self, app: str, user: str, request: str = "") -> Arm | None:
        """The arm of this user, or without one of this request; None when the app's traffic is not split."""
        split = self._splits.get(app)
        return None if split is None else split.decide(user, request, self._now())


def traffic_trees(root: Path, app: str, traffic: Traffic, cache: Path, baseline: Path | None = None) -> dict[str, Path]:
    """The tree that each arm of ``app`` is served from, shadows included, by the arm's name.

    Old commits are taken out of git into ``cache`` once. ``baseline`` is the tree that the server calls so already;
    without it the baseline is found as ``signoff gate`` finds it. UsageError names every arm that cannot be served.
    """
    trees, problems = {}, []
    for arm in (*traffic.variants, *traffic.shadow):
        try:
            tree = _tree(root, arm, cache, baseline)
            if not (tree / "suites" / app / "app.yaml").is_file():
                kind, value = arm.source
                message = f"{kind} {value!r} has no app {app!r}"
                raise UsageError(message)
            trees[arm.name] = tree
        except UsageError as error:
            problems.append(Problem(f"suites/{app}/{FILE}", None, f"arm {arm.name!r}: {error}"))
    if problems:
        raise UsageError.of(problems)
    return trees


def _tree(root: Path, arm: ArmSpec, cache: Path, baseline: Path | None) -> Path:
    kind, value = arm.source
    if (kind, value) == ("serves", "candidate"):
        return root
    if (kind, value) == ("serves", "baseline"):
        if baseline is not None:
            return baseline
        revision = find_baseline(root)
        if revision.commit is None:
            message = f"there is no baseline ({revision.reason}); name a release or a ref"
            raise UsageError(message)
        commit = revision.commit
    else:
        commit = _commit(root, kind, value)
    return convert_once(f"baseline-{commit}", cache, lambda out: extract(root, commit, out))


def _commit(root: Path, kind: str, value: str) -> str:
    name = f"refs/tags/{value}" if kind == "release" else value
    commit = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
    if commit is None:
        what = "tag" if kind == "release" else "commit"
        message = f"no {what} {value!r} in this repository; fetch it (git fetch --tags), or correct the name"
        raise UsageError(message)
    return commit
