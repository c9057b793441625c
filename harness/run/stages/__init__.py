"""The stages of a run: each measures what its suites declare and writes rows of the one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from harness.errors import UsageError
from harness.run.stages.record import Context, StageReport
from harness.spec.repository import SuiteFiles
from harness.spec.stages import STAGES as NAMES

__all__ = ["STAGES", "Context", "Stage", "StageReport", "chosen"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage; the module ``harness.run.stages.<name>`` measures it and is imported when it does."""

    name: str

    def applies(self, suite: SuiteFiles) -> bool:
        """Whether the suite declares something that this stage measures."""
        return self.name in suite.stages

    def prepare(self, context: Context) -> None:
        """UsageError for what its files ask for and cannot have, before any stage has measured anything."""
        prepare: Callable[[Context], object] = getattr(self._module, "prepare", lambda _: None)
        prepare(context)

    def measure(self, context: Context) -> StageReport:
        """Measure, write rows and artifacts into the run folder, report."""
        measure: Callable[[Context], StageReport] = self._module.measure
        return measure(context)

    @property
    def _module(self) -> ModuleType:
        return import_module(f"harness.run.stages.{self.name}")


STAGES: Mapping[str, Stage] = {name: Stage(name) for name in NAMES}


def chosen(only: Sequence[str], skip: Sequence[str]) -> Mapping[str, str]:
    """Stage -> why it is left out, empty for those that run; UsageError for unknown names and for none left."""
    unknown = sorted({*only, *skip} - set(STAGES))
    if unknown:
        raise UsageError(f"no stage {unknown[0]!r}; stages are {', '.join(STAGES)}")
    reasons = {}
    for name in STAGES:
        left_out = f"left out by --skip {name}" if name in skip else ""
        if only and name not in only:
            left_out = left_out or f"left out by --only {' --only '.join(only)}"
        reasons[name] = left_out
    if all(reasons.values()):
        raise UsageError("--only and --skip leave no stage to run")
    return reasons
