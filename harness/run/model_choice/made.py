"""What a candidate with a recipe was trained into, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.spec.adapters import AdapterVersion, load_adapter
from harness.spec.models import Model


@dataclass(frozen=True, slots=True)
class Made:
    """A trained candidate: an adapter of ``base`` that the engine serves, or a model that holds what was trained.

    ``seconds`` is how long training took when it was done, ``bytes`` the size of the trained weights.
    """

    recipe_digest: str
    method: str
    base: str
    seconds: float
    bytes: int
    adapter: Path | None = None
    model: Model | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, from which ``of`` reads it back in another process."""
        return {
            "recipe_digest": self.recipe_digest,
            "method": self.method,
            "base": self.base,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "adapter": str(self.adapter) if self.adapter else None,
            "model": self.model.model_dump(mode="json") if self.model else None,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Made:
        """The record from plain data."""
        adapter, model = plain["adapter"], plain["model"]
        return cls(
            plain["recipe_digest"],
            plain["method"],
            plain["base"],
            plain["seconds"],
            plain["bytes"],
            Path(adapter) if adapter else None,
            Model.model_validate(model) if model else None,
        )

    def version(self) -> AdapterVersion | None:
        """The adapter, verified against its manifest; None for a model. SignoffError when it was damaged."""
        return None if self.adapter is None else read_adapter(self.adapter, self.adapter.as_posix(), SignoffError)


def read_adapter(folder: Path, shown: str, kind: type[SignoffError] = UsageError) -> AdapterVersion:
    """The adapter version in ``folder``; an error of ``kind`` names what is wrong with it."""
    version, problems = load_adapter(folder, shown)
    if version is None:
        raise kind("; ".join(map(str, problems)))
    return version
