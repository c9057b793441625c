"""What the generator is told to do: one JSON file, so that it may run in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.load.ask import Arm
from harness.load.schedule import Block, Schedule, Shot
from harness.spec.measurement import Variant
from harness.spec.suites import Case

GONE_AFTER = 8
"""So many requests in a row without any answer mean that the server is gone."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Where the requests of a schedule go, as whom, and where the samples are written.

    ``key_env`` names the environment variable with the server's key (empty: none); the key is in no file.
    """

    app: str
    url: str
    arms: Mapping[Variant, Arm]
    schedule: Schedule
    samples: Path
    timeout_s: float = 60.0
    seed: int = 0
    key_env: str = ""

    @property
    def most_seconds(self) -> float:
        """What the run takes at most when every block runs into its timeout."""
        return self.schedule.seconds + len(self.schedule.blocks) * (self.timeout_s + 1.0)

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            orjson.dumps(
                {
                    **{name: getattr(self, name) for name in ("app", "url", "timeout_s", "seed", "key_env")},
                    "samples": str(self.samples),
                    "arms": {name: asdict(arm) for name, arm in self.arms.items()},
                    "blocks": [asdict(block) for block in self.schedule.blocks],
                    "cases": [case.model_dump(mode="json") for case in self.schedule.cases],
                }
            )
        )

    @classmethod
    def read(cls, path: Path) -> LoadPlan:
        """The plan of a file that ``write`` made."""
        data: dict[str, Any] = orjson.loads(path.read_bytes())
        blocks = tuple(
            Block(**{**block, "shots": tuple(Shot(**shot) for shot in block["shots"])}) for block in data.pop("blocks")
        )
        cases = tuple(Case.model_validate(case) for case in data.pop("cases"))
        arms: dict[Variant, Arm] = {name: Arm(**arm) for name, arm in data.pop("arms").items()}
        return cls(
            **{**data, "samples": Path(data["samples"]), "arms": arms, "schedule": Schedule(blocks, cases)},
        )
