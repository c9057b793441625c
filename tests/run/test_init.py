"""``signoff init`` writes a repository whose gate gives a first verdict at once, without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from harness.cli import main
from harness.run.check import warnings_of
from harness.run.init.build import workflows
from harness.run.init.examples import read_examples
from harness.run.init.infer import infer
from harness.spec.repository import load_repository
from tests.run.project import ROOT, Project, Reply, Stub, reply, serving
from tests.run.test_import_promptfoo import config_of

BAD = (
    "broken",
    "tore",
    "nothing for",
    "lied",
    "never",
    "poor",
    "washed",
    "wrong",
    "failed",
    "refund.",
    "salty",
    "too many",
)


def endpoint(body: Any) -> Reply:
    """A model that knows the shipped examples' task, talks at length about anything else, and keeps to its limits."""
    if body is None:
        return reply({"object": "list", "data": [{"id": "small", "object": "model"}]})
    text = str(body["messages"][-1]["content"])
    asked = "exactly one of these words" in str(body["messages"][0]["content"])
    answer = "negative" if any(word in text.lower() for word in BAD) else "positive"
    words = re.findall(r"\s*\S+", answer if asked else " ".join(f"word{number}" for number in range(60)))
    said = words[: body.get("max_tokens") or 100]
    read = sum(len(str(message["content"]).split()) + 4 for message in body["messages"])
    usage = {"prompt_tokens": read, "completion_tokens": len(said), "total_tokens": read + len(said)}
    end = "stop" if said == words else "length"
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(said)}, "finish_reason": end}
    return reply({"id": "x", "object": "chat.completion", "model": "small", "choices": [choice], "usage": usage})


@pytest.fixture
def stub() -> Iterator[Stub]:
    """The endpoint, running."""
    with serving(endpoint) as running:
        yield running


def rows_file(folder: Path, rows: list[Any]) -> Path:
    """Examples in a file."""
    file = folder / "examples.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return file


def labelled(count: int = 60) -> list[dict[str, str]]:
    """Examples of a task with two labels."""
    return [
        {"message": f"It arrived {'broken' if n % 2 else 'early'} ({n})", "label": "negative" if n % 2 else "positive",
         "category": "odd" if n % 2 else "even"}
        for n in range(count)
    ]  # fmt: skip


def created(*args: str) -> int:
    """The command's exit code."""
    return main(["init", *args])


