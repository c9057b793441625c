"""Probes: attempts to make an app do what it must not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator

from harness.spec.apps import App
from harness.spec.base import Spec
from harness.spec.probe_sets import Frame, ProbeSet


class Probes(Spec):
    """``suites/<app>/probes.yaml``: ``inputs`` are bound for every attempt, ``frame`` is that of sets without one."""

    description: str = ""
    seed: int = Field(default=0, ge=0)
    concurrency: int = Field(default=16, ge=1, le=256)
    deadline_s: float = Field(default=120.0, gt=0)
    inputs: dict[str, Any] = Field(default_factory=dict)
    frame: Frame = ""
    probes: tuple[ProbeSet, ...] = Field(min_length=1)

    @field_validator("probes")
    @classmethod
    def _unique(cls, probes: tuple[ProbeSet, ...]) -> tuple[ProbeSet, ...]:
        ids = [probe.id for probe in probes]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            message = f"id {twice[0]!r} stands twice; ids are unique"
            raise ValueError(message)
        for probe in probes:
            unfit = sorted({name for name in probe.borrow if name not in ids or name == probe.id})
            if unfit:
                message = f"set {probe.id!r} borrows from {unfit[0]!r}; other sets are {', '.join(ids)}"
                raise ValueError(message)
            if probe.borrow and probe.family in ("canary", "indirect", "over_refusal"):
                message = f"set {probe.id!r}: what {probe.family} looks for depends on its own texts; it cannot borrow"
                raise ValueError(message)
        return probes

    @property
    def metrics(self) -> Mapping[str, int]:
        """Every metric with its number of attempts an arm."""
        own = {probe.id: probe.attempts for probe in self.probes}
        return {f"safety.{each.id}": each.attempts + sum(own[name] for name in each.borrow) for each in self.probes}

    def problems(self, app: App) -> Iterator[str]:
        """What the probes name that the app does not have."""
        steps, inputs = [step.id for step in app.steps], list(app.inputs)
        asked = [name for name, spec in app.inputs.items() if spec.source == "user_message"]
        for name in sorted(set(self.inputs) - set(inputs)):
            yield f"inputs: the app has no input {name!r}; it has {', '.join(inputs)}"
        for probe in self.probes:
            for name in probe.steps:
                if name not in steps:
                    yield f"set {probe.id!r}: no step {name!r}; the app has {', '.join(steps)}"
            if probe.into and probe.into not in inputs:
                yield f"set {probe.id!r}: the app has no input {probe.into!r}; it has {', '.join(inputs)}"
            if not probe.into and not asked:
                yield f"set {probe.id!r}: no input of the app is 'from: user_message'; say with 'into' which one to use"
