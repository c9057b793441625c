"""What traffic is compared with: histograms and a sample of anonymised inputs, bound to the version they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from harness.errors import UsageError
from harness.monitor.features import Histogram, Input, histogram
from harness.spec.language import installed
from harness.spec.monitor import Drift
from harness.store import write_atomic

SCHEMA = 1
SET_IT = "signoff monitor reference --app {app} --from RUN sets one"


@dataclass(frozen=True, slots=True)
class Reference:
    """Inputs of ``app`` when the version ``digest`` was accepted. ``source`` says where they came from, for people.

    ``inputs`` is how many there were, ``sample`` some of their texts (none where texts could not be anonymised).
    """

    app: str
    digest: str
    made: datetime
    source: str
    inputs: int
    histograms: Mapping[str, Histogram]
    sample: tuple[str, ...] = ()

    def expired(self, drift: Drift, now: datetime) -> bool:
        """Whether it is too old to decide anything."""
        return now - self.made > timedelta(days=drift.expires_days)

    def as_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "schema": SCHEMA,
            "app": self.app,
            "digest": self.digest,
            "made": self.made.astimezone(UTC).isoformat(timespec="seconds"),
            "source": self.source,
            "inputs": self.inputs,
            "histograms": {
                name: {"counts": list(h.counts), "edges": list(h.edges), "names": list(h.names)}
                for name, h in sorted(self.histograms.items())
            },
            "sample": list(self.sample),
        }


def make_reference(
    app: str, digest: str, drift: Drift, inputs: Sequence[Input], source: str, made: datetime
) -> Reference:
    """The reference that ``inputs`` (independent of each other, in any order) make.

    A feature whose values cannot be had (a package is missing, no step gave a label) gets no histogram. Texts are kept
    only where a feature compares them.
    """
    wanted = [each for each in drift.features if each.kind != "text" and (each.kind != "language" or installed())]
    histograms = {feature.id: histogram(feature, inputs) for feature in wanted}
    kept = {name: found for name, found in histograms.items() if sum(found.counts)}
    texts = tuple(each.text for each in inputs if each.text)[: drift.sample]
    read = any(feature.kind == "text" for feature in drift.features)
    return Reference(app, digest, made, source, len(inputs), kept, texts if read else ())


def reference_path(drift: Drift, folder: Path) -> Path:
    """Where the reference of the suite in ``folder`` lies."""
    return folder / drift.reference


def write_reference(path: Path, reference: Reference) -> None:
    """Write the file whole or not at all."""
    write_atomic(path, orjson.dumps(reference.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_reference(path: Path, app: str) -> Reference | None:
    """The reference in a file, None without one; UsageError for a file of another shape or another app."""
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read ({error}); {SET_IT.format(app=app)}") from error
    try:
        found = _of(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{path} is no reference of this version of Signoff ({error!r}); {SET_IT.format(app=app)}"
        raise UsageError(message) from error
    if found.app != app:
        raise UsageError(f"{path} is the reference of {found.app!r}, not of {app!r}; {SET_IT.format(app=app)}")
    return found


def _of(content: Mapping[str, Any]) -> Reference:
    if content["schema"] != SCHEMA:
        message = f"schema {content['schema']!r}"
        raise ValueError(message)
    made = datetime.fromisoformat(content["made"])
    if made.tzinfo is None:
        message = "made has no time zone"
        raise ValueError(message)
    histograms = {
        str(name): Histogram(tuple(map(int, h["counts"])), tuple(map(float, h["edges"])), tuple(map(str, h["names"])))
        for name, h in content["histograms"].items()
    }
    sample = tuple(map(str, content["sample"]))
    return Reference(
        content["app"], content["digest"], made, content["source"], int(content["inputs"]), histograms, sample
    )
