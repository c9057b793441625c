"""Gates: requirements on measurements."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from harness.spec.base import Slug, Spec

Rule = Literal["at_least", "at_most", "no_worse_than_baseline_by", "better_than_baseline_by"]
Profile = Literal["pr", "nightly", "release"]
PAIRED_RULES: frozenset[Rule] = frozenset({"no_worse_than_baseline_by", "better_than_baseline_by"})


class Gate(Spec):
    """One requirement on one metric of one slice.

    ``threshold`` is the bound of an absolute rule, or the margin (>= 0) of a paired one, in the metric's units.
    ``minimum`` and ``maximum`` are the ends of the metric's range (null: unbounded); worst and best
    imputation of rows without a value uses them. ``confidence`` is one-sided.

    ``statistic: total`` adds up the rows: they are all there is and no sample of anything, so the number has no
    interval, and the gate passes or fails exactly.
    """

    id: Slug
    metric: str
    step: str = ""
    slice: str = "all"
    rule: Rule
    threshold: float
    statistic: Literal["mean", "rate", "quantile", "total"] = "mean"
    quantile: float | None = Field(default=None, gt=0, lt=1)
    better: Literal["higher", "lower"] = "higher"
    required: bool = True
    profiles: tuple[Profile, ...] = ("pr", "nightly", "release")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    minimum: float | None = 0.0
    maximum: float | None = 1.0
    max_unscored: float = Field(default=0.05, ge=0, le=1)
    why: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.statistic == "quantile") != (self.quantile is not None):
            message = f"gate {self.id!r}: 'quantile' is given exactly when statistic is 'quantile'"
            raise ValueError(message)
        if self.paired and self.threshold < 0:
            message = f"gate {self.id!r}: the margin {self.threshold} is negative; a margin is >= 0"
            raise ValueError(message)
        if self.statistic == "total":
            self._counted()
        return self

    def _counted(self) -> None:
        if self.paired:
            message = f"gate {self.id!r}: statistic 'total' needs rule at_least or at_most, not {self.rule!r}"
            raise ValueError(message)
        if idle := sorted({"confidence", "max_unscored"} & self.model_fields_set):
            message = f"gate {self.id!r}: {idle[0]!r} means nothing with statistic 'total', which counts every row"
            raise ValueError(message)

    @property
    def paired(self) -> bool:
        """Whether the rule compares the candidate with the baseline."""
        return self.rule in PAIRED_RULES


class GatesFile(Spec):
    """``suites/<app>/gates.yaml``."""

    gates: tuple[Gate, ...]
