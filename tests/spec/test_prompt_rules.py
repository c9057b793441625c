"""Steps that choose their prompt version: what a file may say, and what the app's digest holds of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from harness.errors import UsageError
from harness.spec.apps import App, LlmStep
from harness.spec.prompt_rules import Branch
from harness.spec.repository import load_repository
from harness.spec.schemas import schemas
from tests.run.project import Project
from tests.run.ruled import APP, RULES, ruled_project

GOLD = {"name": "gold", "when": "inputs.tier == 'gold'", "use": "a/b/1.1.0"}


def app(*rules: dict[str, Any], otherwise: Any = "a/b/1.0.0", **more: Any) -> App:
    """An app whose only model step chooses by ``rules``."""
    step = {"id": "say", "kind": "llm", "model": "m", "prompt": {"choose": list(rules), "else": otherwise}, **more}
    find = {"id": "find", "kind": "function", "function": "f.py:f"}
    inputs = {"message": {"from": "user_message"}, "tier": {}}
    return App.model_validate({"name": "desk", "inputs": inputs, "steps": [step, find], "output": "steps.say.output"})


def test_first_match_wins() -> None:
    """Rules are asked in their order; who meets none gets ``else``."""
    step = app(GOLD, {"name": "any", "when": "inputs.tier != ''", "use": "a/b/1.2.0"}).step("say")
    assert isinstance(step, LlmStep) and not isinstance(step.prompt, str)
    assert step.prompt.pick(lambda text: True) == Branch("gold", "a/b/1.1.0", GOLD["when"])
    assert step.prompt.pick(lambda text: "!=" in text).prompt == "a/b/1.2.0"
    assert step.prompt.pick(lambda text: False) == Branch("else", "a/b/1.0.0")
    assert step.prompts == ("a/b/1.1.0", "a/b/1.2.0", "a/b/1.0.0")


def test_steps_in_rules_come_first() -> None:
    """A rule that reads another step's result waits for it."""
    made = app(GOLD, {**GOLD, "name": "found", "when": "steps.find.output == 1"})
    assert made.order() == (("find",), ("say",))


def test_rule_may_not_read_its_own_step() -> None:
    """A step cannot choose its prompt by its own answer."""
    with pytest.raises(ValidationError, match="depend on each other in a circle"):
        app({**GOLD, "when": "steps.say.output == 1"})


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([GOLD, {**GOLD, "when": "inputs.tier == 'x'"}], "rule name 'gold' stands twice"),
        ([{**GOLD, "name": "else"}], "rule name 'else' stands twice"),
        ([GOLD, {**GOLD, "name": "vip", "when": 'inputs.tier=="gold"'}], "rule 'vip' never matches: 'gold' asks"),
        ([{**GOLD, "when": "true"}], "rule 'gold' reads nothing of the request"),
        ([{**GOLD, "when": "inputs.teir"}], "no input 'teir'; declared inputs: message, tier"),
        ([{**GOLD, "when": "steps.q.output"}], "refers to step 'q'; known steps: say, find"),
        ([{**GOLD, "when": ""}], "at least 1 character"),
        ([{**GOLD, "use": "a/b/newest"}], "should match pattern"),
        ([{**GOLD, "name": "Gold Mail"}], "should match pattern"),
        ([{**GOLD, "colour": "red"}], "Extra inputs are not permitted"),
        ([{"when": "inputs.tier", "use": "a/b/1.1.0"}], "name"),
        ([], "at least 1 item"),
    ],
)
def test_rules_that_cannot_work_are_refused(rules: list[dict[str, Any]], said: str) -> None:
    """Twice the same, never, always, and names that do not exist."""
    with pytest.raises(ValidationError, match=said.replace("'", "['\"]")):
        app(*rules)


