"""mart.yaml: everything that is wrong is said at once, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.spec.marts import load_mart, steps_of
from tests.run.project import ROOT

GOOD = """\
name: tickets
licence: CC0-1.0
sources:
  raw:
    from: path:raw/tickets.csv
    format: csv
    columns: {id: INTEGER, text: VARCHAR, at: TIMESTAMP}
    licence: CC0-1.0
    freshness: {loaded_at_field: at, warn_after: {count: 12, period: hour}, error_after: {count: 1, period: day}}
key: id
group: customer
text: [text]
labels: {intent: [a, b]}
splits: {train: 0.8, test: 0.2}
deduplicate: {near: 0.5}
anonymise: {keep: ['ORD-\\d+'], names: {raw: text}}
"""


def problems(tmp_path: Path, text: str, *steps: str) -> list[str]:
    """What is wrong, without the file's name."""
    folder = tmp_path / "tickets"
    (folder / "sql").mkdir(parents=True)
    (folder / "mart.yaml").write_text(text, encoding="utf-8")
    for name in steps or ("01_first.sql",):
        (folder / "sql" / name).touch()
    mart, found = load_mart(folder, "data/tickets")
    assert (mart is None) == bool(found)
    return [str(problem).replace("data/tickets/", "") for problem in found]


def test_a_good_one(tmp_path: Path) -> None:
    """One key may be written without a list; the columns are those of key, group, text and labels."""
    assert problems(tmp_path, GOOD) == []
    mart, _ = load_mart(tmp_path / "tickets", "data/tickets")
    assert mart and mart.columns == ("id", "customer", "text", "intent")
    promise = mart.sources["raw"].freshness
    assert promise and promise.warn_after and promise.warn_after.seconds == 43_200


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("splits:", "split:", "mart.yaml:14: unknown key 'split'"),
        ("train: 0.8", "train: 0.7", "mart.yaml:14: the shares of splits must be above 0 and add up to 1"),
        ("key: id", "key: [id, id]", "'id' is more than one of key, text and labels"),
        ("[a, b]", "[a, a]", "mart.yaml:13: labels.intent must be a list of values, each once"),
        ("path:raw", "raw", "for format csv it is path:FILE, pypi:"),
        ("format: csv", "format: postgres", "for format postgres it is env:VARIABLE"),
        ("format: csv", "format: dataset", "for format dataset it is hf:OWNER/NAME@REVISION"),
        ("format: csv", "format: sqlite", "format sqlite needs 'table'"),
        ("path:raw/tickets.csv", "pypi:a==1#b", "a file of a package needs its sha256"),
        ("format: csv", "format: excel", "mart.yaml:6:"),
        ("at: TIMESTAMP", "at: DATETIMES", "mart.yaml:7:"),
        ("loaded_at_field: at", "loaded_at_field: text", "loaded_at_field is 'text'; name a column of type DATE"),
        ("{count: 12, period: hour}", "{count: 48, period: hour}", "warn_after is longer than error_after"),
        ("{count: 12, period: hour}", "{count: 12, period: year}", "mart.yaml:9:"),
        ("raw:\n", "final:\n", "a source cannot be called 'final'"),
        ("{raw: text}", "{raw: name}", "mart.yaml:16: anonymise.names: no source has raw.name"),
        ("'ORD-\\d+'", "'ORD-('", "mart.yaml:16: keep: 'ORD-(' is no regular expression"),
        ("'ORD-\\d+'", "'.*'", "keep: '.*' matches nothing at all"),
        ("near: 0.5", "near: 0.5, columns: [body]", "deduplicate.columns: 'body' is no text column"),
        ("group: customer", "group: split", "a column cannot be called 'split'"),
        ("name: tickets", "name: ticket", "name is 'ticket' but the folder is 'tickets'"),
        ("key: id", "functions: [../x.py]\nkey: id", "must be a Python file in the mart's folder"),
        ("key: id", "functions: [x.py]\nkey: id", "x.py: no such file"),
        ("key: id", "review: {labels: [mood]}\nkey: id", "review.labels: 'mood' is no label"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Each mistake is said, with the line where it stands."""
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(said in problem for problem in found), found


def test_all_at_once(tmp_path: Path) -> None:
    """Several mistakes in the file and among the steps' names are said together."""
    text = GOOD.replace("train: 0.8", "train: 0.7").replace("[a, b]", "[]")
    found = problems(tmp_path, text, "01_a.sql", "01_b.sql", "clean.sql")
    assert len(found) == 4
    assert "sql/01_b.sql: has the number of 01_a.sql; which comes first must be plain" in found
    assert "sql/clean.sql: a step is called like 01_clean.sql" in found


def test_no_step(tmp_path: Path) -> None:
    """A mart without a step is none."""
    folder = tmp_path / "tickets"
    folder.mkdir()
    (folder / "mart.yaml").write_text(GOOD)
    assert "holds no step" in str(load_mart(folder, "data/tickets")[1][0])


def test_steps_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Ten comes after nine, however many digits are written."""
    (tmp_path / "sql").mkdir()
    for name in ("100_c.sql", "02_a.sql", "10_b.sql"):
        (tmp_path / "sql" / name).touch()
    assert [file.name for file in steps_of(tmp_path)] == ["02_a.sql", "10_b.sql", "100_c.sql"]


@pytest.mark.parametrize("folder", sorted(ROOT.glob("data/*/mart.yaml")), ids=lambda path: path.parent.name)
def test_marts_that_ship(folder: Path) -> None:
    """Every mart of the repository is valid."""
    assert load_mart(folder.parent, folder.parent.name)[1] == []
