"""``signoff init``: a repository whose gate can be run at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.run.check import CheckReport, check
from harness.run.importing.promptfoo import promptfoo_files
from harness.run.importing.record import Imported
from harness.run.importing.tree import Files, refuse_unless_empty, slug, write_tree
from harness.run.init.build import (
    Endpoint,
    app_files,
    model_of,
    optional,
    surroundings,
    template,
    with_endpoint,
)
from harness.run.init.examples import Example, read_examples
from harness.run.init.infer import infer
from harness.spec.urls import checked_url

_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for. ``local``: the small model that ships; ``load`` and ``probes``: those files too."""

    out: Path
    app: str = ""
    url: str = ""
    model: str = ""
    key_env: str = ""
    local: bool = False
    examples: Path | None = None
    promptfoo: Path | None = None
    load: bool = False
    probes: bool = False


@dataclass(frozen=True)
class Created:
    """What was written. ``about`` says what was inferred, ``trouble`` why the endpoint does not answer (or nothing)."""

    out: Path
    apps: Mapping[str, int]
    files: tuple[str, ...]
    about: str
    warnings: tuple[str, ...] = ()
    trouble: str = ""
    imported: Imported | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "out": str(self.out),
            "apps": dict(self.apps),
            "files": list(self.files),
            "about": self.about,
            "warnings": list(self.warnings),
            "trouble": self.trouble,
            "imported": self.imported.as_dict() if self.imported else None,
        }


def create(wanted: Wanted, cache: Path) -> Created:
    """Write the repository; an endpoint that does not answer is told, and the files are kept.

    UsageError: options that exclude each other, examples or a config that cannot be read, a folder that is not empty.
    Nothing is written then.
    """
    endpoint = _endpoint(wanted)
    refuse_unless_empty(wanted.out)
    if wanted.promptfoo is not None:
        files, imported = promptfoo_files(wanted.promptfoo, wanted.app)
        apps, about = dict(imported.apps), f"imported from {wanted.promptfoo.name}"
        files = with_endpoint(files, endpoint) if endpoint else files
    else:
        files, about, apps = _begun(wanted, endpoint)
        imported = None
    for app in apps:
        files |= optional(app, load=wanted.load, probes=wanted.probes)
    files |= surroundings(next(iter(apps)))
    write_tree(wanted.out, files)
    report = _checked(wanted.out, cache)
    return Created(
        wanted.out, apps, tuple(sorted(files)), about, tuple(report.warnings),
        reachable(endpoint) if endpoint else "", replace(imported, out=wanted.out) if imported else None,
    )  # fmt: skip


def _endpoint(wanted: Wanted) -> Endpoint | None:
    if wanted.examples and wanted.promptfoo:
        raise UsageError("--examples and --promptfoo exclude each other: a promptfooconfig holds its own cases")
    if wanted.local and (wanted.url or wanted.model):
        raise UsageError("--local and --endpoint exclude each other: the app asks one model")
    if bool(wanted.url) != bool(wanted.model):
        absent, there = ("--model", "--endpoint") if wanted.url else ("--endpoint", "--model")
        raise UsageError(f"{there} needs {absent}: an address up to /v1, and what the endpoint calls the model")
    if wanted.key_env and not wanted.url:
        raise UsageError("--api-key-env belongs to --endpoint")
    if not wanted.url:
        if not wanted.local and not wanted.promptfoo:
            raise UsageError("say what answers: --endpoint URL --model ID, --local, or --promptfoo FILE")
        return None
    return Endpoint(checked_url(wanted.url).rstrip("/"), wanted.model, wanted.key_env)


def _begun(wanted: Wanted, endpoint: Endpoint | None) -> tuple[Files, str, dict[str, int]]:
    app = slug(wanted.app or wanted.out.resolve().name, "app", 30)
    examples = read_examples(wanted.examples) if wanted.examples else _shipped()
    inferred = infer(examples)
    model, files = model_of(endpoint)
    files = files | app_files(app, model, examples, inferred, local=wanted.local)
    about = inferred.why if wanted.examples else f"{len(examples)} examples that ship; replace them by your own"
    return files, about, {app: len(examples)}


def _shipped() -> list[Example]:
    import orjson

    rows = map(orjson.loads, template("examples.jsonl").splitlines())
    return [Example(row["input"], row["expected"]) for row in rows]


def _checked(out: Path, cache: Path) -> CheckReport:
    try:
        return check(out, cache)
    except UsageError as error:
        message = f"{out} was written, but signoff check finds a mistake in it; mend it by hand:\n{error}"
        raise UsageError(message, error.problems) from error


def reachable(endpoint: Endpoint) -> str:
    """Why the endpoint does not answer, empty when it does; its key is sent to nobody else."""
    import urllib.error
    import urllib.request

    if endpoint.key_env and not os.environ.get(endpoint.key_env):
        return f"{endpoint.url} wants a key: set the environment variable {endpoint.key_env}"
    headers = {"authorization": f"Bearer {os.environ[endpoint.key_env]}"} if endpoint.key_env else {}
    request = urllib.request.Request(f"{endpoint.url}/models", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S):
            return ""
    except urllib.error.HTTPError as error:
        # Some servers list no models; only a refused key is a finding.
        refused = error.code in {401, 403}
        return f"{endpoint.url} refuses the key (HTTP {error.code})" if refused else ""
    except (OSError, ValueError) as error:
        return f"{endpoint.url} does not answer ({getattr(error, 'reason', error)})"
