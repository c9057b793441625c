"""The real promptfoo and what stands for it here say the same of the same outputs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from harness.evals.checks import Subject, Unscored
from harness.evals.promptfoo import judge, judge_all
from harness.evals.promptfoo.program import LOOKUPS, Order, Program, evaluate, find_program
from harness.run.importing import import_promptfoo
from tests.peers import programs
from tests.run.project import Project, Reply, reply, serving

pytestmark = pytest.mark.peer
pytest.importorskip("promptfoo", reason="the extra 'judges' is not installed")

OUTPUTS = (
    "Hello world",
    "hello, world!",
    "The cat sat on the mat.",
    "The cat sat on",
    "99 balloons",
    "the cat sat on a mat",
    "The cat's on the mat, isn't it?",
    '{"a": 1, "b": ["x"]}',
    '{"a": "1"}',
    'Sure: {"a": 1, "b": []} as you asked.',
    "[1, 2]",
    "true",
    "3",
    "3.0",
    "a\nb\nc",
    "I paid 30 EUR, or 30,5 €; see http://x.example/?q=1.",
    "Straße und Größe",
    "ÄÖÜ",
    "x",
    ".",
    "one two three four",
    'He said "no" -- then left...',
    "can't, won't; I'm gonna",
    "1,000 and 10:30",
    "END",
    "\u0663\u0664 items",
)
ASSERTIONS: tuple[dict[str, Any], ...] = (
    {"type": "equals", "value": "Hello world"},
    {"type": "equals", "value": 3},
    {"type": "equals", "value": True},
    {"type": "equals", "value": {"b": ["x"], "a": 1}},
    {"type": "equals", "value": [1, 2]},
    {"type": "contains", "value": "world"},
    {"type": "contains", "value": 30},
    {"type": "icontains", "value": "HELLO"},
    {"type": "icontains", "value": "straße"},
    {"type": "contains-any", "value": ["cat", "EUR"]},
    {"type": "contains-any", "value": 'a mat, "no"'},
    {"type": "contains-all", "value": ["cat", "mat"]},
    {"type": "icontains-any", "value": "END, ünd"},
    {"type": "icontains-all", "value": ["THE", "Mat"]},
    {"type": "starts-with", "value": "The"},
    {"type": "regex", "value": r"^\w+ \w+$"},
    {"type": "regex", "value": r"\d+ (EUR|€)"},
    {"type": "regex", "value": "a.b"},
    {"type": "regex", "value": r"[^\d]\bmat\b"},
    {"type": "regex", "value": r"(?<year>\d{2}):"},
    {"type": "regex", "value": r"b$"},
    {"type": "regex", "value": r"^\s*\{[\s\S]*\}\s*$"},
    {"type": "regex", "value": r"\d"},
    {"type": "is-json"},
    {"type": "is-json", "value": {"type": "object", "required": ["b"]}},
    {"type": "contains-json"},
    {"type": "contains-json", "value": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
    {"type": "levenshtein", "value": "Hello, world"},
    {"type": "levenshtein", "value": "x", "threshold": 1},
    {"type": "bleu", "value": "the cat sat on the mat."},
    {"type": "bleu", "value": ["a b c", "one two three four five"]},
    {"type": "gleu", "value": "The cat sat on the mat"},
    {"type": "rouge-n", "value": "The cat sat on the mat."},
    {"type": "rouge-n", "value": "The cat isn't on the mat", "threshold": 0.5},
    {"type": "rouge-n", "value": 'He said "no" -- then left...', "threshold": 0.9},
    {"type": "word-count", "value": 2},
    {"type": "word-count", "value": {"min": 3, "max": 6}},
    {"type": "word-count", "value": {"max": 1}},
)
SETS: tuple[dict[str, Any], ...] = (
    {
        "assert": [{"type": "contains", "value": "cat", "weight": 3}, {"type": "contains", "value": "x"}],
        "threshold": 0.7,
    },
    {"assert": [{"type": "contains", "value": "cat"}, {"type": "not-contains", "value": "mat", "weight": 0}]},
    {
        "assert": [
            {
                "type": "assert-set",
                "threshold": 0.5,
                "assert": [{"type": "contains", "value": "a"}, {"type": "contains", "value": "zz"}],
            }
        ]
    },
    {
        "assert": [{"type": "rouge-n", "value": "the cat sat", "weight": 2}, {"type": "icontains", "value": "THE"}],
        "threshold": 0.6,
    },
    {
        "assert": [
            {"type": "assert-set", "assert": [{"type": "contains", "value": "a"}]},
            {"type": "not-regex", "value": "cat"},
        ],
        "threshold": 0.5,
    },
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The installed promptfoo."""
    _, entry = programs.promptfoo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNOFF_PROMPTFOO", str(entry.parents[4]))
        return find_program(tmp_path_factory.mktemp("unused"))


def ruled(test: dict[str, Any], output: str) -> tuple[bool, float]:
    """Passed and score by our own rules."""
    subject = Subject(output)
    ruling = judge_all(test, subject) if "assert" in test else judge(test, subject)
    return ruling.passed, round(ruling.score, 6)


