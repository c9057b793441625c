"""Where the change stands in the candidate's files, line by line: what an annotation points at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from harness.run.plan import Plan
from harness.spec.adapters import ADAPTERS, MANIFEST
from harness.spec.apps import FunctionStep, LlmStep
from harness.spec.repository import AppFiles
from harness.spec.yaml_file import line_in

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Lines ``line`` to ``end`` (1-based, both included) of a file of the repository that changed in ``app``."""

    app: str
    path: str
    line: int
    end: int

    def as_dict(self) -> dict[str, Any]:
        """The record as it stands in ``run.json``."""
        return {name: getattr(self, name) for name in self.__slots__}


def places(plan: Plan) -> dict[str, Any]:
    """``changed``: the changed lines of each changed app, prompts first; ``gates``: the line of each gate."""
    changed = [place for name in plan.repository.apps if plan.changed(name) for place in _of_app(plan, name)]
    return {"changed": [place.as_dict() for place in changed], "gates": _gate_lines(plan)}


def _gate_lines(plan: Plan) -> dict[str, int]:
    return {
        f"{name}/{gate.id}": line_in(plan.repository.root / "suites" / name / "gates.yaml", ("gates", place))
        for name, suite in plan.repository.suites.items()
        for place, gate in enumerate(suite.gates)
    }


def _of_app(plan: Plan, name: str) -> Iterator[Place]:
    new, old = plan.repository.apps[name], plan.baselines[name]
    for path, before in {**_prompts(old, new), **_files(new)}.items():
        now, was = new.root / path, old.root / before
        if not now.is_file():
            continue
        lines = _lines(now)
        if not was.is_file() or new.root == old.root:
            if before != path or new.root != old.root:
                yield Place(name, path, 1, max(1, len(lines)))
            continue
        for line, end in hunks(_lines(was), lines)[:SHOWN]:
            yield Place(name, path, line, end)


def _prompts(old: AppFiles, new: AppFiles) -> Mapping[str, str]:
    """Path of each prompt version that is new here -> path of the version that it took the place of."""
    before = {step.id: step for step in old.app.steps if isinstance(step, LlmStep)}
    found = {}
    for step in new.app.steps:
        if isinstance(step, LlmStep):
            known = before[step.id].prompts if step.id in before else ()
            for key in step.prompts:
                if key not in known:
                    stem = key.rsplit("/", 1)[0]
                    was = next((other for other in known if other.rsplit("/", 1)[0] == stem), key)
                    found[f"prompts/{key}.prompty"] = f"prompts/{was}.prompty"
    return found


def _files(new: AppFiles) -> Mapping[str, str]:
    folder = f"suites/{new.name}"
    names = [f"models/{name}/model.yaml" for name in new.models]
    names += [f"{ADAPTERS}/{key}/{MANIFEST}" for key in new.adapters]
    for step in new.app.steps:
        if isinstance(step, FunctionStep):
            names += [f"{folder}/{name}" for name in (step.function.split(":")[0], *step.files)]
    return {name: name for name in [*names, f"{folder}/app.yaml"]}


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").splitlines()


def hunks(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """The changed line ranges of ``new``; of a prompt those of its body, unless only its front matter changed."""
    ranges = [
        (start + 1, max(start + 1, end))
        for tag, _, _, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if tag != "equal"
    ]
    # A deletion at the end points behind the last line, where nothing could be shown.
    ranges = [(min(line, max(1, len(new))), min(end, max(1, len(new)))) for line, end in ranges]
    body = _body(new)
    return [(line, end) for line, end in ranges if end >= body] or ranges


def _body(lines: list[str]) -> int:
    """The first line after the front matter of a prompt, 1-based; 1 for other files."""
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        return 1
    return lines.index("---", 1) + 2
