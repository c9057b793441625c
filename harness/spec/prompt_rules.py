"""Rules by which a step chooses its prompt version for a request: the first whose condition holds wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pydantic import Discriminator, Field, Tag

from harness.spec.base import Spec
from harness.spec.conditions import parsed, paths
from harness.spec.yaml_file import Path_

PromptKey = Annotated[str, Field(pattern=r"^[a-z0-9_.-]+/[a-z0-9_.-]+/\d+\.\d+\.\d+$")]
OTHERWISE = "else"


class Branch(NamedTuple):
    """One way through a step: its rule's name and the prompt version that it uses."""

    name: str
    prompt: str
    when: str = ""


class PromptRule(Spec):
    """``use`` this version when the condition ``when`` holds. ``name`` is what traces and reports call the branch."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
    when: Annotated[str, Field(min_length=1)]
    use: PromptKey


class PromptChoice(Spec):
    """Rules in their order, and the version for requests that meet none of them."""

    choose: tuple[PromptRule, ...] = Field(min_length=1)
    otherwise: PromptKey = Field(alias=OTHERWISE)

    def problems(self) -> list[tuple[Path_, str]]:
        """Names given twice and rules that can never match or always do, each with its place in the file."""
        wrong: list[tuple[Path_, str]] = []
        for place, rule in enumerate(self.choose):
            before = self.choose[:place]
            if rule.name == OTHERWISE or rule.name in {other.name for other in before}:
                wrong.append((("choose", place, "name"), f"rule name {rule.name!r} stands twice; names are unique"))
            same = next((other.name for other in before if _same(rule.when, other.when)), None)
            if same is not None:
                wrong.append((("choose", place, "when"), f"rule {rule.name!r} never matches: {same!r} asks the same"))
            elif parsed(rule.when) is not None and not paths(rule.when):
                says = f"rule {rule.name!r} reads nothing of the request, so it always gives the same; use inputs, "
                wrong.append((("choose", place, "when"), f"{says}steps or context"))
        return wrong

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Every way through, in order; the last is ``else``."""
        return (*(Branch(rule.name, rule.use, rule.when) for rule in self.choose), Branch(OTHERWISE, self.otherwise))

    def pick(self, holds: Callable[[str], bool]) -> Branch:
        """The first branch whose condition ``holds``."""
        return next(branch for branch in self.branches if not branch.when or holds(branch.when))

    def identity(self) -> dict[str, Any]:
        """What decides which version answers: all but the rules' names."""
        return {"choose": [[rule.when, rule.use] for rule in self.choose], OTHERWISE: self.otherwise}


def _same(one: str, other: str) -> bool:
    return one == other or (parsed(one) is not None and parsed(one) == parsed(other))


def _form(value: Any) -> str:
    return "rules" if isinstance(value, dict | PromptChoice) else "version"


StepPrompt = Annotated[
    Annotated[PromptKey, Tag("version")] | Annotated[PromptChoice, Tag("rules")], Discriminator(_form)
]
"""One version, or rules that choose one."""
