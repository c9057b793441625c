"""Settings of checks that a model grades: which cases, and what the model is shown beside the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from harness.spec.base import Slug, Spec
from harness.spec.gates import Profile
from harness.spec.suites import CheckSpec

Cases = int | dict[Profile, int]
_DEFAULT_CASES = 20
S = TypeVar("S", bound="GradedSettings")


class GradedSettings(Spec):
    """``with:`` of a check ``judge/<name>``.

    ``cases`` is how many of the check's cases are graded: always the same ones, chosen by the hash of their ids. One
    number, or one for each profile. ``context`` is a reference to a text that is shown beside the output.
    """

    cases: Cases = _DEFAULT_CASES
    context: str = Field(default="", pattern=r"^$|^(inputs|steps)\.[A-Za-z0-9_.-]+$")

    @field_validator("cases")
    @classmethod
    def _some(cls, cases: Cases) -> Cases:
        counts = cases.values() if isinstance(cases, dict) else (cases,)
        if any(count < 1 for count in counts):
            message = f"cases is {cases!r}; at least one case has to be graded"
            raise ValueError(message)
        return cases

    def limit(self, profile: Profile | str) -> int:
        """How many cases are graded in ``profile``."""
        if isinstance(self.cases, dict):
            return next((count for name, count in self.cases.items() if name == profile), _DEFAULT_CASES)
        return self.cases


class DeepevalSettings(GradedSettings):
    """``with:`` of a check ``deepeval/<Metric>``; every other key is the metric's own and goes to it unchanged.

    ``model`` is the model of this repository that the metric asks, for at most ``answer_tokens`` a question and
    ``deadline_s`` in all; ``retrieval_context`` references a text or a list of texts.
    """

    model: Slug
    answer_tokens: int = Field(default=512, ge=1, le=8192)
    deadline_s: float = Field(default=300.0, gt=0)
    retrieval_context: str = Field(default="", pattern=r"^$|^(inputs|steps)\.[A-Za-z0-9_.-]+$")


def judge_settings(check: CheckSpec) -> GradedSettings:
    """The settings of a check ``judge/<name>``; ValueError in words."""
    return _read(GradedSettings, check.settings)


def deepeval_settings(check: CheckSpec) -> tuple[DeepevalSettings, Mapping[str, Any]]:
    """Our settings of a check ``deepeval/<Metric>``, and the metric's own; ValueError in words."""
    own = {name: value for name, value in check.settings.items() if name in DeepevalSettings.model_fields}
    rest = {name: value for name, value in check.settings.items() if name not in own}
    return _read(DeepevalSettings, own), rest


def settings_of(check: CheckSpec) -> GradedSettings:
    """The settings of any graded check; ValueError in words."""
    return deepeval_settings(check)[0] if check.check.startswith("deepeval/") else judge_settings(check)


def _read(kind: type[S], settings: Mapping[str, Any]) -> S:
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        told = [
            f"setting {'.'.join(map(str, each['loc']))!r}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False)
        ]
        raise ValueError("; ".join(told)) from error
