"""``signoff redact``: output, summary, safety of the input, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from harness.cli import main
from tests.data import planted, survivors

pytest.importorskip("presidio_analyzer", reason="needs the extra 'serve'")
LINE = '{"body": "I\'m Dana Reyes, dana@example.com", "id": "ORD-47105"}\n'


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    """Two lines, one of which has something to redact."""
    path = tmp_path / "tickets.jsonl"
    path.write_text(LINE + '{"body": "where is my lamp?"}\n')
    return path


def test_to_standard_output(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --out the redacted file is standard output and the summary standard error; the input stays."""
    before = tickets.read_bytes()
    assert main(["redact", str(tickets)]) == 0
    said = capsys.readouterr()
    assert said.out == '{"body": "I\'m <PERSON_1>, <EMAIL_1>", "id": "<ORDER_1>"}\n{"body": "where is my lamp?"}\n'
    assert said.err.split() == (
        "EMAIL 1 ORDER 1 PERSON 1 3 replaced in 1 of 2 records".split()  # noqa: SIM905
    )
    assert tickets.read_bytes() == before


def test_to_a_file_with_json(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one object: files, records, and how often each kind was replaced."""
    out = tickets.with_name("out.jsonl")
    argv = ["redact", str(tickets), "--out", str(out), "--json", "--fields", "body", "--entities", "EMAIL,ORDER"]
    assert main(argv) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told == {
        "file": str(tickets), "out": str(out), "records": 2, "changed": 1, "entities": {"EMAIL": 1},
    }  # fmt: skip
    assert out.read_text().splitlines()[0] == '{"body": "I\'m Dana Reyes, <EMAIL_1>", "id": "ORD-47105"}'


def test_in_place(tickets: Path) -> None:
    """--in-place replaces the file behind a link, not the link, and leaves nothing else."""
    link = tickets.with_name("link.jsonl")
    link.symlink_to(tickets)
    assert main(["redact", str(link), "--in-place"]) == 0
    assert link.is_symlink()
    assert "dana@example.com" not in tickets.read_text()
    assert {path.name for path in tickets.parent.iterdir()} == {"link.jsonl", "tickets.jsonl"}


@pytest.mark.parametrize("how", ["same", "link", "hard"])
def test_the_input_is_not_overwritten(tickets: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--out with another name of the input is refused: 64, and the input is as it was."""
    before, out = tickets.read_bytes(), tickets.with_name("other.jsonl")
    if how == "same":
        out = tickets.parent / "." / tickets.name
    elif how == "link":
        out.symlink_to(tickets)
    else:
        out.hardlink_to(tickets)
    assert main(["redact", str(tickets), "--out", str(out)]) == 64
    assert "give --in-place" in capsys.readouterr().err
    assert tickets.read_bytes() == before


def test_a_broken_line_writes_nothing(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is no JSON is named with its file and number; neither target nor standard output gets anything."""
    with tickets.open("a") as stream:
        stream.write('{"body": "dana@example.com\n')
    before = tickets.read_bytes()
    out = tickets.with_name("out.jsonl")
    for argv in ([], ["--out", str(out)], ["--in-place"]):
        assert main(["redact", str(tickets), *argv]) == 64
        said = capsys.readouterr()
        assert said.out == ""
        assert f"{tickets}:3: not JSON" in said.err
        assert "dana@example.com" not in said.err
    assert (tickets.read_bytes(), list(tickets.parent.iterdir())) == (before, [tickets])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere.txt"], "nowhere.txt is not a file"),
        (["."], ". is not a file"),
                (["{tickets}", "--entities", "MAIL"], "unknown kinds of identifier: MAIL; there are ACCOUNT"),
        (["{tickets}", "--threshold", "7"], "--threshold is 7.0; it lies between 0 and 1"),
        (["{tickets}", "--fields", "bdy"], "has no field bdy"),
        (["{tickets}", "--out", "{tickets}/x/y"], "cannot be written"),
        (["{tickets}", "--out", "{folder}"], "a folder; name a file"),
        (["{tickets}", "--out", "{folder}/none/out"], "there is no folder"),
    ],
)  # fmt: skip
def test_mistakes_exit_64(tickets: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is one clear line and 64."""
    filled = [arg.format(tickets=tickets, folder=tickets.parent) for arg in argv]
    assert main(["redact", *filled]) == 64
    assert message in capsys.readouterr().err


def test_json_needs_a_target(tickets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output cannot hold the file as well."""
    assert main(["redact", str(tickets), "--json"]) == 64
    assert "give --out or --in-place" in orjson.loads(capsys.readouterr().out)["error"]


def test_two_targets_are_a_bad_command_line(tickets: Path) -> None:
    """--out and --in-place exclude each other; an empty list of fields is no list."""
    for argv in (["--out", "x", "--in-place"], ["--fields", ","]):
        with pytest.raises(SystemExit) as ended:
            main(["redact", str(tickets), *argv])
        assert ended.value.code == 64


def test_from_the_shell(tmp_path: Path) -> None:
    """As a program on a text: nothing planted is left on standard output, and standard error is the summary alone."""
    messages = planted()[:80]
    path = tmp_path / "mails.txt"
    path.write_text("\n\n".join(message.text for message in messages), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "harness", "redact", str(path)], capture_output=True, text=True, check=True
    )
    mails = [i for message in messages for i in message.planted if "@" in i]
    assert len(mails) > 15
    assert survivors(done.stdout, mails) == []
    assert done.stderr.splitlines()[-1].endswith("of 1 records")
    assert "arning" not in done.stderr
