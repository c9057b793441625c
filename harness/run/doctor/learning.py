"""Marts and adapters: whether marts can be built here, and whether every adapter is built and what it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import Problem
from harness.run.doctor.finding import Finding, Level
from harness.spec.adapters import ADAPTERS, MANIFEST, load_adapter, version_folders
from harness.spec.apps import App, LlmStep
from harness.spec.marts import MART
from harness.spec.models import Model
from harness.spec.recipes import RECIPE, load_recipe
from harness.spec.yaml_file import load

_NEEDED = ("duckdb", "stamina", "sklearn")


def examine_marts(root: Path) -> Iterator[Finding]:
    """Nothing in a tree without marts; every gate of a tree with some builds them."""
    count = len(list(root.glob(f"data/*/{MART}")))
    if not count:
        return
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    found = f"{count} to build" + (f", and {', '.join(missing)} not installed" if missing else "")
    do = "pip install 'signoff[data]'" if missing else ""
    yield Finding("machine", "marts", "problem" if missing else "ok", found, do)


def examine_adapters(root: Path) -> Iterator[Finding]:
    """How many versions are what their manifests say; one finding for each that is damaged, or should be built."""
    named, good = _named(root), 0
    wanted = dict.fromkeys([*_recipes(root), *named])
    keys = {
        f"{folder.parent.name}/{folder.name}": folder
        for folder in version_folders(root)
        if (folder / MANIFEST).is_file()
    }
    for key, folder in keys.items():
        _, problems = load_adapter(folder, f"{ADAPTERS}/{key}")
        good += not problems
        if problems:
            yield _damaged(key, problems, "problem" if key in named else "warning")
    for key in (key for key in wanted if key not in keys):
        apps = named.get(key, ())
        found = f"not built, though {' and '.join(apps)} {'names' if len(apps) == 1 else 'name'} it" if apps else ""
        do = f"signoff finetune {key.split('/')[0]}, and commit {ADAPTERS}/{key}/"
        yield _finding(key, "problem" if apps else "warning", found or "has a recipe and is not built", do)
    if keys or wanted:
        yield _finding("adapters", "ok", f"{good} of {len({*keys, *wanted})} built, as their manifests say")


def _damaged(key: str, problems: Sequence[Problem], level: Level) -> Finding:
    found, _, do = problems[0].message.partition("; ")
    again = f"restore it: git checkout -- {ADAPTERS}/{key}"
    return _finding(key, level, f"{problems[0].path} {found}", do or again)


def _finding(name: str, level: Level, found: str, do: str = "") -> Finding:
    return Finding("repository", name, level, found, do)


def _recipes(root: Path) -> Iterator[str]:
    for folder in sorted(path.parent for path in root.glob(f"{ADAPTERS}/*/{RECIPE}")):
        recipe, _ = load_recipe(folder, folder.name)
        if recipe:
            yield recipe.key


def _named(root: Path) -> dict[str, tuple[str, ...]]:
    """The apps that name each adapter; those of an endpoint are served there and lie in no tree."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted(root.glob("suites/*/app.yaml")):
        app, _ = load(file, file.name, App)
        for step in app.steps if app else ():
            if isinstance(step, LlmStep) and step.adapter and _local(root, step.model):
                found[step.adapter] = tuple(dict.fromkeys((*found.get(step.adapter, ()), file.parent.name)))
    return found


def _local(root: Path, name: str) -> bool:
    model, _ = load(root / "models" / name / "model.yaml", name, Model)
    return model is not None and model.pinned
