"""The files of a new repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml

from harness import __version__
from harness.run.importing.fitting import FEW, level_gate, paired_gate
from harness.run.importing.tree import Files, slug, to_lines, to_yaml
from harness.run.init.examples import Example
from harness.run.init.infer import Inferred, expectation

_HERE = resources("harness.run.init") / "templates"
LOCAL = "smollm2-135m"
_MOST_SLICES = 12
_ASSURED = 0.7
"""No level above this is demanded of an app that nobody has measured yet."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible endpoint: address up to ``/v1``, what it calls the model, where its key stands."""

    url: str
    model: str
    key_env: str = ""

    def lines(self) -> dict[str, Any]:
        """Its ``model.yaml``."""
        return {
            "name": slug(self.model, "model"),
            "engine": "openai",
            "base_url": self.url,
            "model_id": self.model,
            **({"api_key_env": self.key_env} if self.key_env else {}),
            # What vendors seldom honour, and what costs repeatability only: docs/endpoints.md.
            "tolerates": ["seed", "greedy"],
            "licence": "unknown",
            "context": 8192,
        }


def template(name: str) -> str:
    """A file that ships with this package."""
    return (_HERE / name).read_text(encoding="utf-8")


def workflows() -> Files:
    """Every workflow that ships, by the path where it belongs."""
    found = sorted((_HERE / "workflows").iterdir(), key=lambda each: each.name)
    return {
        f".github/workflows/{each.name}": each.read_text(encoding="utf-8")
        for each in found
        if each.name.endswith((".yml", ".yaml"))
    }


def surroundings(app: str) -> Files:
    """What a repository has beside its apps."""
    return {
        ".gitignore": "reports/\n__pycache__/\n.venv/\n",
        "requirements.txt": f"signoff=={__version__}\n",
        "README.md": _README.format(app=app),
        **workflows(),
    }


_README = """\
# {app}

Gated by Signoff: a change of a prompt, a model or a suite is measured against the version before it.

```
signoff check                 # read every file
signoff gate                  # measure, decide, write reports/latest/report.html
```

- `prompts/` holds the prompts. A released version is never edited: copy it, raise the version, name it in `app.yaml`.
- `suites/<app>/cases/` holds the cases. More cases let the gates promise more.
- `suites/<app>/gates.yaml` says what is required.
- `signoff doctor --github` says how to make the verdict required for a merge.
"""


def model_of(endpoint: Endpoint | None) -> tuple[str, Files]:
    """The model's name and its file: an endpoint, or the small model that ships."""
    if endpoint is not None:
        lines = endpoint.lines()
        return lines["name"], {f"models/{lines['name']}/model.yaml": to_yaml(lines)}
    shipped = resources("harness.run") / "demo_files" / "tree" / "models" / LOCAL / "model.yaml"
    return LOCAL, {f"models/{LOCAL}/model.yaml": shipped.read_text(encoding="utf-8")}


def app_files(app: str, model: str, examples: Sequence[Example], inferred: Inferred, *, local: bool) -> Files:
    """The app with one model step, its suite and its cases."""
    folder = f"suites/{app}"
    slices = _slices(examples)
    suite = {
        "description": f"Begun by signoff init: {inferred.why}.",
        **({"slices": slices} if slices else {}),
        "checks": list(inferred.checks),
    }
    dialogues = any(each.before for each in examples)
    return {
        f"{folder}/app.yaml": to_yaml(_app(app, model, inferred, local=local, dialogues=dialogues)),
        f"{folder}/suite.yaml": to_yaml(suite),
        f"{folder}/gates.yaml": to_yaml({"gates": gates(examples, inferred)}),
        f"{folder}/cases/examples.jsonl": to_lines(_cases(examples, inferred, slices)),
        f"prompts/{app}/answer/1.0.0.prompty": _prompty(inferred, dialogues=dialogues),
    }


