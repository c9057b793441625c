"""Guards: checks on what a step gave, each with the fixed answer that stands in when it does not hold."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.spec.base import Spec
from harness.spec.links import is_host, leads_to, links_in


class DenyGuard(Spec):
    """Nothing in the output matches ``pattern`` (a Python regular expression, case-insensitive)."""

    kind: Literal["deny"]
    pattern: str = Field(min_length=1)
    refuse: Any

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"pattern {pattern!r} is no regular expression: {error}"
            raise ValueError(message) from error
        return pattern

    def broken(self, text: str) -> bool:
        """Whether ``text`` must not go out."""
        return re.search(self.pattern, text, re.IGNORECASE) is not None


class LinksGuard(Spec):
    """Every link in the output leads to a host of ``allow`` or below one; with none allowed there are no links."""

    kind: Literal["links"]
    allow: tuple[str, ...] = ()
    refuse: Any

    @field_validator("allow")
    @classmethod
    def _hosts(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for host in allow:
            if not is_host(host):
                message = f"allow holds {host!r}; give hosts such as 'shop.example', no scheme, port or path"
                raise ValueError(message)
        return allow

    def broken(self, text: str) -> bool:
        """Whether ``text`` must not go out."""
        return not all(leads_to(link, self.allow) for link in links_in(text))


class LengthGuard(Spec):
    """The output has at most ``maximum`` characters."""

    kind: Literal["length"]
    maximum: int = Field(ge=1)
    refuse: Any

    def broken(self, text: str) -> bool:
        """Whether ``text`` must not go out."""
        return len(text) > self.maximum


Guard = Annotated[DenyGuard | LinksGuard | LengthGuard, Field(discriminator="kind")]
"""One guard of a step. ``refuse`` is the output that stands in: a text, or what a function step would return."""


def texts_in(value: Any) -> str:
    """Every text of a step's output, keys of mappings included, one a line: what a guard reads."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "\n".join(texts_in(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple):
        return "\n".join(texts_in(part) for part in value)
    return "" if value is None else str(value)


def first_broken(guards: tuple[Guard, ...], value: Any) -> Guard | None:
    """The first guard that ``value`` breaks, in their order; None when all hold."""
    if not guards:
        return None
    text = texts_in(value)
    return next((guard for guard in guards if guard.broken(text)), None)
