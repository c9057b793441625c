"""Prompts of a promptfoo config as bodies of prompt files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta

from harness.run.importing.config_file import Folder, Unreadable, is_code, load_data, load_text
from harness.run.importing.record import Ledger
from harness.run.importing.rendering import jinja, protected
from harness.spec.prompts import environment

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_SEPARATOR = "\n---\n"


@dataclass(frozen=True, slots=True)
class ImportedPrompt:
    """A prompt's label, its body for a prompt file, and the variables that the body names."""

    label: str
    body: str
    variables: tuple[str, ...]

    def chosen_by(self, names: Sequence[str]) -> bool:
        """Whether a test that names prompts means this one; a name may end in ``*``."""
        return not names or any(
            self.label == name or (name.endswith("*") and self.label.startswith(name[:-1])) for name in names
        )


def read_prompts(config: Mapping[str, Any], folder: Folder, ledger: Ledger) -> list[ImportedPrompt]:
    """The prompts that could be taken over; the others are listed."""
    given = config.get("prompts") or []
    items = given if isinstance(given, list) else [given]
    if isinstance(given, Mapping):
        items = [{"raw": raw, "label": label} for raw, label in given.items()]
    made = []
    for number, item in enumerate(items, start=1):
        place = f"prompts[{number}]"
        try:
            for label, text in _texts(item, folder):
                made.append(_prompt(label or place, text))
        except Unreadable as error:
            ledger.lost("prompt", str(error), place)
    return made


def _texts(item: Any, folder: Folder) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Mapping):
        raw = item.get("raw", item.get("id"))
        if raw is None or "function" in item:
            raise Unreadable("a prompt needs 'raw' or a file; functions are not run")
        label = str(item.get("label") or item.get("id") or "")
        yield from ((label or own, text) for own, text in _texts(raw, folder))
    elif isinstance(item, list):
        yield "", item
    elif not isinstance(item, str):
        raise Unreadable(f"a prompt is a text or a file, not {type(item).__name__}")
    elif _names_a_file(item, folder):
        if is_code(item):
            raise Unreadable(f"{item} is a program that writes the prompt; an import does not run it")
        for file in folder.find(item):
            yield from ((folder.shown(file), text) for text in _in_file(file))
    else:
        yield "", item


def _names_a_file(text: str, folder: Folder) -> bool:
    if text.startswith("file://"):
        return True
    one_line = "\n" not in text and "{{" not in text and len(text) < 200
    suffix = Path(text).suffix in {".txt", ".json", ".yaml", ".yml", ".md", ".j2", ".jsonl", ".csv"} or is_code(text)
    return one_line and suffix and (" " not in text or (folder.path / text).is_file())


def _in_file(file: Path) -> list[Any]:
    if file.suffix in {".yaml", ".yml", ".json"}:
        text = load_text(file)
        try:
            data = load_data(file)
        except Unreadable:
            # A template may only become JSON or YAML once its variables are filled in.
            return [text]
        return [data] if isinstance(data, list) else [text]
    if file.suffix in {".jsonl", ".csv"}:
        raise Unreadable(f"{file.name}: prompts in {file.suffix[1:]} are not imported; write each to a file")
    return [part.strip("\n") for part in load_text(file).split(_SEPARATOR) if part.strip()]


def _prompt(label: str, text: Any) -> ImportedPrompt:
    messages = text if isinstance(text, list) else _chat(text)
    body = f"user:\n{protected(jinja(str(text)))}" if messages is None else "\n".join(_message(m) for m in messages)
    try:
        names = jinja2.meta.find_undeclared_variables(environment().parse(body))
    except jinja2.TemplateSyntaxError as error:
        raise Unreadable(f"its template is not Jinja's: {error.message}") from error
    if odd := sorted(name for name in names if name in {"env", "_conversation"}):
        raise Unreadable(f"it reads {odd[0]!r}, which only promptfoo fills in")
    return ImportedPrompt(label if len(label) <= 80 else label[:80], body.rstrip() + "\n", tuple(sorted(names)))


def _chat(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        data = json.loads(text)
    except ValueError:
        if '"role"' in text:
            raise Unreadable("its messages are JSON only once rendered; write them as a list in YAML") from None
        return None
    return data if isinstance(data, list) and all(isinstance(m, Mapping) and "role" in m for m in data) else None


def _message(message: Any) -> str:
    role = _ROLES.get(str(message.get("role"))) if isinstance(message, Mapping) else None
    if role is None:
        raise Unreadable(f"a message has the role {message.get('role')!r}; taken over are {', '.join(_ROLES)}")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part["text"]) for part in content)
    if not isinstance(content, str):
        raise Unreadable(f"a message of the role {role} holds more than text")
    return f"{role}:\n{protected(jinja(content))}"
