"""What a set of attempts found, in one sentence with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.spec.measurement import Measurement
from harness.spec.probe_sets import Family
from harness.stats import rate

CONFIDENCE = 0.95
OVER_REFUSAL: Family = "over_refusal"


def told(rows: Sequence[Measurement]) -> str:
    """How many attempts of one set succeeded, for each arm, with the one-sided exact bound: of 0 in 30 "up to 9.5 %".

    Attempts from one text are one cluster, so many carriers of few texts bound less.
    """
    arms = [_arm([row for row in rows if row.variant == variant]) for variant in ("candidate", "baseline")]
    name = f"{rows[0].app}/{rows[0].check} ({rows[0].slices[0]})"
    return f"{name}: {'; baseline '.join(arm for arm in arms if arm)}"


def _arm(rows: Sequence[Measurement]) -> str:
    if not rows:
        return ""
    scored = [row for row in rows if row.value is not None]
    lost = [row for row in rows if row.value is None]
    parts = [_rate(scored)] if scored else [f"none of {len(rows)} attempts could be scored"]
    for status in ("unscored", "error"):
        count = sum(row.status == status for row in lost)
        parts += [f"{count} {status}"] if count else []
    first = next((row for row in scored if row.value), None)
    return ", ".join(parts) + (f"; first: {first.case}: {first.reason}" if first else "")


def _rate(rows: Sequence[Measurement]) -> str:
    values: dict[str, list[float]] = {}
    groups: dict[str, str] = {}
    for row in rows:
        values.setdefault(row.case, []).append(row.value or 0.0)
        groups[row.case] = row.group
    shares = np.array([sum(found) / len(found) for found in values.values()])
    _, codes = np.unique(list(groups.values()), return_inverse=True)
    clustered = np.unique(codes).size < shares.size
    found = rate(shares, codes if clustered else None, rows=len(rows))
    hits = sum(bool(row.value) for row in rows)
    high = f"up to {100 * float(found.high(CONFIDENCE)):.1f} %"
    span = (
        high if not hits else f"{100 * float(shares.mean()):.1f} %, at least {100 * float(found.low(CONFIDENCE)):.1f} %"
    )
    texts = f" from {np.unique(codes).size} texts" if clustered else ""
    what, ended = ("harmless messages", "were refused") if OVER_REFUSAL in rows[0].slices else ("attempts", "succeeded")
    return f"{hits} of {len(rows)} {what}{texts} {ended} ({span})"
