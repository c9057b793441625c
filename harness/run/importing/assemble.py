"""The versioned files of one imported app."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.run.importing.assertions import Mapped
from harness.run.importing.expand import Test
from harness.run.importing.fitting import FEW, level_gate, paired_gate
from harness.run.importing.judges import judge_files
from harness.run.importing.prompts import ImportedPrompt
from harness.run.importing.providers import ImportedProvider
from harness.run.importing.rendering import holds_role_line
from harness.run.importing.tree import Files, slug, to_lines, to_yaml, unused

WHOLE = "tests"
"""The check, and the key of an expectation, that holds a whole test of promptfoo."""
_ASKING = ("message", "question", "query", "input", "user_input", "text", "prompt", "topic")
_MOST_SLICES = 12
# A gate over fewer cases than these would be an opinion about each of them.
_GATED_FROM = 5


@dataclass
class Suite:
    """What one app is measured by: checks by (name, kind, settings), and cases."""

    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)
    slices: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    advisory: set[str] = field(default_factory=set)

    def add(self, test: Test, mapped: Sequence[Mapped], whole: Mapping[str, Any] | None, inputs: Sequence[str]) -> None:
        """One test as a case."""
        expect: dict[str, Any] = {WHOLE: whole} if whole else {}
        for each in mapped:
            name = self._check(each, expect)
            expect[name] = each.expect
            self.counts[name] += 1
        self.counts[WHOLE] += whole is not None
        case = {
            "id": f"{len(self.cases) + 1:04}-{slug(test.note or test.name, 'test', 50)}",
            "inputs": {name: _plain(test.variables[name]) for name in inputs if name in test.variables},
            "expect": expect,
            "slices": [],
            **({"group": slug(test.group, "group", 70)} if test.group != test.name else {}),
            **({"note": test.note} if test.note else {}),
        }
        self.cases.append(case)

    def _check(self, mapped: Mapped, taken: Mapping[str, Any]) -> str:
        """The check that looks at this expectation: a second one of a kind in a test needs a check of its own."""
        wanted = {"check": mapped.check, **({"with": dict(mapped.settings)} if mapped.settings else {})}
        base = slug(mapped.name.replace(":", "-"), "check")
        for name, spec in self.checks.items():
            same = {key: spec[key] for key in ("check", "with") if key in spec} == wanted
            if same and spec["base"] == base and name not in taken:
                return name
        name = unused(base, [*self.checks, WHOLE])
        self.checks[name] = {**wanted, "expect": name, "base": base}
        if not mapped.required:
            self.advisory.add(name)
        return name

    @property
    def judged(self) -> list[str]:
        """The judges that the checks ask."""
        return sorted({spec["check"].split("/")[1] for spec in self.checks.values() if "/" in spec["check"]})

    def mark_slices(self, tests: Sequence[Test]) -> None:
        """Texts of the tests' metadata become slices, unless they are as many as the tests."""
        values: dict[str, Counter[str]] = {}
        for test in tests:
            for key, value in test.metadata.items():
                if isinstance(value, str) and value.strip():
                    values.setdefault(key, Counter())[value] += 1
        kept = {key for key, seen in values.items() if 1 < len(seen) <= _MOST_SLICES and len(seen) < len(tests)}
        for test, case in zip(tests, self.cases, strict=True):
            for key in sorted(kept & test.metadata.keys()):
                if isinstance(value := test.metadata[key], str) and value.strip():
                    name = slug(f"{key}-{value}", "slice", 60)
                    self.slices[name] = f"{key} is {value}"
                    case["slices"] = sorted({*case["slices"], name})

    def gates(self) -> list[dict[str, Any]]:
        """Whole tests are required, single checks advisory; every threshold fits its number of cases."""
        made = []
        if total := self.counts[WHOLE]:
            few = f"; {total} cases show only crude damage, add more" if total < FEW else ""
            why = f"promptfoo wants every test to pass; this is what {total} cases can show{few}"
            made.append(level_gate(WHOLE, total, required=True, why=why))
            kept = f"no change may lose tests beyond the margin that {total} cases can show"
            made += paired_gate(WHOLE, total, required=True, why=kept)
        for name in self.checks:
            required = not made and name not in self.advisory
            why = f"imported; stands on {self.counts[name]} cases"
            if self.checks[name]["check"] != "refusal" and (required or self.counts[name] >= _GATED_FROM):
                made.append(level_gate(name, self.counts[name], required=required, why=why))
        return made

    def suite_yaml(self, config: Mapping[str, Any]) -> str:
        """``suite.yaml``."""
        given = config.get("evaluateOptions") or {}
        options = given if isinstance(given, Mapping) else {}
        checks = [{"id": name, **{k: v for k, v in spec.items() if k != "base"}} for name, spec in self.checks.items()]
        if self.counts[WHOLE]:
            why = "whole tests of promptfoo: every assertion that needs no model, weighted as there"
            checks.insert(0, {"id": WHOLE, "check": "promptfoo", "expect": WHOLE, "description": why})
        made: dict[str, Any] = {"description": str(config.get("description") or "Imported from promptfoo.")}
        made |= {"repeats": min(repeat, 50)} if (repeat := _whole(options.get("repeat"))) else {}
        made |= {"concurrency": min(most, 512)} if (most := _whole(options.get("maxConcurrency"))) else {}
        made |= {"deadline_s": limit / 1000} if (limit := _whole(options.get("timeoutMs"))) else {}
        made |= {"slices": self.slices} if self.slices else {}
        return to_yaml({**made, "checks": checks})


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 else None


