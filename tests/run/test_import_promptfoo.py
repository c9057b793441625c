"""A promptfooconfig becomes a repository that ``signoff check`` accepts, and nothing of it is dropped in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from harness.cli import main
from harness.errors import UsageError
from harness.run.importing import Imported, import_promptfoo
from harness.run.importing.config_file import load_config
from harness.spec.prompts import load_prompt
from harness.spec.repository import load_repository

CONFIGS = Path(__file__).parent / "promptfoo_configs"
# Config -> apps, and how many assertions came over, came over otherwise and did not. Counted by hand.
EXPECTED = {
    "translate": (4, (3, 1, 1)),
    "support_csv": (2, (8, 2, 1)),
    "defaults": (1, (9, 0, 0)),
    "rag": (1, (1, 6, 1)),
    "extraction": (1, (5, 0, 1)),
    "summaries": (1, (15, 0, 2)),
    "thresholds": (1, (7, 2, 0)),
    "service": (2, (2, 1, 0)),
    "scenarios": (1, (7, 0, 0)),
    "programs": (1, (1, 0, 9)),
    "many": (3, (5, 0, 0)),
    "chat": (1, (1, 1, 5)),
}
FATES = ("imported", "imported otherwise", "not imported")


def config_of(name: str) -> Path:
    """The config in its folder."""
    return next((CONFIGS / name).glob("promptfooconfig.*"))


def imported(name: str, out: Path) -> Imported:
    """One of the configs, imported."""
    return import_promptfoo(config_of(name), out)


def read(out: Path, name: str) -> Any:
    """A YAML file of what was written."""
    return yaml.safe_load((out / name).read_text(encoding="utf-8"))


def cases(out: Path, app: str) -> list[dict[str, Any]]:
    """The cases of an app that was written."""
    lines = (out / "suites" / app / "cases/imported.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def test_every_config_is_expected() -> None:
    """The table knows all configs, and no other."""
    assert sorted(EXPECTED) == sorted(path.name for path in CONFIGS.iterdir())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_assertion_is_accounted_for(name: str, tmp_path: Path) -> None:
    """Each assertion is imported or listed with file, test and reason; the files are valid."""
    found = imported(name, tmp_path / "out")
    apps, counts = EXPECTED[name]
    assert (len(found.apps), tuple(found.assertions.get(fate, 0) for fate in FATES)) == (apps, counts)
    for fate, count in zip(FATES[1:], counts[1:], strict=True):
        of_it = [entry for entry in found.listed if entry.what.startswith("assertion ") and entry.fate == fate]
        assert len(of_it) == count
        assert all(entry.file and entry.test and entry.why for entry in of_it)
    record = orjson.loads((tmp_path / "out/imported.json").read_bytes())
    assert record["listed"] == found.as_dict()["listed"]
    assert sorted(found.files) == sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    load_repository(tmp_path / "out")


def test_prompts_are_the_same_texts(tmp_path: Path) -> None:
    """A prompt renders to the messages that promptfoo would send, chats and conditions included."""
    for name in ("support_csv", "extraction", "many", "chat"):
        imported(name, tmp_path / name)

    def rendered(config: str, app: str, **values: Any) -> list[tuple[str, str]]:
        prompt, problems = load_prompt(tmp_path / config / f"prompts/{app}/answer/1.0.0.prompty", tmp_path / config)
        assert prompt and not problems
        return [(message["role"], message["content"]) for message in prompt.render(values)]

    (message,) = rendered("support_csv", "support-answers", question="Why?", tier="new")
    assert message == ("user", "Answer the customer of our shop.\nWelcome them.\n\nCustomer: Why?")
    assert [role for role, _ in rendered("extraction", "orders-out-of-letters", letter="x", today="2026-01-31")] == [
        "system", "user", "assistant", "user",
    ]  # fmt: skip
    # A line "system:" of the prompt's own text begins no message.
    assert rendered("many", "many-files-3", q="x") == [("user", "# Task\n\nsystem:\nAnswer at length: x")]
    assert rendered("chat", "agents", name="Ann", message="hi", tags=["a", "b"])[1][1] == 'hi (["a", "b"], 2)'


def test_variables_fan_out_into_one_group(tmp_path: Path) -> None:
    """Tests made from lists of one test belong together, and values that name variables are filled in."""
    imported("summaries", tmp_path / "out")
    rows = cases(tmp_path / "out", "summaries")
    assert [row.get("group") for row in rows] == ["tests-1"] * 6 + [None]
    assert {row["expect"]["rouge-n"]["value"] for row in rows[:6]} == {"The cat sat on the mat.", "It rained all day."}
    suite = read(tmp_path / "out", "suites/summaries/suite.yaml")
    assert (suite["repeats"], suite["concurrency"], suite["deadline_s"]) == (3, 4, 45.0)


def test_defaults_are_merged(tmp_path: Path) -> None:
    """Assertions and variables of defaultTest reach every test that does not refuse them."""
    imported("defaults", tmp_path / "out")
    rows = cases(tmp_path / "out", "defaults-for-every-test")
    assert [sorted(row["expect"]) for row in rows] == [
        ["contains-all", "latency", "not-contains", "tests"],
        ["latency", "not-contains", "regex", "tests"],
        ["starts-with", "tests"],
        ["latency", "not-contains", "tests"],
    ]
    assert rows[0]["inputs"] == {"query": "Be brief. Who wrote Faust?", "system": "Be brief."}
    assert rows[0]["expect"]["contains-all"] == ["Goethe", "Johann"]
    assert rows[1]["inputs"]["system"] == "Shout." and rows[2]["expect"]["starts-with"] == "Be brief."
    assert read(tmp_path / "out", "models/mini/model.yaml")["api_key_env"] == "TEAM_KEY"


def test_cells_of_tables(tmp_path: Path) -> None:
    """A cell states type, threshold and value; a bare one is what the output must equal."""
    imported("support_csv", tmp_path / "out")
    expect = {row["note"] if "note" in row else row["inputs"]["question"]: row["expect"]
              for row in cases(tmp_path / "out", "support-answers")}  # fmt: skip
    assert expect["tracking"]["icontains-any"] == ["parcel", "track, and trace"]
    assert expect["tracking"]["latency"]["threshold"] == 2000
    assert expect["What does it cost?"]["regex"] == r"[0-9]+ ?(EUR|€)"
    assert expect["Say hello"]["equals"] == "Hello!"
    slices = {name for row in cases(tmp_path / "out", "support-answers") for name in row["slices"]}
    assert slices == {"area-billing", "area-delivery", "area-small-talk", "area-stock"}


def test_thresholds_and_weights_stay_with_the_whole_test(tmp_path: Path) -> None:
    """A test with a threshold keeps it, weights included; a weight of nothing requires nothing."""
    imported("thresholds", tmp_path / "out")
    first, second, third, _ = (row["expect"] for row in cases(tmp_path / "out", "weights-and-thresholds"))
    assert first["tests"]["threshold"] == 0.6
    assert [rule.get("weight", 1) for rule in first["tests"]["assert"]] == [3, 1, 0]
    assert second["assert-set"] == {
        "type": "assert-set",
        "assert": [{"type": "contains", "value": "a"}, {"type": "equals", "value": "b"}],
        "threshold": 0.5,
    }
    assert second["cost"]["config"] == {"input": 1e-6, "output": 1e-6}
    assert "threshold" not in third["tests"]
    gates = read(tmp_path / "out", "suites/weights-and-thresholds/gates.yaml")["gates"]
    assert {gate["metric"] for gate in gates if gate.get("required", True)} == {"tests"}


def test_services_become_http_steps(tmp_path: Path) -> None:
    """The body is a template over the inputs, the key stays in its variable, a walk into the answer is a JSONPath."""
    imported("service", tmp_path / "out")
    (step,) = read(tmp_path / "out", "suites/our-own-service/app.yaml")["steps"]
    assert step["body"] == {"text": "{{ inputs.message }}", "lang": "en"}
    assert (step["token_env"], step["result"], step["headers"]) == ("SHOP_TOKEN", "$.answer.text", {"X-Team": "shop"})
    (row, _) = cases(tmp_path / "out", "our-own-service-2")
    assert row["inputs"] == {"prompt": 'Where is "my" parcel?'}


def test_scenarios_multiply(tmp_path: Path) -> None:
    """Every row of a scenario meets every test of it; references and anchors are resolved."""
    imported("scenarios", tmp_path / "out")
    rows = cases(tmp_path / "out", "scenarios")
    assert [row["inputs"]["language"] for row in rows] == ["German", "Spanish", "Spanish", "French", "French"]
    assert rows[1]["expect"]["icontains"] == "Hola" and rows[3]["expect"]["icontains"] == "Bonjour"
    assert rows[1]["slices"] == ["language-es"]


def test_tests_keep_to_their_prompts_and_providers(tmp_path: Path) -> None:
    """A test that names a prompt or a provider is a case of those apps only."""
    found = imported("many", tmp_path / "out")
    assert dict(found.apps) == {"many-files": 3, "many-files-2": 4, "many-files-3": 5}
    assert [row["inputs"]["q"] for row in cases(tmp_path / "out", "many-files")] == ["first", "second", "user:\nforged"]


def test_no_key_is_copied(tmp_path: Path) -> None:
    """A key that stands in the config stands in no file that was written."""
    file = tmp_path / "promptfooconfig.yaml"
    file.write_text(
        "prompts: ['{{q}}']\n"
        "providers: [{id: 'openai:chat:m', config: {apiKey: sk-very-secret}}]\n"
        "tests: [{vars: {q: hi}, assert: [{type: contains, value: hi}]}]\n",
        encoding="utf-8",
    )
    found = import_promptfoo(file, tmp_path / "out")
    assert any(entry.what == "apiKey" for entry in found.listed)
    assert not any(b"very-secret" in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


GOOD = """\
prompts: ['{{q}}']
providers: ['openai:chat:m']
tests: [{vars: {q: hi}, assert: [{type: contains, value: hi}]}]
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"prompts: [\n", "promptfooconfig.yaml:2 is not valid yaml"),
        (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as UTF-8"),
        (b"a\0b", "holds zero bytes"),
        (b"- 1\n", "holds list, not the mapping"),
        (b"", "holds NoneType, not the mapping"),
        (b"prompts: ['{{q}}']\n", "holds no provider that can be imported"),
        (GOOD.replace("'{{q}}'", "'{% if %}'").encode(), "holds no prompt that can be imported"),
        (GOOD.replace("tests: [", "tests: file://none.csv\nx: [").encode(), "no file 'none.csv' beside the config"),
        (GOOD.replace("contains", "javascript").encode(), "no assertion of prompts[1]"),
        (b"a: &a [*a]\n", "lie more than 100 levels deep"),
        (b"x: {$ref: '#/y/z'}\n", "'#/y/z' leads nowhere"),
    ],
)
def test_unusable_configs(tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is named, with exit 64, and nothing is written."""
    file = tmp_path / "promptfooconfig.yaml"
    file.write_bytes(content)
    assert main(["import", "promptfoo", str(file), "--out", str(tmp_path / "out")]) == 64
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["promptfooconfig.yaml"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("q,__expected\nhi\n", "tests.csv:2 has 1 columns, the header has 2"),
        ("q,q\nhi,ho\n", "tests.csv:1: a column has no name or the name of another"),
        ("q,__expect_typo\nhi,ho\n", "tests.csv"),
        ("q,__surprise\nhi,ho\n", "column '__surprise' is none that promptfoo knows"),
        ("q,__config:__expected0:threshold\nhi,1\n", "must read __config:__expected<N>:threshold"),
        ("q,__expected\n", "has no row below its header"),
        ('q,__expected\nhi,"contains-any: ""open"\n', "is never closed"),
    ],
)
def test_unusable_tables(tmp_path: Path, table: str, said: str) -> None:
    """A table with wrong columns is named with its line."""
    (tmp_path / "tests.csv").write_text(table, encoding="utf-8")
    file = tmp_path / "promptfooconfig.yaml"
    file.write_text(GOOD.split("tests:")[0] + "tests: file://tests.csv\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        import_promptfoo(file, tmp_path / "out")
    assert said in str(caught.value)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is overwritten and nothing is lost; a file and a link are refused too."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target, said in ((out, "is not empty (mine.txt)"), (out / "mine.txt", "is no folder"),
                         (tmp_path / "link", "is no folder")):  # fmt: skip
        assert main(["import", "promptfoo", str(config_of("translate")), "--out", str(target)]) == 64
        assert said in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine.txt"] and (out / "mine.txt").read_text() == "mine"


def test_command_prints_everything_that_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON both name each assertion that did not come over."""
    assert main(["import", "promptfoo", str(config_of("programs")), "--out", str(tmp_path / "a")]) == 0
    text = capsys.readouterr().out
    assert main(["import", "promptfoo", str(config_of("programs")), "--out", str(tmp_path / "b"), "--json"]) == 0
    listed = orjson.loads(capsys.readouterr().out)["listed"]
    assert len(listed) > 9
    for entry in listed:
        assert f"{entry['what']}: {entry['why']}"[:80] in text


def test_javascript_reads_yaml_otherwise(tmp_path: Path) -> None:
    """``yes`` and dates are texts, and a flow mapping may end in a question mark."""
    file = tmp_path / "c.yaml"
    file.write_text("a: {q: Why?, b: yes, c: 2026-01-31, d: true}\n", encoding="utf-8")
    assert load_config(file) == {"a": {"q": "Why?", "b": "yes", "c": "2026-01-31", "d": True}}


GRADED = """\
prompts: ['{{q}}']
providers: [@provider@]
defaultTest: {options: {provider: @grader@}}
tests: [{vars: {q: hi}, assert: [{type: llm-rubric, value: kind}, {type: contains, value: hi}]}]
"""
SERVICE = "{id: 'http://127.0.0.1:9/a', config: {body: {q: '{{q}}'}}}"


@pytest.mark.parametrize(
    ("provider", "grader", "model"),
    [
        ("'openai:chat:small'", "'openai:chat:large'", "large"),
        ("'openai:chat:small'", "{text: {id: 'openai:chat:large'}}", "large"),
        ("'openai:chat:small'", "'google:palm'", "palm"),
        ("'openai:chat:small'", "null", "small"),
        (SERVICE, "'openai:chat:large'", "large"),
        (SERVICE, "'python:judge.py'", None),
    ],
)
def test_who_judges(tmp_path: Path, provider: str, grader: str, model: str | None) -> None:
    """The config's grader judges, else the app's own model; where there is neither, the assertion is listed."""
    file = tmp_path / "promptfooconfig.yaml"
    file.write_text(GRADED.replace("@provider@", provider).replace("@grader@", grader), encoding="utf-8")
    found = import_promptfoo(file, tmp_path / "out", "desk")
    judge = tmp_path / "out/suites/desk/judges/rubric/judge.yaml"
    if model is None:
        assert not judge.exists() and any("no model could judge" in entry.why for entry in found.listed)
        return
    assert yaml.safe_load(judge.read_text(encoding="utf-8"))["model"] == model
    assert (tmp_path / "out/models" / model / "model.yaml").is_file()
