"""What the real promptfoo is asked about an app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from harness.spec.base import Slug, Spec
from harness.spec.gates import Profile
from harness.spec.suites import CheckSpec

COMPARABLE = frozenset(
    {
        "contains", "contains_all", "contains_any", "equals", "exact_match", "json_schema", "json_valid", "length",
        "not_contains", "promptfoo", "starts_with",
    }
)  # fmt: skip
"""The checks that may have an equivalent assertion."""
PASSED = "promptfoo.passed"


class PromptfooProfile(Spec):
    """``suites/<app>/promptfoo.yaml``: at most ``cases`` cases of ``slices`` are asked, in these ``profiles`` only.

    ``checks`` names the suite's checks that are asked as assertions too (default: all that have an equivalent);
    ``assertions`` are promptfoo's own, by name; ``environment`` names the variables that promptfoo may see.
    """

    description: str = ""
    profiles: tuple[Profile, ...] = ("nightly",)
    slices: tuple[str, ...] = ()
    cases: int = Field(default=30, ge=1)
    checks: tuple[Slug, ...] | None = None
    assertions: dict[Slug, dict[str, Any]] = Field(default_factory=dict)
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_s: float = Field(default=900.0, gt=0)
    environment: tuple[str, ...] = ()

    @field_validator("assertions")
    @classmethod
    def _typed(cls, assertions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, assertion in assertions.items():
            if not isinstance(assertion.get("type"), str):
                message = f"assertion {name!r} has no 'type', such as icontains or llm-rubric"
                raise ValueError(message)  # noqa: TRY004 - pydantic collects these
            if wrong := sorted({"metric", "assert"} & assertion.keys()):
                message = f"assertion {name!r}: {wrong[0]!r} is not allowed; its name is its metric, and sets are not"
                raise ValueError(message)
        return assertions

    def asked(self, checks: Sequence[CheckSpec]) -> tuple[CheckSpec, ...]:
        """The checks of the suite that may be asked as assertions: those of the app's answer, of a comparable kind."""
        return tuple(
            check
            for check in checks
            if not check.step and check.check in COMPARABLE and (self.checks is None or check.id in self.checks)
        )

    def sizes(self, checks: Sequence[CheckSpec]) -> Mapping[str, int]:
        """Every metric with the most cases that it is measured on."""
        names = [PASSED, *(f"promptfoo.{check.id}" for check in self.asked(checks))]
        return dict.fromkeys([*names, *(f"promptfoo.{name}" for name in self.assertions)], self.cases)
