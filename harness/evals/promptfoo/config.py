"""A suite as promptfoo's config: cases as tests, checks that have an equivalent as assertions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from harness.spec.apps import App
from harness.spec.measurement import Variant
from harness.spec.promptfoo import PromptfooProfile
from harness.spec.suites import Case, CheckSpec, Suite
from harness.store import digest_of

_MARKER = re.compile(r"\{(?=[{%#])")
_UNUSUAL = ("file://", "package:")
Assertion = dict[str, Any]


def chosen_cases(cases: Sequence[Case], profile: PromptfooProfile, seed: int) -> list[Case]:
    """At most so many cases of the profile's slices, the same ones whatever else the suite holds."""
    fitting = [case for case in cases if not profile.slices or set(profile.slices) & set(case.slices)]
    return sorted(fitting, key=lambda case: digest_of([seed, case.id]))[: profile.cases]


def assertions_of(case: Case, suite: Suite, profile: PromptfooProfile) -> dict[str, Assertion]:
    """The assertions of one case by name: equivalents of the checks that apply, and the profile's own."""
    made: dict[str, Assertion] = {}
    for spec in profile.asked(suite.checks):
        absent = spec.expect is not None and spec.expect not in case.expect
        elsewhere = spec.slices and set(spec.slices).isdisjoint(case.slices)
        equivalent = None if absent or elsewhere else equivalent_of(spec, case)
        if equivalent is not None:
            made[spec.id] = _literal(equivalent)
    return made | profile.assertions


def equivalent_of(spec: CheckSpec, case: Case) -> Assertion | None:
    """The assertion that decides as the check does, None when there is none."""
    settings = dict(spec.settings)
    value = case.expect.get(spec.expect) if spec.expect else None
    for stand_in in ("text", "texts"):
        value = settings.pop(stand_in, value)
    return _EQUIVALENTS[spec.check](value, settings) if spec.check in _EQUIVALENTS else None


def _same(kind: str, of: type, *folded: str) -> Callable[[Any, Mapping[str, Any]], Assertion | None]:
    """An assertion of ``kind`` for a value of type ``of``, of the kind ``folded`` where letter case is ignored."""

    def equivalent(value: Any, settings: Mapping[str, Any]) -> Assertion | None:
        wanted = dict(settings)
        name = folded[0] if folded and wanted.pop("ignore_case", False) else kind
        fits = isinstance(value, of) and bool(value) and not any(wanted.values())
        return {"type": name, "value": value} if fits else None

    return equivalent


def _equals(value: Any, _: Mapping[str, Any]) -> Assertion | None:
    return {"type": "equals", "value": value} if isinstance(value, str | Mapping | list) and value else None


def _schema(_: Any, settings: Mapping[str, Any]) -> Assertion | None:
    schema = settings.get("schema")
    if settings.get("fenced") or not isinstance(schema, Mapping):
        return None
    # promptfoo's validator refuses a dialect that it does not know by name.
    return {"type": "is-json", "value": {key: item for key, item in schema.items() if key != "$schema"}}


def _words(_: Any, settings: Mapping[str, Any]) -> Assertion | None:
    if settings.get("unit") != "words":
        return None
    limits = {"min": settings.get("minimum", 1), "max": settings.get("maximum")}
    return {"type": "word-count", "value": {name: limit for name, limit in limits.items() if limit is not None}}


def _verbatim(value: Any, _: Mapping[str, Any]) -> Assertion | None:
    if not isinstance(value, Mapping):
        return None
    return dict(value) if "type" in value else {"type": "assert-set", **value}


_EQUIVALENTS: Mapping[str, Callable[[Any, Mapping[str, Any]], Assertion | None]] = {
    "contains": _same("contains", str, "icontains"),
    "contains_all": _same("contains-all", list, "icontains-all"),
    "contains_any": _same("contains-any", list, "icontains-any"),
    "equals": _equals,
    "exact_match": _same("equals", str),
    "json_schema": _schema,
    "json_valid": lambda _, settings: None if settings.get("fenced") else {"type": "is-json"},
    "length": _words,
    "not_contains": _same("not-contains", str, "not-icontains"),
    "promptfoo": _verbatim,
    "starts_with": _same("starts-with", str),
}


def _literal(assertion: Assertion) -> Assertion:
    """The assertion with its texts kept from being rendered as templates or read as names of files."""
    made = dict(assertion)
    if "assert" in made:
        made["assert"] = [_literal(member) for member in made["assert"]]
    value = made.get("value")
    if isinstance(value, str):
        made["value"] = _raw(value)
    elif isinstance(value, list) and made.get("type", "").removeprefix("not-") != "equals":
        made["value"] = [_raw(item) if isinstance(item, str) else item for item in value]
    return made


def _raw(text: str) -> str:
    if not _MARKER.search(text) and not text.startswith(_UNUSUAL):
        return text
    return "{% raw %}" + text.replace("{% endraw %}", "{% endraw %}{{ '{% endraw %}' }}{% raw %}") + "{% endraw %}"


def question(case: Case, app: App) -> tuple[str, Mapping[str, Any]]:
    """The chat messages of a case as JSON, and the inputs beside them."""
    inputs = dict(case.inputs)
    messages = [turn.model_dump() for turn in case.messages]
    if not messages:
        asking = next((name for name, spec in app.inputs.items() if spec.source == "user_message"), "")
        text = inputs.pop(asking) if isinstance(inputs.get(asking), str) else "-"
        messages = [{"role": "user", "content": text}]
    # In JSON a brace may be spelled out, and a template that a user wrote is none any more.
    return _MARKER.sub(r"\\u007b", orjson.dumps(messages).decode()), inputs


def misread(inputs: Mapping[str, Any]) -> bool:
    """Whether promptfoo would change the inputs, because they read like a template or the name of a file."""
    text = orjson.dumps(inputs, default=str).decode()
    return bool(_MARKER.search(text.replace('{"', " ").replace("{}", " "))) or any(word in text for word in _UNUSUAL)


def test_of(case: Case, app: App, assertions: Mapping[str, Assertion], *, expect: bool) -> dict[str, Any]:
    """One test. The case's id travels as a variable: results are joined by it. ``expect``: what is expected, too."""
    messages, inputs = question(case, app)
    return {
        "vars": {"case": case.id, "messages": messages, **({"expect": case.expect} if expect else {})},
        "assert": [{**assertion, "metric": name} for name, assertion in assertions.items()],
        "options": {
            "disableVarExpansion": True,
            **({"passthrough": {"inputs": inputs}} if inputs else {}),
        },
    }


def config_of(url: str, arms: Mapping[Variant, str], tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole config: ``arms`` maps a label to the name under which the gateway at ``url`` serves it."""
    providers = [
        {
            "id": f"openai:chat:{name}",
            "label": label,
            # Decoding is the app's: without its own defaults promptfoo sends none.
            "config": {"apiBaseUrl": f"{url}/v1", "apiKey": "none-is-asked", "omitDefaults": True},
        }
        for label, name in arms.items()
    ]
    return {"description": "Written by Signoff.", "prompts": ["{{messages}}"], "providers": providers, "tests": tests}