def test_first_verdict_for_an_endpoint(tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Init, commit, gate: the level passes, and what compares waits for a baseline; the next version is compared."""
    out = tmp_path / "shop-bot"
    examples = rows_file(tmp_path, labelled())
    assert created(str(out), "--endpoint", f"{stub.url}/v1", "--model", "small", "--examples", str(examples)) == 0
    said = capsys.readouterr()
    assert "every expectation is one of 2 labels" in said.out and "does not answer" not in said.err
    project = Project(out)
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit("first")
    assert project.run("gate") == 0
    verdicts = {gate["id"]: gate["verdict"] for gate in project.file("verdict.json")["gates"]}
    assert verdicts == {"right-level": "pass", "right-kept": "not_applicable", "answered-level": "pass"}
    project.branch()
    text = (out / "prompts/shop-bot/answer/1.0.0.prompty").read_text(encoding="utf-8")
    new = text.replace("version: 1.0.0", "version: 1.1.0").replace("{{ message }}", "Customer says: {{ message }}")
    project.write({"prompts/shop-bot/answer/1.1.0.prompty": new})
    project.edit("suites/shop-bot/app.yaml", "answer/1.0.0", "answer/1.1.0")
    assert project.run("gate") == 0
    assert project.gate_named("right-kept")["verdict"] == "pass"


def test_nothing_of_it_needs_torch(tmp_path: Path, stub: Stub) -> None:
    """Init and the first gate import neither torch nor transformers."""
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft', 'llguidance', 'datasets')))\n"
        "from harness.cli import main\n"
        f"assert main(['init', {str(tmp_path / 'a')!r}, '--endpoint', {stub.url + '/v1'!r}, '--model', 'small']) == 0\n"
        f"raise SystemExit(main(['gate', '--root', {str(tmp_path / 'a')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.network
def test_in_an_environment_without_torch(tmp_path: Path, stub: Stub) -> None:
    """A fresh environment with the base package alone gives the first verdict, by the commands that a person types."""
    env = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(env)], check=True)
    pip = [str(env / "bin/python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
    subprocess.run(pip, check=True)
    have = subprocess.run([*pip[:3], "list"], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in have and "transformers" not in have
    signoff = str(env / "bin/signoff")
    out = tmp_path / "bot"
    for command in (["init", str(out), "--endpoint", f"{stub.url}/v1", "--model", "small"], ["check"], ["gate"],
                    ["doctor"]):  # fmt: skip
        done = subprocess.run(
            [signoff, *command], cwd=out if out.exists() else tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_endpoint_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said, the files are kept, and the gate says it too, with exit code 3."""
    with serving(endpoint) as running:
        url = running.url
    assert created(str(tmp_path / "a"), "--endpoint", f"{url}/v1", "--model", "m") == 0
    assert "does not answer" in capsys.readouterr().err
    assert (tmp_path / "a/suites/a/app.yaml").is_file()
    assert main(["gate", "--root", str(tmp_path / "a")]) == 3


def test_a_key_that_is_not_set_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is named; its value is in no file and no message."""
    with serving(lambda body: reply({"error": {"message": "no"}}, 401)) as running:
        args = ("--endpoint", f"{running.url}/v1", "--model", "m", "--api-key-env", "TEAM_KEY")
        assert created(str(tmp_path / "a"), *args) == 0
        assert "set the environment variable TEAM_KEY" in capsys.readouterr().err
        assert not running.asked
        monkeypatch.setenv("TEAM_KEY", "very-secret")
        assert created(str(tmp_path / "b"), *args) == 0
    said = capsys.readouterr()
    assert "refuses the key (HTTP 401)" in said.err and "very-secret" not in said.out + said.err
    assert not any(b"very-secret" in path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("rows", "kinds", "deciding"),
    [
        (labelled(12), ["label_match", "length"], "right"),
        ([{"input": f"{n} + 1", "expected": n + 1} for n in range(9)], ["numeric", "length"], "right"),
        ([{"question": "Capital?", "answer": f"City {n}"} for n in range(9)], ["contains", "length"], "right"),
        ([{"q": 1, "input": "x", "expected": ["a", "b"]}], ["contains_all", "length"], "right"),
        ([{"input": "x", "expected": {"item": "hat", "count": n}} for n in range(9)],
         ["equals", "json_valid", "field_match", "field_match", "length"], "right"),
        ([{"input": "x", "expected": "a long answer that nobody knows, word by word"}], ["rouge", "length"], "near"),
        ([{"input": "x"}], ["length", "refusal"], "answered"),
        ([{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
                        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                        {"role": "assistant", "content": "yes" if n % 2 else "no"}]} for n in range(8)],
         ["label_match", "length"], "right"),
        ([{"input": "x", "expected": n % 2 == 0} for n in range(8)], ["label_match", "length"], "right"),
    ],
)  # fmt: skip
def test_checks_fit_the_examples(tmp_path: Path, rows: list[Any], kinds: list[str], deciding: str) -> None:
    """The kind of what is expected chooses the checks, and the files are valid."""
    inferred = infer(read_examples(rows_file(tmp_path, rows)))
    assert [check["check"] for check in inferred.checks] == kinds and inferred.deciding == deciding
    out = tmp_path / "a"
    assert created(str(out), "--local", "--examples", str(tmp_path / "examples.jsonl")) == 0
    repository = load_repository(out)
    (suite,) = repository.suites.values()
    assert sum(len(file) for file in suite.case_files) == len(rows)
    assert any(gate.required and gate.metric in {deciding, "answered"} for gate in suite.gates)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 20, 60, 200])
def test_gates_fit_the_number_of_cases(tmp_path: Path, count: int) -> None:
    """No gate that is written could never pass."""
    rows = rows_file(tmp_path, labelled(count))
    assert created(str(tmp_path / "a"), "--local", "--examples", str(rows)) == 0
    assert warnings_of(load_repository(tmp_path / "a")) == []


def test_dialogues_keep_what_came_before(tmp_path: Path) -> None:
    """A dialogue's earlier turns reach the prompt, and only the system's words are left out."""
    rows = [{"messages": [{"role": "user", "content": f"first {n}"}, {"role": "assistant", "content": "reply"},
                          {"role": "user", "content": "last"}], "expected": "x"} for n in range(3)]  # fmt: skip
    assert created(str(tmp_path / "a"), "--local", "--examples", str(rows_file(tmp_path, rows))) == 0
    repository = load_repository(tmp_path / "a")
    prompt = repository.apps["a"].prompts["a/answer/1.0.0"]
    history = [{"role": "user", "content": "first 0"}, {"role": "assistant", "content": "reply"}]
    text = prompt.render({"message": "last", "history": history})[-1]["content"]
    assert "user said: first 0" in text and "assistant said: reply" in text and text.endswith("last")


def test_a_promptfooconfig_as_the_beginning(tmp_path: Path, stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """The config's suite with another endpoint, and everything around it."""
    out = tmp_path / "a"
    args = ("--promptfoo", str(config_of("support_csv")), "--endpoint", f"{stub.url}/v1", "--model", "small")
    assert created(str(out), *args) == 0
    assert "not imported" in capsys.readouterr().out
    model = yaml.safe_load((out / "models/gpt-4o/model.yaml").read_text(encoding="utf-8"))
    assert (model["base_url"], model["model_id"], model["name"]) == (f"{stub.url}/v1", "small", "gpt-4o")
    assert (out / "imported.json").is_file() and (out / ".github/workflows/pull-request.yml").is_file()


def test_load_and_probes_only_if_asked(tmp_path: Path) -> None:
    """The optional files are valid, and absent otherwise."""
    assert created(str(tmp_path / "a"), "--local", "--load", "--probes", "--app", "Shop Bot") == 0
    suite = load_repository(tmp_path / "a").suites["shop-bot"]
    assert suite.load and suite.probes
    assert created(str(tmp_path / "b"), "--local") == 0
    assert not (tmp_path / "b/suites/b/load.yaml").exists() and not (tmp_path / "b/suites/b/probes.yaml").exists()


def test_workflows_are_those_that_ship(tmp_path: Path) -> None:
    """Every workflow of the package is copied as it is; it fetches the whole history and pins what it uses."""
    assert created(str(tmp_path / "a"), "--local") == 0
    shipped = workflows()
    assert ".github/workflows/pull-request.yml" in shipped
    for name, text in shipped.items():
        assert (tmp_path / "a" / name).read_text(encoding="utf-8") == text
        assert "permissions" in yaml.safe_load(text)
        uses = re.findall(r"uses: (\S+)@(\S+)", text)
        assert uses and all(re.fullmatch(r"[0-9a-f]{40}", commit) for _, commit in uses)
        assert "fetch-depth: 0" in text


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "say what answers: --endpoint URL --model ID, --local, or --promptfoo FILE"),
        (["--endpoint", "http://x/v1"], "--endpoint needs --model"),
        (["--model", "m"], "--model needs --endpoint"),
        (["--local", "--endpoint", "http://x/v1", "--model", "m"], "exclude each other"),
        (["--local", "--examples", "a", "--promptfoo", "b"], "--examples and --promptfoo exclude each other"),
        (["--local", "--api-key-env", "X"], "belongs to --endpoint"),
        (["--endpoint", "ftp://x", "--model", "m"], "ftp://x"),
        (["--local", "--examples", "nowhere.jsonl"], "nowhere.jsonl: No such file"),
        (["--promptfoo", "nowhere.yaml"], "no file nowhere.yaml"),
    ],
)
def test_unusable_options(tmp_path: Path, args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake on the command line is named, with exit 64, and nothing is written."""
    assert created(str(tmp_path / "a"), *args) == 64
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"input": "a"}\n{"input"\n', "examples.jsonl:2: not valid JSON"),
        (b'{"inptu": "a"}\n', "examples.jsonl:1: no text under any of input, message"),
        (b'["a"]\n', "examples.jsonl:1: expected an object such as"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}\n', "no message of the user"),
        (b'{"messages": [{"role": "user"}]}\n', "a message needs 'role' and a text 'content'"),
        (b"\n\n", "holds no row; a row is"),
        (b"\x89PNG\r\n\x1a\n\x00", "not valid JSON"),
    ],
)
def test_unusable_examples(tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every bad line is named with its number, and nothing is written."""
    file = tmp_path / "examples.jsonl"
    file.write_bytes(content)
    assert created(str(tmp_path / "a"), "--local", "--examples", str(file)) == 64
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is overwritten, nothing is added."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/README.md").write_text("mine", encoding="utf-8")
    assert created(str(tmp_path / "a"), "--local") == 64
    assert "is not empty (README.md)" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["README.md"]
    assert (tmp_path / "a/README.md").read_text(encoding="utf-8") == "mine"


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the apps, the files and what was inferred."""
    assert created(str(tmp_path / "a"), "--local", "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["apps"] == {"a": 24} and found["trouble"] == ""
    on_disk = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert set(found["files"]) == on_disk