def _app(app: str, model: str, inferred: Inferred, *, local: bool, dialogues: bool) -> dict[str, Any]:
    inputs: dict[str, Any] = {"message": {"kind": "string", "from": "user_message"}}
    bound = {"message": "inputs.message"}
    if dialogues:
        inputs["history"] = {"kind": "array", "from": "history", "required": False, "default": []}
        bound["history"] = "inputs.history"
    step: dict[str, Any] = {"id": "answer", "kind": "llm", "prompt": f"{app}/answer/1.0.0", "model": model}
    step["inputs"] = bound
    if local and inferred.labels:
        # A small model chooses far better than it writes, and what it says of nothing is its liking for a label.
        step["output"] = {
            "kind": "choice",
            "options": list(inferred.labels),
            "calibrate": {"message": "N/A", **({"history": []} if dialogues else {})},
        }
    return {"name": app, "description": "Answers one message.", "inputs": inputs, "steps": [step]}


def _prompty(inferred: Inferred, *, dialogues: bool) -> str:
    told = "Answer the message."
    if inferred.labels:
        told = f"Answer with exactly one of these words and nothing else: {', '.join(inferred.labels)}."
    elif any(check["check"] == "json_valid" for check in inferred.checks):
        told = "Answer with one JSON object and nothing else."
    elif any(check["check"] == "numeric" for check in inferred.checks):
        told = "Answer with one number."
    inputs: dict[str, Any] = {"message": {"kind": "string", "description": "what the user wrote"}}
    before = ""
    if dialogues:
        inputs["history"] = {"kind": "array", "required": False, "default": []}
        before = "{% for turn in history %}\n{{ turn.role }} said: {{ turn.content }}\n{% endfor %}\n"
    front = {
        "name": "answer",
        "description": "Begun by signoff init; write your own words as the next version.",
        "metadata": {"version": "1.0.0", "changes": "first version"},
        "model": {"options": {"temperature": 0, "maxOutputTokens": 256}},
        "inputs": inputs,
    }
    return f"---\n{to_yaml(front)}---\nsystem:\n{told}\nuser:\n{before}{{{{ message }}}}\n"


def _slices(examples: Sequence[Example]) -> dict[str, str]:
    names = sorted({each.slice for each in examples if each.slice})
    return {slug(name, "slice"): name for name in names} if len(names) <= _MOST_SLICES else {}


def _cases(examples: Sequence[Example], inferred: Inferred, slices: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for number, each in enumerate(examples, start=1):
        expect: dict[str, Any] = {} if each.expected is None else {"answer": expectation(each.expected)}
        if isinstance(each.expected, dict):
            wanted = [check["expect"] for check in inferred.checks if check["check"] == "field_match"]
            expect |= {key: each.expected[key.removeprefix("field_")] for key in wanted}
        name = slug(each.slice, "slice") if each.slice else ""
        row: dict[str, Any] = {"id": f"{number:05}", "expect": expect, "slices": [name] if name in slices else []}
        if each.before:
            row["messages"] = [*each.before, {"role": "user", "content": each.text}]
        else:
            row["inputs"] = {"message": each.text}
        rows.append(row)
    return rows


def gates(examples: Sequence[Example], inferred: Inferred) -> list[dict[str, Any]]:
    """A level and no loss for what decides; every threshold is one that this number of cases can show."""
    decided = sum(each.expected is not None for each in examples) or len(examples)
    few = f"; {decided} cases show only crude damage, add more" if decided < FEW else ""
    made = [
        level_gate(
            inferred.deciding, decided, required=not inferred.graded, most=_ASSURED,
            why=f"what {decided} cases can show, and at most {_ASSURED:g} until you know what the app reaches{few}",
        ),
        *paired_gate(
            inferred.deciding, decided, required=True,
            why=f"no change may make it worse by more than {decided} cases can show{few}",
        ),
    ]  # fmt: skip
    if inferred.deciding != "answered":
        made.append(level_gate("answered", len(examples), required=True, why="an empty answer helps nobody"))
    return made


def optional(app: str, *, load: bool, probes: bool) -> Files:
    """The files that only some want."""
    wanted = {"load.yaml": load, "probes.yaml": probes}
    return {f"suites/{app}/{name}": template(name) for name, is_wanted in wanted.items() if is_wanted}


def with_endpoint(files: Files, endpoint: Endpoint) -> Files:
    """Imported files whose models are asked at another endpoint."""
    lines = endpoint.lines()
    made = dict(files)
    for name in [path for path in files if path.startswith("models/")]:
        made[name] = to_yaml(
            {**lines, "name": Path(name).parent.name, "description": yaml.safe_load(files[name]).get("description", "")}
        )
    return made
