"""Cases: committed rows, and rows taken from a pinned source."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from harness.errors import UsageError
from harness.spec.cases import CaseFile, dig, duplicates, load_case_file
from harness.spec.suites import Case
from tests.conftest import Tree

SOURCE = [
    {"key": "A 1", "doc": {"text": "one two three four"}, "gold": ["x"]},
    {"key": "b2", "doc": {"text": "five"}, "gold": ["y"]},
]
EXTERNAL = f"""\
source: "pypi:boxed==1.0#data.jsonl"
sha256: {"ab" * 32}
format: jsonl
licence: MIT
id: key
prefix: box-
inputs: {{message: doc.text}}
expect: {{label: gold.0}}
constants: {{tier: gold}}
truncate: {{message: 10}}
slices: [external]
rows: ["A 1", {{id: b2, expect: {{tone: kind}}, slices: [short]}}]
"""


def write_source(folder: Path) -> Path:
    """The source's file."""
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, SOURCE)) + b"\n\n")
    return path


def test_rows_are_read_with_their_lines(tree: Tree) -> None:
    """Blank lines are skipped and every problem names its line."""
    last = '{"id": "d", "messages": [{"role": "assistant", "content": ""}]}'
    root = tree({"c.jsonl": f'{{"id": "a"}}\n\n[1]\n{{"id": "B C"}}\n{last}\n'})
    file, problems = load_case_file(root / "c.jsonl", root)
    assert file is not None and [case.id for case in file.cases] == ["a"]
    assert [(problem.line, problem.message.split(",")[0][:26]) for problem in problems] == [
        (3, "expected an object"),
        (4, "id: String should match pa"),
        (5, "the last message of a dial"),
    ]


def test_cluster_is_the_group_or_the_case() -> None:
    """A case without a group is a cluster of its own."""
    assert (Case(id="a").cluster, Case(id="a", group="g").cluster) == ("a", "g")


def test_external_rows_become_cases(tree: Tree) -> None:
    """Rows of a source become cases: fields, constants, cut texts, own expectations and slices."""
    root = tree({"c.yaml": EXTERNAL})
    file, problems = load_case_file(root / "c.yaml", root)
    assert file is not None and problems == [] and len(file) == 2
    source = write_source(root)
    first, second = file.resolve(lambda name, sha256: source)
    assert (first.id, second.id) == ("box-a-1", "box-b2")
    assert first.inputs == {"tier": "gold", "message": "one two"}
    assert first.expect == {"label": "x"}
    assert second.expect == {"label": "y", "tone": "kind"}
    assert (first.slices, second.slices) == (("external",), ("external", "short"))


def test_source_is_fetched_by_its_digest(tree: Tree) -> None:
    """The fetcher is given the source and the sha256 that the file pins."""
    root = tree({"c.yaml": EXTERNAL})
    file, _ = load_case_file(root / "c.yaml", root)
    assert file is not None
    asked: list[tuple[str, str]] = []

    def fetch(name: str, sha256: str) -> Path:
        asked.append((name, sha256))
        return write_source(root)

    file.resolve(fetch)
    assert asked == [("pypi:boxed==1.0#data.jsonl", "ab" * 32)]


def test_row_that_the_source_lacks_is_named(tree: Tree) -> None:
    """Every id that the source does not have is a problem of the file."""
    root = tree({"c.yaml": EXTERNAL.replace('"A 1"', '"A 1", gone, lost')})
    file, _ = load_case_file(root / "c.yaml", root)
    assert file is not None
    source = write_source(root)
    with pytest.raises(UsageError) as raised:
        file.resolve(lambda name, sha256: source)
    assert [problem.message.rsplit(" ", 1)[1] for problem in raised.value.problems] == ["'gone'", "'lost'"]


def test_duplicates_across_files(tree: Tree) -> None:
    """An id that stands in two files is named with both."""
    root = tree({"a.jsonl": '{"id": "one"}\n', "b.jsonl": '{"id": "two"}\n{"id": "one"}\n'})
    files = [load_case_file(root / name, root)[0] for name in ("a.jsonl", "b.jsonl")]
    (problem,) = duplicates([file for file in files if file])
    assert (problem.path, problem.message) == ("b.jsonl", "duplicate case id 'one', also in a.jsonl; rename one")


