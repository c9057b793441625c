"""Monitoring: what a running app promises, what its traffic is compared with, and when one arm beats another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from harness.errors import Problem
from harness.spec.base import Slug, Spec
from harness.spec.gates import Gate
from harness.spec.yaml_file import Path_, refusal

PREFIX = "monitor."
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}[mhdw]$")]
Share = Annotated[float, Field(ge=0, le=1)]


def span(duration: str) -> timedelta:
    """The length of a ``Duration``: a number with m, h, d or w."""
    return timedelta(seconds=int(duration[:-1]) * _UNITS[duration[-1]])


class _Indicator(Spec):
    """What all indicators say: the objective, over which window, and from how many requests on it is judged."""

    id: Slug
    at_least: Share | None = None
    at_most: Share | None = None
    window: Duration | None = None
    minimum: int = Field(default=100, ge=2)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    required: bool = True
    why: str = ""

    @model_validator(mode="after")
    def _one_objective(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            message = f"indicator {self.id!r} needs exactly one of at_least and at_most"
            raise ValueError(message)
        return self

    @property
    def metric(self) -> str:
        """The metric's name in the measurement table."""
        return PREFIX + self.id

    @property
    def objective(self) -> float:
        """The promised share."""
        return self.at_least if self.at_least is not None else self.at_most or 0.0

    @property
    def higher_is_better(self) -> bool:
        """Whether the objective is a floor."""
        return self.at_least is not None

    def gate(self) -> Gate:
        """The objective as a gate on this indicator's rows."""
        return Gate(
            id=self.id,
            metric=self.metric,
            rule="at_least" if self.higher_is_better else "at_most",
            threshold=self.objective,
            better="higher" if self.higher_is_better else "lower",
            required=self.required,
            confidence=self.confidence,
            why=self.why,
        )


class Availability(_Indicator):
    """The share of requests that were answered, among those that were the server's to answer."""

    kind: Literal["availability"]


class Latency(_Indicator):
    """The share of requests whose ``of`` was at most ``within_s`` seconds; a failed request was not."""

    kind: Literal["latency"]
    of: Literal["first_s", "total_s", "queue_s", "seconds_per_token"] = "total_s"
    within_s: float = Field(gt=0)


class ShareOf(_Indicator):
    """The share of requests whose ``field`` (of the row, or of the output of ``step``) is one of ``values``."""

    kind: Literal["share"]
    step: str = ""
    field: str = ""
    values: tuple[Any, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.step and not self.field:
            message = f"indicator {self.id!r} needs a 'field' of the log of requests, or a 'step'"
            raise ValueError(message)
        return self


class FeedbackRate(_Indicator):
    """The share of rated answers with a thumb up, settled, rated ``rating_from`` or better, or edited."""

    kind: Literal["feedback"]
    outcome: Literal["thumb", "resolved", "rating", "edited"]
    rating_from: int = Field(default=4, ge=2, le=5)


Indicator = Annotated[Availability | Latency | ShareOf | FeedbackRate, Field(discriminator="kind")]


class DriftFeature(Spec):
    """One way in which traffic may have moved.

    ``threshold`` bounds the population stability index of ``length``, ``language`` and ``step``, and for ``text`` the
    AUC of a classifier that tells the traffic from the reference (0.5: it cannot).
    """

    id: Slug
    kind: Literal["length", "language", "step", "text"]
    step: str = ""
    field: str = ""
    threshold: float | None = Field(default=None, gt=0, le=10)
    required: bool = True

    @property
    def limit(self) -> float:
        """The threshold, or the usual one."""
        if self.threshold is not None:
            return self.threshold
        return 0.7 if self.kind == "text" else 0.2

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "step") != bool(self.step):
            message = f"feature {self.id!r}: 'step' is given exactly when kind is 'step'"
            raise ValueError(message)
        if self.kind == "text" and not 0.5 < self.limit < 1:
            message = f"feature {self.id!r}: the threshold of 'text' is an AUC between 0.5 and 1, not {self.limit:g}"
            raise ValueError(message)
        return self


class Drift(Spec):
    """What traffic is compared with: ``reference`` lies in the suite's folder unless it is an absolute path.

    ``sample`` is the most inputs of each side that are compared, ``minimum`` the fewest. A reference that is older
    than ``expires_days`` decides nothing.
    """

    reference: str = "reference.json"
    expires_days: float = Field(default=90, gt=0)
    minimum: int = Field(default=100, ge=20)
    sample: int = Field(default=400, ge=50, le=2000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    features: tuple[DriftFeature, ...] = Field(min_length=1)


class AbOutcome(Spec):
    """An indicator that arms are compared by: no worse than the control by ``margin``, or better by it."""

    indicator: Slug
    rule: Literal["no_worse_by", "better_by"] = "no_worse_by"
    margin: float = Field(default=0.02, ge=0, lt=1)


class Ab(Spec):
    """How arms of ``traffic.yaml`` are compared.

    A user counts once, with the mean of what happened within ``horizon`` of the first request. ``control`` is the arm
    that others are compared with.
    """

    control: str | None = None
    horizon: Duration = "1d"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    outcomes: tuple[AbOutcome, ...] = Field(min_length=1)


class Monitor(Spec):
    """``suites/<app>/monitor.yaml``."""

    description: str = ""
    window: Duration = "1d"
    indicators: tuple[Indicator, ...] = Field(min_length=1)
    drift: Drift | None = None
    ab: Ab | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := list(self._problems()):
            raise refusal("Monitor", problems)
        return self

    def _problems(self) -> Iterator[tuple[Path_, str]]:
        names = [each.id for each in self.indicators]
        features = [each.id for each in self.drift.features] if self.drift else []
        for kind, ids in (("indicators", names), ("drift", features)):
            for name in sorted({name for name in ids if ids.count(name) > 1}):
                yield (kind,), f"id {name!r} stands twice; ids are unique"
        for place, outcome in enumerate(self.ab.outcomes if self.ab else ()):
            if outcome.indicator not in names:
                text = f"no indicator {outcome.indicator!r}; there are: {', '.join(names)}"
                yield ("ab", "outcomes", place, "indicator"), text

    @property
    def by_id(self) -> Mapping[str, Availability | Latency | ShareOf | FeedbackRate]:
        """The indicators by their ids."""
        return {each.id: each for each in self.indicators}


def unknown_steps(monitor: Monitor, steps: Sequence[str], shown: str) -> list[Problem]:
    """What the file says of steps that the app does not have: such rows would only ever be unscored."""
    named = [(f"indicator {each.id!r}", each.step) for each in monitor.indicators if isinstance(each, ShareOf)]
    named += [(f"feature {each.id!r}", each.step) for each in (monitor.drift.features if monitor.drift else ())]
    return [
        Problem(shown, 1, f"{what}: no step {step!r}; the app has {', '.join(sorted(steps))}")
        for what, step in named
        if step and step not in steps
    ]
