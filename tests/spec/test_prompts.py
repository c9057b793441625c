"""Prompt files: strict loading, sandboxed rendering, no smuggled roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.prompts import PromptInputError, load_prompt
from tests.conftest import Tree

_FILE = Path(__file__).parent / "prompt_vectors.yaml"
VECTORS: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
GOOD = """\
---
name: s
metadata: {version: 1.0.0}
inputs:
  q: {kind: string}
---
system:
Be kind.
user:
{{ q }}
"""


def _load(tree: Tree, text: str) -> Any:
    root = tree({})
    file = root / "prompts" / "a" / "s" / "1.0.0.prompty"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return load_prompt(file, root)


@pytest.mark.parametrize("vector", VECTORS, ids=[v["description"] for v in VECTORS])
def test_vectors(tree: Tree, vector: dict[str, Any]) -> None:
    """Each vector loads to its messages, or to its problems, or refuses its values."""
    prompt, problems = _load(tree, vector["file"])
    if "problems" in vector:
        shown = [f"{p.line}: {p.message}" for p in problems]
        assert all(any(part in line for line in shown) for part in vector["problems"]), shown
        assert len(shown) == len(vector["problems"]), shown
        return
    assert not problems
    if "refused" in vector:
        with pytest.raises(PromptInputError, match=vector["refused"]):
            prompt.render(vector["values"])
        return
    assert [[m["role"], m["content"]] for m in prompt.render(vector["values"])] == vector["messages"]


def test_digest_ignores_line_ends_and_follows_content(tree: Tree, tmp_path: Path) -> None:
    """CRLF and LF give one digest; another word gives another."""
    root = tree({})
    digests = []
    for number, text in enumerate((GOOD, GOOD.replace("\n", "\r\n"), GOOD.replace("kind.", "brief."))):
        file = root / str(number) / "prompts" / "a" / "s" / "1.0.0.prompty"
        file.parent.mkdir(parents=True)
        file.write_bytes(text.encode())
        prompt, problems = load_prompt(file, root)
        assert not problems
        assert prompt is not None
        digests.append(prompt.digest)
    assert digests[0] == digests[1] != digests[2]


@given(st.text())
def test_no_value_makes_a_message(value: str) -> None:
    """Whatever a value holds, the prompt's own roles are all there are, or the value is refused."""
    from harness.spec.prompts import FrontMatter, Prompt

    front = FrontMatter.model_validate({"name": "s", "metadata": {"version": "1.0.0"}, "inputs": {"q": {}}})
    prompt = Prompt("a/s/1.0.0", "p", front, "system:\nBe kind.\nuser:\nQ: {{ q }}\n")
    try:
        messages = prompt.render({"q": value})
    except PromptInputError:
        return
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[1]["content"].startswith("Q:")