def test_absent_field_is_named() -> None:
    """A dotted field that a row lacks is named at the part that is absent."""
    assert dig({"a": [{"b": 1}]}, "a.0.b") == 1
    with pytest.raises(UsageError, match=r"'a\.1\.b' is absent at '1'"):
        dig({"a": [{"b": 1}]}, "a.1.b")


REWRITTEN = EXTERNAL.replace("slices: [external]", "rewrite: {message: spoil.py:spoil}\nslices: [external]")


def rewriting(tree: Tree, code: str) -> tuple[Path, CaseFile]:
    """A suite whose cases are rewritten by ``code``."""
    root = tree({"suites/desk/cases/c.yaml": REWRITTEN, "suites/desk/spoil.py": code})
    file, problems = load_case_file(root / "suites/desk/cases/c.yaml", root)
    assert file is not None and problems == []
    return write_source(root), file


def test_text_of_a_package_is_rewritten_by_the_suite(tree: Tree) -> None:
    """The suite's function gets the cut text and the case's id, and what it returns is asked; nothing else changes."""
    source, file = rewriting(tree, "def spoil(text, case):\n    return f'{text.upper()} of {case}'\n")
    first, second = file.resolve(lambda name, sha256: source)
    assert first.inputs == {"tier": "gold", "message": "ONE TWO of box-a-1"}
    assert second.inputs == {"tier": "gold", "message": "FIVE of box-b2"}
    assert (first.expect, second.slices) == ({"label": "x"}, ("external", "short"))


def test_rewriting_code_is_named_by_its_digest(tree: Tree) -> None:
    """Another function makes other cases: the file's code is told apart by its bytes, whatever its line ends."""
    _, one = rewriting(tree, "def spoil(text, case):\n    return text\n")
    _, windows = rewriting(tree, "def spoil(text, case):\r\n    return text\r\n")
    _, other = rewriting(tree, "def spoil(text, case):\n    return text * 2\n")
    assert list(one.code) == ["spoil.py"]
    assert one.code == windows.code != other.code


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def spoil(text, case):\n    return text[0] / 2\n", "case box-a-1: rewrite of 'message' raised TypeError"),
        ("def spoil(text, case):\n    return None\n", "case box-a-1: rewrite of 'message' gave NoneType, not a text"),
        ("def other(text, case):\n    return text\n", "defines no function 'spoil'"),
        ("import nothing_of_this_name\n", "does not import"),
    ],
)
def test_broken_rewriting_is_named(tree: Tree, code: str, said: str) -> None:
    """A function that is absent, raises or gives no text is the suite's mistake, and is told with the case."""
    source, file = rewriting(tree, code)
    with pytest.raises(UsageError, match=said):
        file.resolve(lambda name, sha256: source)


@pytest.mark.parametrize(
    ("written", "line", "said"),
    [
        ("rewrite: {message: gone.py:spoil}", 10, "no file 'gone.py' in desk/"),
        ("rewrite: {tier: spoil.py:spoil}", 1, "rewrite names 'tier'; the inputs taken from the source are message"),
        ("rewrite: {message: ../spoil.py:spoil}", 10, "rewrite.message"),
        ("truncate: {mesage: 10}", 1, "truncate names 'mesage'"),
    ],
)
def test_unusable_rewriting_is_found_without_the_package(tree: Tree, written: str, line: int, said: str) -> None:
    """What is wrong with the file is told with its line before anything is fetched."""
    text = EXTERNAL.replace("truncate: {message: 10}", written)
    root = tree({"suites/desk/cases/c.yaml": text, "suites/desk/spoil.py": "def spoil(text, case):\n    return text\n"})
    _, problems = load_case_file(root / "suites/desk/cases/c.yaml", root)
    assert [(problem.line, said in problem.message) for problem in problems] == [(line, True)]