def test_rules_need_an_else() -> None:
    """Every request must find a prompt."""
    with pytest.raises(ValidationError, match="else"):
        app(GOLD, otherwise=None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An app that chooses among three versions."""
    return ruled_project(tmp_path, "http://127.0.0.1:9")


def test_editors_know_both_forms() -> None:
    """The JSON Schema takes a version and rules, and underlines rules without an else or with another key."""
    schema = jsonschema.Draft202012Validator(schemas()["app"])
    plain = APP.replace(f"    prompt:\n{RULES}      else: desk/sort/1.0.0\n", "    prompt: desk/sort/1.0.0\n")
    assert schema.is_valid(yaml.safe_load(APP)) and schema.is_valid(yaml.safe_load(plain))
    assert not schema.is_valid(yaml.safe_load(APP.replace("else: ", "otherwise: ")))
    assert not schema.is_valid(yaml.safe_load(APP.replace("use: ", "take: ")))
    assert not schema.is_valid(yaml.safe_load(plain.replace("desk/sort/1.0.0", "desk/sort/newest")))


def said_of(project: Project) -> str:
    """What is wrong with the files."""
    with pytest.raises(UsageError) as raised:
        load_repository(project.root)
    return str(raised.value)


def test_every_mistake_is_said_with_its_line(project: Project) -> None:
    """Unknown names and rules that never match come together, each with the line that it stands on."""
    rules = RULES.replace("inputs.tier == 'gold'", "inputs.teir == 'gold'").replace("context.length", "context.size")
    rules += '      - {name: gold, when: "inputs.tier", use: desk/sort/1.0.0}\n'
    project.write({"suites/desk/app.yaml": APP.replace(RULES, rules)})
    text = (project.root / "suites/desk/app.yaml").read_text(encoding="utf-8").splitlines()
    line = {word: 1 + next(i for i, row in enumerate(text) if word in row) for word in ("teir", "size")}
    said = said_of(project)
    assert f"app.yaml:{line['teir']}: step 'sort' when: no input 'teir'" in said
    assert f"app.yaml:{line['size']}: step 'sort' when: context has no 'size'" in said
    assert f"app.yaml:{line['size'] + 1}: step 'sort' rule name 'gold' stands twice" in said


def test_unknown_version_is_said_with_its_line(project: Project) -> None:
    """A rule or an else that names no prompt is found, with what there is."""
    project.edit("suites/desk/app.yaml", "use: desk/sort/1.1.0", "use: desk/sort/9.0.0")
    project.edit("suites/desk/app.yaml", "else: desk/sort/1.0.0", "else: desk/other/1.0.0")
    said = said_of(project)
    assert "app.yaml:12: step 'sort': no prompt 'desk/sort/9.0.0'; there are: desk/sort/1.0.0, desk/sort/1.1.0" in said
    assert "app.yaml:14: step 'sort': no prompt 'desk/other/1.0.0'; there are: none" in said


def test_versions_may_read_different_inputs(project: Project) -> None:
    """What one version reads is bound for all; what none reads, or one misses, is an error."""
    load_repository(project.root)
    project.edit("suites/desk/app.yaml", "tier: inputs.tier}", "tier: inputs.tier, mood: inputs.tier}")
    assert "step 'sort' binds 'mood'; prompt desk/sort/1.1.0 declares message" in said_of(project)
    project.edit("suites/desk/app.yaml", "tier: inputs.tier, mood: inputs.tier}", "}")
    assert "does not bind input 'tier', which prompt desk/sort/1.2.0 requires" in said_of(project)


def test_absent_language_package_is_an_error_of_the_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that needs the package is named before anything runs; rules that do not need it go on."""
    monkeypatch.setattr("harness.spec.language.installed", lambda: False)
    load_repository(project.root)
    project.edit("suites/desk/app.yaml", "context.length > 40", "context.language == 'de'")
    assert "app.yaml:13: step 'sort': context.language needs the package py3langid" in said_of(project)


def digest(project: Project) -> str:
    """The app's digest."""
    return load_repository(project.root).apps["desk"].digest


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        (lambda p: p.edit("prompts/desk/sort/1.0.0.prompty", "Sort this", "Sort that"), True),
        (lambda p: p.edit("prompts/desk/sort/1.1.0.prompty", "Sort carefully", "Sort well"), True),
        (lambda p: p.edit("suites/desk/app.yaml", "> 40", "> 41"), True),
        (lambda p: p.edit("suites/desk/app.yaml", "use: desk/sort/1.1.0", "use: desk/sort/1.2.0"), True),
        (lambda p: p.edit("suites/desk/app.yaml", "else: desk/sort/1.0.0", "else: desk/sort/1.1.0"), True),
        (lambda p: p.edit("suites/desk/app.yaml", "name: long", "name: lengthy"), False),
        (lambda p: p.edit("suites/desk/app.yaml", RULES, "".join(RULES.splitlines(keepends=True)[:1])
                          + "".join(reversed(RULES.splitlines(keepends=True)[1:]))), True),
    ],
    ids=["else's text", "a rule's text", "condition", "version", "else", "name", "order"],
)  # fmt: skip
def test_digest_covers_rules_and_every_version(
    project: Project, change: Callable[[Project], None], moves: bool
) -> None:
    """Whatever may change an answer moves the digest: each version, each condition and their order, not a name."""
    before = digest(project)
    change(project)
    assert (digest(project) != before) is moves


def test_plain_version_is_not_the_rule_that_gives_it(project: Project) -> None:
    """A step with one version and a step with rules are different apps, and both load."""
    before = digest(project)
    prompt = f"    prompt:\n{RULES}      else: desk/sort/1.0.0\n"
    project.edit("suites/desk/app.yaml", prompt, "    prompt: desk/sort/1.2.0\n")
    assert digest(project) != before