def _plain(value: Any) -> Any:
    return "" if value is None else value


@dataclass(frozen=True)
class App:
    """An app to be written: its name, what asks, and its suite."""

    name: str
    prompt: ImportedPrompt
    provider: ImportedProvider
    suite: Suite
    tests: Sequence[Test]

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """The inputs as ``app.yaml`` declares them; a variable that a test leaves out is empty there."""
        declared = {name: self._input(name) for name in self.prompt.variables}
        asking = next((name for name in _ASKING if declared.get(name, {}).get("kind") == "string"), None)
        texts = [name for name, spec in declared.items() if spec["kind"] == "string"]
        asking = asking or (texts[0] if len(texts) == 1 else None)
        if asking:
            declared[asking] = {**declared[asking], "from": "user_message"}
        return declared

    def _input(self, name: str) -> dict[str, Any]:
        values = [test.variables.get(name) for test in self.tests]
        kinds = {_kind(value) for value in values if value is not None} or {"string"}
        kind = kinds.pop() if len(kinds) == 1 else "string"
        if kind != "string":
            return {"kind": kind} if None not in values else {"kind": kind, "required": False}
        return {"kind": "string", **({"required": False, "default": ""} if None in values else {})}

    def files(self, model: str, grader: str, config: Mapping[str, Any]) -> Files:
        """Path -> text of everything that belongs to this app alone; ``grader`` is the model that its judges ask."""
        folder = f"suites/{self.name}"
        made = {
            f"{folder}/app.yaml": self._app_yaml(model),
            f"{folder}/suite.yaml": self.suite.suite_yaml(config),
            f"{folder}/gates.yaml": to_yaml({"gates": self.suite.gates()}),
            f"{folder}/cases/imported.jsonl": to_lines(self._cases()),
        }
        if not self.provider.http:
            made[f"prompts/{self.name}/answer/1.0.0.prompty"] = self._prompty()
        for name in self.suite.judged:
            made |= judge_files(folder, name, grader)
        return made

    def _cases(self) -> list[dict[str, Any]]:
        """The cases, with every input as the kind that the app declares."""
        kinds = {name: spec["kind"] for name, spec in self.inputs.items()}
        return [
            {**case, "inputs": {n: _as(kinds.get(n, ""), value) for n, value in case["inputs"].items()}}
            for case in self.suite.cases
        ]

    def _app_yaml(self, model: str) -> str:
        step: dict[str, Any] = {"id": "answer", **self.provider.http}
        if not self.provider.http:
            step |= {"kind": "llm", "prompt": f"{self.name}/answer/1.0.0", "model": model}
            step |= {"inputs": {name: f"inputs.{name}" for name in self.inputs}}
            step |= {"decoding": dict(self.provider.decoding)} if self.provider.decoding else {}
        about = f"Imported from promptfoo: {self.prompt.label} with {self.provider.label}."
        return to_yaml({"name": self.name, "description": about, "inputs": self.inputs, "steps": [step]})

    def _prompty(self) -> str:
        kinds = self.inputs
        optional = {"required": False, "default": ""}
        inputs = {
            name: {"kind": spec["kind"], **(optional if spec.get("required") is False else {})}
            for name, spec in kinds.items()
        }
        front = {
            "name": "answer",
            "description": f"Imported from promptfoo: {self.prompt.label}",
            "metadata": {"version": "1.0.0", "changes": "imported"},
            **({"inputs": inputs} if inputs else {}),
        }
        return f"---\n{to_yaml(front)}---\n{self.prompt.body}"

    @property
    def refused(self) -> list[str]:
        """Names of the tests whose inputs a prompt refuses, because a line of them reads ``user:``."""
        names = set(self.prompt.variables)
        return [t.name for t in self.tests if any(holds_role_line(t.variables.get(name)) for name in names)]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "integer", float: "float", list: "array", dict: "object"}
    return kinds.get(type(value), "string")


def _as(kind: str, value: Any) -> Any:
    from harness.evals.promptfoo import js_text

    return js_text(value) if kind == "string" and not isinstance(value, str | list | dict) else value
