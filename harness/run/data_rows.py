"""Rows of the stage ``data``: what a mart's build says of it, and what an adapter's manifest says of its origin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.spec.adapters import AdapterVersion
from harness.spec.data_metrics import MOVED, TRAINING
from harness.spec.measurement import Measurement
from harness.spec.recipes import Recipe
from harness.spec.repository import AppFiles

if TYPE_CHECKING:
    from harness.data.marts import BuiltMart

NAME = "data"
_STALE = {"pass": 0.0, "warn": 0.5, "error": 1.0}
_UNITS = {
    "rows_truncated": "rows",
    "rows_untrained": "rows",
    "tokens_trained": "tokens",
    "first_loss": "nats",
    "last_loss": "nats",
    "validation_loss": "nats",
    "seconds": "s",
}


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes rows of one app's candidate: nothing here is asked of the baseline."""

    app: str
    digest: str

    def scored(self, metric: str, case: str, value: float, unit: str, **more: Any) -> Measurement:
        """A row with a value; one that is no finite number is an error."""
        if not math.isfinite(value):
            return self.lost(metric, case, f"it is {value}", "error", unit)
        return Measurement(NAME, self.app, "candidate", case, metric, metric, value, unit=unit,
                           app_digest=self.digest, **more)  # fmt: skip

    def lost(
        self, metric: str, case: str, why: str, status: Any = "unscored", unit: str = "", **more: Any
    ) -> Measurement:
        """A row without a value."""
        return Measurement(NAME, self.app, "candidate", case, metric, metric, None, status, unit,
                           reason=why, app_digest=self.digest, **more)  # fmt: skip


def mart_rows(name: str, built: BuiltMart, row: Rows) -> Iterator[Measurement]:
    """How long the build of a mart took, that its audits returned nothing, and how old its sources are."""
    took = built.manifest["seconds"]
    yield row.scored("data.build_s", name, float(took["value"]), "s")
    slow = took["status"] == "error"
    why = f"took {took['value']:.1f} s, max_seconds is {took['bound']:g}" if slow else ""
    yield row.scored("data.slow", name, float(slow), "marts", reason=why)
    # A mart with a failing audit is never built.
    yield row.scored("data.audits_failed", name, 0.0, "audits")
    for source, found in built.manifest["freshness"].items():
        case = f"{name}/{source}"
        if found["value"] is None:
            yield row.lost("data.freshness_s", case, found["reason"], unit="s")
        else:
            yield row.scored("data.freshness_s", case, float(found["value"]), "s")
        yield row.scored("data.stale", case, _STALE[found["status"]], "sources", reason=_stale(found))


def _stale(found: Mapping[str, Any]) -> str:
    if found["status"] == "pass":
        return ""
    if found["value"] is None:
        return str(found["reason"])
    bound = "error_after" if found["status"] == "error" else "warn_after"
    return f"is {_days(found['value'])} old, {bound} is {_days(found[bound])}"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} h"


def failed_mart_rows(name: str, why: str, audits: int, row: Rows) -> Iterator[Measurement]:
    """What is known of a mart that could not be built."""
    for metric, unit in (("data.build_s", "s"), ("data.slow", "marts")):
        yield row.lost(metric, name, why, "error", unit)
    if audits:
        yield row.scored("data.audits_failed", name, float(audits), "audits", reason=why)
    else:
        yield row.lost("data.audits_failed", name, why, "error", "audits")


def adapter_rows(
    files: AppFiles, adapter: AdapterVersion, recipe: Recipe | None, marts: Mapping[str, str], row: Rows
) -> Iterator[Measurement]:
    """Whether an adapter was made from what the tree holds now, and how its training went.

    ``marts`` maps a name to the digest of what is built.
    """
    provenance = adapter.manifest.provenance
    if recipe is None:
        yield row.lost(MOVED, adapter.key, "its recipe cannot be read", "error", "adapters")
    else:
        yield _moved(adapter.key, provenance, _now(files, recipe, marts), row)
    training = provenance.get("training") or {}
    for name in TRAINING:
        metric, unit = f"tune.{name}", _UNITS.get(name, "")
        if name not in training:
            yield row.lost(metric, adapter.key, "its manifest does not say", unit=unit)
        elif isinstance(value := training[name], int | float) and not isinstance(value, bool):
            yield row.scored(metric, adapter.key, float(value), unit)
        else:
            # JSON has no word for a number that is none: a loss that diverged is written as null.
            yield row.lost(metric, adapter.key, f"its build recorded {value!r}, which is no number", "error", unit)


def _now(files: AppFiles, recipe: Recipe, marts: Mapping[str, str]) -> Mapping[str, tuple[str, str | None]]:
    """By key of the provenance: what it is called, and its digest in the tree, None where that is not known."""
    prompt = files.prompts.get(recipe.prompt)
    return {
        "mart_digest": (f"mart {recipe.mart}", marts.get(recipe.mart)),
        "recipe_digest": (f"recipe {recipe.key}", recipe.digest),
        "prompt_digest": (f"prompt {recipe.prompt}", prompt.digest if prompt else ""),
    }


def _moved(
    key: str, provenance: Mapping[str, Any], now: Mapping[str, tuple[str, str | None]], row: Rows
) -> Measurement:
    known = {
        name: (what, digest) for name, (what, digest) in now.items() if digest is not None and provenance.get(name)
    }
    moved = [
        f"{what} is {digest[:12] if digest else 'not what the app uses'}, it was made from {str(provenance[name])[:12]}"
        for name, (what, digest) in known.items()
        if digest is not None and provenance[name] != digest
    ]
    if moved:
        return row.scored(MOVED, key, 1.0, "adapters", reason="; ".join(moved))
    if len(known) < len(now):
        silent = ", ".join(what for name, (what, _) in now.items() if name not in known)
        return row.lost(MOVED, key, f"nothing to compare for {silent}", unit="adapters")
    return row.scored(MOVED, key, 0.0, "adapters")
