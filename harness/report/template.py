"""Templates filled: everything escaped, style and script inlined, and nothing else allowed to run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from harness.report import figures, visible

if TYPE_CHECKING:
    from jinja2 import Environment


def fill(name: str, context: Mapping[str, Any]) -> str:
    """The template ``name`` with ``context``; it also gets ``style``, ``script`` and the ``policy`` for the two."""
    style, script = _asset("report.css"), _asset("report.js")
    # Both are files of this package, never text of a run.
    own = {"style": Markup(style), "script": Markup(script), "policy": _policy(style, script)}  # noqa: S704
    return _environment().get_template(name).render({**context, **own})


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    # Parsers turn CRLF into LF before they hash, so a checkout with CRLF must not change the text.
    return resources.files("harness.report").joinpath("templates", name).read_text("utf-8").replace("\r\n", "\n")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        v=lambda text: visible.as_html(str(text)),
        line=visible.one_line,
        number=figures.count,
        seconds=figures.seconds,
        moment=figures.moment,
        digest=figures.digest,
        score=figures.value,
        change=figures.difference,
    )
    environment.globals.update(plural=figures.plural)
    return environment
