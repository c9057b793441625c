"""Service level indicators: what each says of one request, as rows of the measurement table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from harness.monitor.traffic import Row, TraceWindow
from harness.serve.gateway.telemetry.trace_row import timestamp
from harness.spec.measurement import Measurement
from harness.spec.monitor import Availability, FeedbackRate, Latency, Monitor, ShareOf, span

STAGE = "monitor"
ANSWERABLE = ("ok", "failed", "timeout")
"""Outcomes that were the server's to decide: not the caller's mistake, its limit, or its leaving."""

Indicator = Availability | Latency | ShareOf | FeedbackRate


@dataclass(frozen=True, slots=True)
class Said:
    """What an indicator says of a request: 1 (it counts as wished for or counted), 0, or None for ``reason``."""

    value: float | None
    reason: str = ""


def said(indicator: Indicator, row: Row, given: Row | None) -> Said | None:
    """What ``indicator`` says of a request and the feedback on it; None where it says nothing of such requests."""
    if isinstance(indicator, FeedbackRate):
        return _feedback(indicator, given)
    if isinstance(indicator, ShareOf):
        return _share(indicator, row)
    if row.get("outcome") not in ANSWERABLE:
        return None
    good = row["outcome"] == "ok"
    if isinstance(indicator, Availability) or not good:
        return Said(float(good))
    seconds = row.get(indicator.of)
    if seconds is None:
        # Whole answers have no first piece, answers out of a cache no pace: nobody waited for one.
        return None if indicator.of != "total_s" else Said(None, "no total_s in the row")
    if not _is_number(seconds):
        return Said(None, f"{indicator.of} is no number")
    return Said(float(seconds <= indicator.within_s))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _feedback(indicator: FeedbackRate, given: Row | None) -> Said | None:
    if given is None:
        return None
    if indicator.outcome == "edited":
        return Said(float(given.get("edited_text") is not None))
    value = given.get(indicator.outcome)
    if value is None:
        return None
    if indicator.outcome == "rating":
        return (
            Said(float(value >= indicator.rating_from)) if _is_number(value) else Said(None, "the rating is no number")
        )
    if value not in ("up", "down", True, False):
        return Said(None, f"{indicator.outcome} is none of its values")
    return Said(float(value in ("up", True)))


def _share(indicator: ShareOf, row: Row) -> Said | None:
    if not indicator.step:
        if indicator.field not in row:
            return Said(None, f"no field {indicator.field} in the row")
        return Said(float(row[indicator.field] in indicator.values))
    if row.get("outcome") != "ok":
        return None
    value, reason = step_value(row, indicator.step, indicator.field)
    return Said(None, reason) if reason else Said(float(value in indicator.values))


def step_value(row: Row, step: str, field: str) -> tuple[Any, str]:
    """What a step returned, or the value at the dotted ``field`` of it; or why there is none."""
    steps = row.get("steps")
    listed = [each for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    found = next((each for each in listed if each.get("id") == step), None)
    if found is None or found.get("output") is None:
        return None, f"step {step} has no output in the log of requests"
    value: Any = found["output"]
    for part in field.split(".") if field else ():
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except ValueError:
                return None, f"the output of step {step} is no JSON"
        if not isinstance(value, dict) or part not in value:
            return None, f"the output of step {step} has no field {field}"
        value = value[part]
    return value, ""


def measured(monitor: Monitor, window: TraceWindow) -> Iterator[Measurement]:
    """A row for every request and indicator that says something of it, in the order of the log.

    A user's requests are one cluster; requests without a user each are their own. Each indicator sees its own window.
    """
    starts = [
        (each, timestamp((window.until - span(each.window or monitor.window)).timestamp()))
        for each in monitor.indicators
    ]
    for row in window.requests():
        given = window.given(row)
        for indicator, start in starts:
            if row["received"] < start:
                continue
            found = said(indicator, row, given)
            if found is not None:
                yield _measurement(indicator, row, found, window.app)


def _measurement(indicator: Indicator, row: Row, found: Said, app: str) -> Measurement:
    return Measurement(
        stage=STAGE,
        app=app,
        variant="candidate",
        # Callers may use a request id twice.
        case=f"{row['received']} {row.get('id')}",
        check=indicator.id,
        metric=indicator.metric,
        value=found.value,
        status="unscored" if found.value is None else "scored",
        reason=found.reason,
        group=str(row.get("user") or ""),
        app_digest=str(row.get("digest") or ""),
    )
