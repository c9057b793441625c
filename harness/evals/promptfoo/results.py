"""promptfoo's results, joined to cases by the variable that carries the case's id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from harness.errors import SignoffError

_ERROR = 2
DIGEST_HEADER = "x-signoff-digest"


@dataclass(frozen=True, slots=True)
class Said:
    """What promptfoo says of one assertion: its value, or why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer of one arm. ``status`` is ``error`` when there was no answer; ``reason`` then says why."""

    case: str
    arm: str
    output: str
    status: Literal["ok", "error"]
    reason: str
    passed: Said
    said: Mapping[str, Said] = field(default_factory=dict)
    digest: str = ""
    cached: bool = False
    latency_ms: float = 0.0


def read_outcomes(results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Outcome]:
    """(case, arm) -> outcome; SignoffError when a result names no case, or one stands there twice."""
    found: dict[tuple[str, str], Outcome] = {}
    for result in results:
        try:
            outcome = _outcome(result)
        except (KeyError, TypeError, AttributeError) as error:
            message = f"promptfoo gave a result of another shape ({type(error).__name__}: {error})"
            raise SignoffError(message) from error
        key = (outcome.case, outcome.arm)
        if key in found:
            raise SignoffError(f"promptfoo gave case {outcome.case!r} of arm {outcome.arm!r} twice")
        found[key] = outcome
    return found


def _outcome(result: Mapping[str, Any]) -> Outcome:
    case, arm = str(result["vars"]["case"]), str(result["provider"]["label"])
    response = result.get("response") or {}
    output = response.get("output")
    text = output if isinstance(output, str) else "" if output is None else orjson.dumps(output).decode()
    http = (response.get("metadata") or {}).get("http") or {}
    headers = {str(name).lower(): str(value) for name, value in (http.get("headers") or {}).items()}
    shared: dict[str, Any] = {
        "case": case,
        "arm": arm,
        "output": text,
        "digest": headers.get(DIGEST_HEADER, ""),
        "cached": bool(response.get("cached")),
        "latency_ms": float(result.get("latencyMs") or 0.0),
    }
    if result.get("failureReason") == _ERROR or response.get("error"):
        reason = str(result.get("error") or response.get("error") or "promptfoo gave no reason")
        return Outcome(**shared, status="error", reason=reason, passed=Said(None, reason))
    grading = result.get("gradingResult") or {}
    said = dict(_named(grading.get("componentResults") or []))
    unknown = next((each.reason for each in said.values() if each.value is None), "")
    passed = Said(None, unknown) if unknown else Said(float(bool(result["success"])), str(grading.get("reason") or ""))
    return Outcome(**shared, status="ok", reason="", passed=passed, said=said)


def _named(components: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Said]]:
    for component in components:
        metadata = component.get("metadata") or {}
        assertion = metadata.get("assertionSet") or component.get("assertion") or {}
        name = assertion.get("metric")
        if not name:
            # A member of a set: the set stands for it.
            continue
        reason = str(component.get("reason") or "")
        if metadata.get("graderError") or not isinstance(component.get("pass"), bool):
            # promptfoo counts a judge that could not be read as a failed assertion.
            yield str(name), Said(None, f"the grader gave no verdict: {reason}")
        else:
            yield str(name), Said(float(component["pass"]), reason)
