"""What an experiment is by its files: the arms, the control, and since when users are dealt as they are now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.errors import UsageError
from harness.spec.git import git
from harness.spec.monitor import Ab, Monitor
from harness.spec.repository import load_repository
from harness.spec.traffic import FILE, ArmSpec, Traffic, load_traffic


@dataclass(frozen=True, slots=True)
class AbReport:
    """What is asked: the tree, the app, the log of requests, when, and since when the shares are what they are."""

    root: Path
    app: str
    traces: Path
    now: datetime
    since: datetime | None = None


def declared(wanted: AbReport) -> tuple[Monitor, Traffic]:
    """What the app declares; UsageError where traffic is not split or no outcome is named."""
    repository = load_repository(wanted.root, only=(wanted.app,))
    traffic = load_traffic(wanted.root, [wanted.app]).get(wanted.app)
    monitor = repository.suites[wanted.app].monitor
    if traffic is None or sum(arm.percent > 0 for arm in traffic.variants) < 2:
        message = (
            f"suites/{wanted.app}/{FILE} splits no traffic: two variants with a share are needed (docs/traffic.md)"
        )
        raise UsageError(message)
    if monitor is None or monitor.ab is None:
        message = f"suites/{wanted.app}/monitor.yaml has no 'ab': name the indicators that arms are compared by"
        raise UsageError(f"{message} (docs/ab.md)")
    return monitor, traffic


def control_of(ab: Ab, traffic: Traffic) -> ArmSpec:
    """The arm that is named, else the one outside the experiment's time, else the largest, the last of equals."""
    names = {arm.name: arm for arm in traffic.variants if arm.percent > 0}
    wanted = ab.control or traffic.default
    if ab.control is not None and ab.control not in names:
        raise UsageError(f"monitor.yaml: ab.control is {ab.control!r}; variants with a share are: {', '.join(names)}")
    if wanted in names:
        return names[wanted]
    return max(reversed(names.values()), key=lambda arm: arm.percent)


def since_of(wanted: AbReport, traffic: Traffic) -> tuple[datetime, str]:
    """From when the shares are what they are: only then do users come to the arms in these proportions."""
    if wanted.since is not None:
        return wanted.since, "--since"
    changed = git(wanted.root, "log", "-1", "--format=%cI", "--", f"suites/{wanted.app}/{FILE}", check=False)
    times = [(traffic.start, f"start in {FILE}")] if traffic.start else []
    times += [(datetime.fromisoformat(changed), f"the last commit of {FILE}")] if changed else []
    if not times:
        message = f"since when are the shares in suites/{wanted.app}/{FILE} served? Name the time by --since"
        raise UsageError(f"{message}: the file is not committed and has no start")
    return max(times)
