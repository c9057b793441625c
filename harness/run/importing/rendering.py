"""Templates of promptfoo (Nunjucks), rendered and rewritten for Jinja."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2
import jinja2.sandbox

from harness.run.importing.config_file import Unreadable

_ROLE_LINE = re.compile(r"^[ \t]*(?:system|user|assistant)[ \t]*:[ \t]*$", re.MULTILINE)
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.S)
_LONGEST = 1_000_000


def jinja(template: str) -> str:
    """A Nunjucks template in Jinja's words, which has other ones for ``elseif``, ``&&``, ``dump`` and ``.length``."""
    return _TAG.sub(lambda found: _tag(found.group(0)), template)


def _tag(tag: str) -> str:
    tag = re.sub(r"\|\s*dump\b(?:\([^)]*\))?", "| tojson", tag)
    tag = re.sub(r"^(\{%-?\s*)elseif\b", r"\1elif", tag)
    tag = re.sub(r"\.length\b", " | length", tag)
    return tag.replace("&&", "and").replace("||", "or").replace("===", "==").replace("!==", "!=")


def protected(text: str) -> str:
    """``text`` as the body of a prompt file, where a line ``user:`` begins a message and ``${env:X}`` is refused."""
    text = _ROLE_LINE.sub(lambda found: "{{ '" + found.group(0).strip() + "' }}", text)
    return re.sub(r"\$(?=\{(?:env|file):)", "{{ '$' }}", text)


def holds_role_line(value: Any) -> bool:
    """Whether a text has a line such as ``user:``, which a prompt refuses in a value."""
    return isinstance(value, str) and _ROLE_LINE.search(value) is not None


def render(value: Any, variables: Mapping[str, Any]) -> Any:
    """The texts of ``value`` with the variables filled in; what is not defined is empty. Unreadable: no template."""
    if isinstance(value, str):
        return _rendered(value, variables) if "{{" in value or "{%" in value else value
    if isinstance(value, list):
        return [render(item, variables) for item in value]
    return value


def _rendered(text: str, variables: Mapping[str, Any]) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(autoescape=False)
    try:
        made = environment.from_string(jinja(text)).render(variables)
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"the template {text[:60]!r} cannot be rendered: {error}") from error
    if len(made) > _LONGEST:
        raise Unreadable(f"the template {text[:60]!r} renders to more than {_LONGEST} characters")
    return made
