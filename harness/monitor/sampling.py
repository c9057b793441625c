"""A bounded sample of traffic, one input a user: the same rows give the same sample, in whatever order they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from harness.monitor.features import Input, make_input, shown_text
from harness.monitor.indicators import step_value
from harness.monitor.traffic import Row
from harness.spec.monitor import Drift, DriftFeature


def sampled(rows: Iterable[Row], drift: Drift, labelled_by: str | None) -> list[Input]:
    """At most ``drift.sample`` inputs of answered requests, drawn evenly over users, one of each.

    Requests of one user resemble each other and would pass for more evidence than they are. Labels are taken only
    from rows of the version ``labelled_by`` (None: of any): another triage names the same input otherwise.
    """
    kept: dict[str, tuple[int, int, Input]] = {}
    steps = [feature for feature in drift.features if feature.kind == "step"]
    bound = 2**64
    for row in rows:
        text = row.get("input")
        if row.get("outcome") != "ok" or not text:
            continue
        name = f"{row['received']} {row.get('id')}"
        owner = str(row.get("user") or "") or name
        draw, turn = _draw(owner), _draw(name)
        if draw >= bound or (owner in kept and kept[owner][1] <= turn):
            continue
        labels = _labels(row, steps) if labelled_by in (None, row.get("digest")) else {}
        kept[owner] = draw, turn, make_input(shown_text(str(text)), labels)
        if len(kept) > 2 * drift.sample:
            kept = _lowest(kept, drift.sample)
            bound = max(draw for draw, _, _ in kept.values()) + 1
    return [found for _, _, found in _lowest(kept, drift.sample).values()]


def _lowest(kept: dict[str, tuple[int, int, Input]], count: int) -> dict[str, tuple[int, int, Input]]:
    return dict(sorted(kept.items(), key=lambda item: (item[1][0], item[0]))[:count])


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _labels(row: Row, steps: Iterable[DriftFeature]) -> dict[str, str]:
    found = {}
    for feature in steps:
        value, reason = step_value(row, feature.step, feature.field)
        if not reason:
            found[feature.id] = str(value)
    return found
