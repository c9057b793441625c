"""Checks, properties, slices, judges, load profile and probes of the old and the new yardstick side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.run.yardstick import Effect, Move
from harness.spec.load import LoadProfile
from harness.spec.probes import Probes
from harness.spec.promptfoo import PromptfooProfile
from harness.spec.repository import Repository, SuiteFiles, own_code
from harness.spec.suites import Suite
from harness.spec.waivers import WAIVERS
from harness.store import digest_bytes, digest_of

# Fewer of these prove less, or stress less.
_MORE_IS_HARDER = ("rate", "blocks", "block_requests")


def moved_suite(app: str, before: Repository, after: Repository) -> Iterator[Move]:
    """What differs but gates and cases. Whatever was removed, and any promise that became weaker, needs an approval."""
    old, new = before.suites[app], after.suites[app]
    where = f"suites/{app}/suite.yaml"
    pairs = (
        ("check", _checks(old.suite, before.root / "suites" / app), _checks(new.suite, after.root / "suites" / app)),
        ("property", _rules(old.suite, before.root / "suites" / app), _rules(new.suite, after.root / "suites" / app)),
        ("slice", dict.fromkeys(old.suite.slices, ""), dict.fromkeys(new.suite.slices, "")),
        ("judge", _judges(old), _judges(new)),
    )
    for kind, was, now in pairs:
        yield from _by_name(app, kind, was, now, where)
    listed = {"checks", "properties", "slices", "description", "concurrency"}
    for key in sorted(set(Suite.model_fields) - listed):
        a, b = getattr(old.suite, key), getattr(new.suite, key)
        if a != b:
            yield Move(app, "suite", f"{key} {a} -> {b}", "changed", path=where)
    yield from _load(app, old.load, new.load)
    yield from _probes(app, old.probes, new.probes)
    yield from _promptfoo(app, old.promptfoo, new.promptfoo)
    yield from _waivers(app, old, new)


def _waivers(app: str, old: SuiteFiles, new: SuiteFiles) -> Iterator[Move]:
    """Pairs that no longer count, or count again. A waiver is signed itself, and asks for no second signature."""
    was, now = ({waiver.pair: waiver for waiver in suite.waivers} for suite in (old, new))
    path = f"suites/{app}/{WAIVERS}"
    for pair, waiver in now.items():
        if pair not in was or was[pair].expires < waiver.expires:
            what = f"case {waiver.case} and {waiver.row} of {waiver.mart} waived by {waiver.by} until {waiver.expires}"
            yield Move(app, "waiver", f"{what}: {waiver.reason}", "looser", path=path)
    for pair, waiver in was.items():
        if pair not in now:
            what = f"case {waiver.case} and {waiver.row} of {waiver.mart} are waived no longer"
            yield Move(app, "waiver", what, "harder", path=path)


def _by_name(app: str, kind: str, was: Mapping[str, str], now: Mapping[str, str], path: str) -> Iterator[Move]:
    for name in was:
        if name not in now:
            yield Move(app, kind, f"{kind} {name} removed", "looser", approval=True, path=path)
        elif was[name] != now[name]:
            yield Move(app, kind, f"{kind} {name} changed", "changed", path=path)
    for name in now:
        if name not in was:
            yield Move(app, kind, f"{kind} {name} added", "harder", path=path)


def _checks(suite: Suite, folder: Path) -> Mapping[str, str]:
    return {
        check.id: digest_of([check.model_dump(mode="json", exclude={"description"}), _code(folder, own_code(check))])
        for check in suite.checks
    }


def _rules(suite: Suite, folder: Path) -> Mapping[str, str]:
    return {
        rule.id: digest_of([rule.model_dump(mode="json"), _code(folder, own_code(rule))]) for rule in suite.properties
    }


def _code(folder: Path, names: Collection[str]) -> dict[str, str]:
    files = {name: folder / name for name in names if (folder / name).is_file()}
    return {name: digest_bytes(path.read_bytes().replace(b"\r\n", b"\n")) for name, path in files.items()}


def _judges(suite: SuiteFiles) -> Mapping[str, str]:
    return {name: files.digest for name, files in suite.judges.items()}


def _load(app: str, old: LoadProfile | None, new: LoadProfile | None) -> Iterator[Move]:
    path = f"suites/{app}/load.yaml"
    if old is None or new is None:
        if old is not new:
            yield _whole(app, "load", "load profile", path, gone=new is None)
        return
    for key in LoadProfile.model_fields:
        was, now = getattr(old, key), getattr(new, key)
        if key == "slo":
            yield from _slo(app, was.model_dump(), now.model_dump(), path)
        elif was != now and key != "description":
            effect: Effect = "changed"
            if key in _MORE_IS_HARDER:
                effect = "harder" if now > was else "looser"
            yield Move(app, "load", f"load profile: {key} {was} -> {now}", effect, effect == "looser", path)


def _slo(app: str, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Move]:
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if was != now:
            weaker = now is None or (was is not None and now > was)
            what = f"promised {key} {'none' if was is None else was} -> {'none' if now is None else now}"
            yield Move(app, "load", f"load profile: {what}", "looser" if weaker else "harder", weaker, path)


def _probes(app: str, old: Probes | None, new: Probes | None) -> Iterator[Move]:
    path = f"suites/{app}/probes.yaml"
    if old is None or new is None:
        if old is not new:
            yield _whole(app, "probe", "probes", path, gone=new is None)
        return
    before, after = ({probe.id: probe for probe in probes.probes} for probes in (old, new))
    for name, probe in before.items():
        if name not in after:
            yield Move(app, "probe", f"probe {name} removed", "looser", approval=True, path=path)
            continue
        now = after[name]
        if now.attempts != probe.attempts:
            fewer = now.attempts < probe.attempts
            what = f"probe {name}: attempts {probe.attempts} -> {now.attempts}"
            yield Move(app, "probe", what, "looser" if fewer else "harder", fewer, path)
        rest = {"attempts", "description"}
        if probe.model_dump(exclude=rest) != now.model_dump(exclude=rest):
            yield Move(app, "probe", f"probe {name} changed", "changed", path=path)
    for name in after:
        if name not in before:
            yield Move(app, "probe", f"probe {name} added", "harder", path=path)
    for key in sorted(set(Probes.model_fields) - {"probes", "description"}):
        if getattr(old, key) != getattr(new, key):
            yield Move(app, "probe", f"probes: {key} changed", "changed", path=path)


def _promptfoo(app: str, old: PromptfooProfile | None, new: PromptfooProfile | None) -> Iterator[Move]:
    path = f"suites/{app}/promptfoo.yaml"
    if old is None or new is None:
        if old is not new:
            yield _whole(app, "promptfoo", "promptfoo's assertions", path, gone=new is None)
        return
    was, now = ({name: digest_of(each) for name, each in profile.assertions.items()} for profile in (old, new))
    yield from _by_name(app, "promptfoo", was, now, path)
    for key in sorted(set(PromptfooProfile.model_fields) - {"assertions", "description"}):
        if (before := getattr(old, key)) != (after := getattr(new, key)):
            fewer = key == "cases" and after < before
            what = f"promptfoo: {key} {before} -> {after}"
            yield Move(app, "promptfoo", what, "looser" if fewer else "changed", fewer, path)


def _whole(app: str, kind: str, name: str, path: str, *, gone: bool) -> Move:
    word, effect = ("removed", "looser") if gone else ("added", "harder")
    return Move(app, kind, f"{name} {word}", "looser" if effect == "looser" else "harder", gone, path)
