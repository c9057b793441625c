"""Results that need no second measurement: the same app under the same load on the same machine, a short while ago."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from harness import __version__
from harness.errors import SignoffError
from harness.load.noise import Control, Noise
from harness.load.sample import Sample
from harness.load.schedule import Schedule
from harness.serve.engine.hub import ENGINE_REVISION
from harness.spec.load import LoadProfile
from harness.spec.measurement import Variant
from harness.store import digest_of, write_atomic

KEPT_S = 24 * 3600.0
_PACKAGES = ("torch", "transformers", "locust")
_REVISION = 1


@dataclass(frozen=True, slots=True)
class KeptRun:
    """Samples of an earlier run that was neither void nor broken. ``when`` is seconds since 1970."""

    samples: Mapping[int, Sample]
    noise: Noise
    when: float


def key_of(digests: Mapping[Variant, str], profile: LoadProfile, schedule: Schedule) -> str:
    """What a result depends on: the arms, the load, the questions, the engine, the machine."""
    return digest_of(
        {
            "revision": _REVISION,
            "arms": dict(digests),
            "profile": profile.model_dump(mode="json"),
            "cases": [case.model_dump(mode="json") for case in schedule.cases],
            "versions": {name: _version(name) for name in _PACKAGES} | {"signoff": __version__},
            "engine": ENGINE_REVISION,
            "machine": [platform.node(), platform.machine(), str(os.cpu_count())],
            "settings": {name: os.environ.get(name, "") for name in ("SIGNOFF_THREADS", "SIGNOFF_DEVICE")},
        }
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


class KeptRuns:
    """A folder of results, each whole or not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, key: str) -> KeptRun | None:
        """The result under ``key``; None when there is none, or it is older than a day or unreadable."""
        try:
            data: dict[str, Any] = orjson.loads((self._folder / f"{key}.json").read_bytes())
            noise, control = data["noise"], data["noise"].pop("control")
            found = KeptRun(
                {row["number"]: Sample.of(row) for row in data["samples"]},
                Noise(**noise, control=Control(**control) if control else None),
                float(data["when"]),
            )
        except (OSError, ValueError, LookupError, TypeError, SignoffError):
            return None
        return found if 0 <= time.time() - found.when < KEPT_S else None

    def keep(self, key: str, samples: Mapping[int, Sample], noise: Noise) -> None:
        """Keep a result."""
        rows = [sample.as_dict() for sample in samples.values()]
        content = orjson.dumps({"when": time.time(), "noise": noise.as_dict(), "samples": rows})
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self._folder / f"{key}.json", content)
