"""All probes of one server, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from harness.errors import SignoffError
from harness.safety.findings import Finding
from harness.safety.server import doors, leaks, shapes
from harness.safety.server.target import Target, bearer

Probe = Callable[[Target], Iterator[Finding]]
# What looks at all answers comes last.
PROBES: tuple[Probe, ...] = (
    doors.strangers,
    doors.unknown_routes,
    doors.roles,
    doors.others_models,
    shapes.methods,
    shapes.names,
    shapes.numbers,
    shapes.bodies,
    shapes.heads,
    leaks.other_sites,
    leaks.other_hosts,
    leaks.in_answers,
)


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What the probes of one server found. ``checks`` counts requests; ``untried`` says what could not be asked."""

    base: str
    checks: int
    findings: tuple[Finding, ...]
    untried: tuple[str, ...]


def probe_server(target: Target) -> ServerReport:
    """Ask everything; SignoffError when the server cannot be reached, at the start or any more."""
    try:
        findings = list(doors.is_open(target))
        probes = PROBES
        if findings:
            # A server that asks for no key lets everybody do everything: said once, not for every route.
            target.untried.append("keys and roles: the server asks for none")
            probes = tuple(probe for probe in PROBES if probe not in _ABOUT_KEYS)
        if not target.model and target.keys.user:
            target.model = _first_model(target)
        for probe in probes:
            findings += list(probe(target))
        if target.ask("GET", "/health").status < 0:
            raise SignoffError(f"{target.base} does not answer any more after the probes")
    except OSError as error:
        asked = f" after {target.checks} requests" if target.checks > 1 else ""
        raise SignoffError(f"{target.base} cannot be reached{asked}: {error}") from error
    unique = {(finding.id, finding.route): finding for finding in findings}
    return ServerReport(target.base, target.checks, tuple(unique.values()), tuple(target.untried))


_ABOUT_KEYS = (doors.strangers, doors.roles, doors.others_models)


def _first_model(target: Target) -> str:
    reply = target.ask("GET", "/v1/models", bearer(target.keys.user))
    try:
        return str(orjson.loads(reply.body)["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