def test_rules_agree(program: Program, tmp_path: Path) -> None:
    """Each assertion, negated and not, and each set says of each output what promptfoo says, score included."""
    negated = tuple({**each, "type": f"not-{each['type']}"} for each in ASSERTIONS)
    asked = [*({"assert": [each]} for each in (*ASSERTIONS, *negated)), *SETS]
    tests = [
        {"vars": {"out": output, "key": f"{place}/{number}"}, "options": {"disableVarExpansion": True}, **test}
        for (place, test), (number, output) in itertools.product(enumerate(asked), enumerate(OUTPUTS))
    ]
    config = {"prompts": ["{{out}}"], "providers": ["echo"], "tests": tests}
    found = evaluate(program, Order(config, 8, 300.0), tmp_path)
    # It would report to its makers even that telemetry is off: nobody is asked for anything.
    assert set((tmp_path / LOOKUPS).read_text(encoding="utf-8").split()) == {"refused", "r.promptfoo.app"}
    theirs = {each["vars"]["key"]: each for each in found}
    assert len(theirs) == len(tests)
    apart = []
    for (place, test), (number, output) in itertools.product(enumerate(asked), enumerate(OUTPUTS)):
        result = theirs[f"{place}/{number}"]
        assert result["response"]["output"] == output
        said = (result["success"], round(result["score"], 6))
        try:
            own: Any = ruled(test, output)
        except Unscored as error:
            own = str(error)
        if own != said:
            apart.append((test, output, said, own))
    assert apart == [], f"{len(apart)} of {len(tests)}"


CONFIG = """\
description: Round trip
prompts: ["Say: {{text}}"]
providers: [{id: "openai:chat:parrot", config: {apiBaseUrl: "@url@/v1", temperature: 0, max_tokens: 200}}]
defaultTest:
  assert: [{type: not-icontains, value: forbidden}]
tests:
  - {vars: {text: [Hello world, "The cat sat on the mat."]}, assert: [{type: icontains, value: "{{text}}"}, {type: word-count, value: {max: 3}}]}
  - {vars: {text: '{"a":1}'}, assert: [{type: is-json}, {type: equals, value: {a: 1}}]}
  - {vars: {text: not json}, assert: [{type: is-json}]}
  - {vars: {text: a forbidden word}, assert: [{type: contains-any, value: "word, term"}]}
  - {vars: {text: weighted}, threshold: 0.6, assert: [{type: contains, value: weighted, weight: 3}, {type: contains, value: zebra}]}
  - {vars: {text: in a set}, assert: [{type: assert-set, threshold: 0.5, assert: [{type: equals, value: in a set}, {type: levenshtein, value: x}]}]}
  - {vars: {text: "The dog sat on the mat."}, assert: [{type: rouge-n, value: "The cat sat on the mat."}, {type: bleu, value: "The cat sat on the mat.", threshold: 0.9}]}
  - {vars: {text: "30 EUR"}, assert: [{type: regex, value: '^\\d+ EUR$'}, {type: latency, threshold: 60000}]}
"""  # noqa: E501


def parrot(body: Any) -> Reply:
    """A chat endpoint that says what stands behind 'Say: '."""
    if body is None:
        return reply({"object": "list", "data": [{"id": "parrot", "object": "model"}]})
    text = str(body["messages"][-1]["content"]).removeprefix("Say: ")
    words = re.findall(r"\s*\S+", text)
    said = words[: body.get("max_tokens") or 1000]
    usage = {"prompt_tokens": 5, "completion_tokens": len(said), "total_tokens": 5 + len(said)}
    message = {"role": "assistant", "content": "".join(said)}
    choice = {"index": 0, "message": message, "finish_reason": "stop" if said == words else "length"}
    return reply({"id": "x", "object": "chat.completion", "model": "parrot", "choices": [choice], "usage": usage})


def test_round_trip(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config judged by promptfoo, and the suite that it was imported as, pass and fail the same tests."""
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-asked")
    with serving(parrot) as stub:
        file = tmp_path / "promptfooconfig.yaml"
        file.write_text(CONFIG.replace("@url@", stub.url), encoding="utf-8")
        order = Order(yaml.safe_load(file.read_text(encoding="utf-8")), 2, 300.0, ("OPENAI_API_KEY",))
        (tmp_path / "run").mkdir()
        theirs = {each["vars"]["text"]: each["success"] for each in evaluate(program, order, tmp_path / "run")}
        found = import_promptfoo(file, tmp_path / "out")
        assert found.assertions == {"imported": 24}
        project = Project(tmp_path / "out")
        assert project.run("measure", "regression") == 0
    cases = {
        each["id"]: each["inputs"]["text"]
        for each in map(
            orjson.loads, (project.root / "suites/round-trip/cases/imported.jsonl").read_bytes().splitlines()
        )
    }
    rows = project.rows()
    ours = {cases[row["case"]]: row["value"] == 1 for row in rows if row["metric"] == "tests"}
    assert ours == theirs and len(ours) == 9 and set(ours.values()) == {True, False}
    # Where no threshold weighs them, a test passes when all of its single checks do.
    for case, text in cases.items():
        single = [row["value"] == 1 for row in rows if row["case"] == case and row["metric"] != "tests"]
        assert all(single) is theirs[text] or text == "weighted", text


@pytest.mark.slow
@pytest.mark.network
def test_first_use_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """npm installs the pinned version once, without what is optional, and it runs; the second use asks nobody."""
    monkeypatch.delenv("SIGNOFF_PROMPTFOO", raising=False)
    fresh = find_program(tmp_path / "cache")
    config = {"prompts": ["{{out}}"], "providers": ["echo"], "tests": [{"vars": {"out": "hi", "case": "a"}}]}
    (found,) = evaluate(fresh, Order(config, 1, 120.0), tmp_path)
    assert found["response"]["output"] == "hi"
    monkeypatch.setattr("harness.evals.promptfoo.program._install", lambda *_: pytest.fail("installed again"))
    assert find_program(tmp_path / "cache") == fresh
