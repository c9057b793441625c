"""JSON Schemas of the versioned files, for editors: complete while typing, and red where ``check`` would complain."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from harness.spec.apps import App
from harness.spec.candidates import Candidates
from harness.spec.gates import GatesFile
from harness.spec.judge_cards import Label
from harness.spec.judges import Judge
from harness.spec.keys import Keys
from harness.spec.load import LoadProfile
from harness.spec.marts import Mart
from harness.spec.models import Model
from harness.spec.monitor import Monitor
from harness.spec.probes import Probes
from harness.spec.promptfoo import PromptfooProfile
from harness.spec.prompts import FrontMatter
from harness.spec.recipes import Recipe
from harness.spec.serving import Serving
from harness.spec.suites import Case, ExternalCases, Suite
from harness.spec.traffic import Traffic
from harness.spec.waivers import WaiversFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES: Mapping[str, tuple[type[BaseModel], str]] = {
    "app": (App, "suites/<app>/app.yaml"),
    "suite": (Suite, "suites/<app>/suite.yaml"),
    "gates": (GatesFile, "suites/<app>/gates.yaml"),
    "waivers": (WaiversFile, "suites/<app>/waivers.yaml"),
    "case": (Case, "one line of suites/<app>/cases/*.jsonl"),
    "external-cases": (ExternalCases, "suites/<app>/cases/*.yaml"),
    "judge": (Judge, "suites/<app>/judges/<name>/judge.yaml"),
    "label": (Label, "one line of suites/<app>/judges/<name>/labels.jsonl"),
    "candidates": (Candidates, "suites/<app>/candidates.yaml"),
    "load": (LoadProfile, "suites/<app>/load.yaml"),
    "probes": (Probes, "suites/<app>/probes.yaml"),
    "promptfoo": (PromptfooProfile, "suites/<app>/promptfoo.yaml"),
    "monitor": (Monitor, "suites/<app>/monitor.yaml"),
    "traffic": (Traffic, "suites/<app>/traffic.yaml"),
    "keys": (Keys, "the key file of a gateway, kept outside the repository"),
    "serve": (Serving, "serve.yaml in the repository's root"),
    "model": (Model, "models/<name>/model.yaml"),
    "mart": (Mart, "data/<mart>/mart.yaml"),
    "recipe": (Recipe, "models/adapters/<name>/recipe.yaml"),
    "prompt": (FrontMatter, "front matter of prompts/<app>/<step>/<version>.prompty"),
}
"""The kinds of file: the object that each is read into, and where such files lie."""

_OPTIONS_AS_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema (draft 2020-12) of every kind of file, with the keys as they are written in the file."""
    made = {
        name: {"$schema": DIALECT, **model.model_json_schema(by_alias=True), "title": f"Signoff: {place}"}
        for name, (model, place) in FILES.items()
    }
    # Both may be written in a second form, of which pydantic's schema does not know.
    choice = made["app"]["$defs"]["ChoiceOutput"]["properties"]
    choice["options"]["anyOf"].insert(0, _OPTIONS_AS_LIST)
    choice["calibrate"] = {
        "anyOf": [{"type": "object"}, *_forms(choice["calibrate"])],
        "default": choice["calibrate"].get("default"),
    }
    return made


def _forms(schema: Mapping[str, Any]) -> list[Any]:
    return list(schema["anyOf"]) if "anyOf" in schema else [{k: v for k, v in schema.items() if k != "default"}]


def write_schemas(folder: Path) -> tuple[Path, ...]:
    """Write each schema to ``folder/<name>.json`` and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in schemas().items():
        path = folder / f"{name}.json"
        path.write_bytes(encoded(schema))
        written.append(path)
    return tuple(written)


def encoded(schema: Mapping[str, Any]) -> bytes:
    """The bytes that stand in the file: sorted, so that a newer pydantic that orders keys otherwise changes nothing."""
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
