"""What a person asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.spec.gates import Profile


@dataclass(frozen=True, slots=True)
class Options:
    """One run: the tree, which apps (none: all), what to compare with, which stages (none: all), where things go.

    ``parts`` are run folders that hold the measurements already. ``url`` (up to ``/v1``) is the server that the load
    stage asks instead of a gateway of its own; ``key_env`` names the variable that holds its key. ``fresh`` puts apps
    under load even where a kept result would do.
    """

    root: Path
    cache: Path
    apps: tuple[str, ...] = ()
    baseline: str | None = None
    profile: Profile = "pr"
    variants: tuple[str, ...] = ("baseline", "candidate")
    quiet: bool = False
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    url: str = ""
    key_env: str = ""
    fresh: bool = False

    @property
    def reports(self) -> Path:
        """The folder of the run folders."""
        return self.root / "reports"
