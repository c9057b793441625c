"""``signoff keys``: the key is shown once, and never again."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import EXIT_USAGE
from harness.serve.gateway.access import KeyAccess
from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.keys import KeyFile
from tests.serve.test_keys import parts

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key file that is not there yet."""
    return tmp_path / "keys.yaml"


def run(*words: str | Path) -> int:
    """The exit code of a command, argparse's own included."""
    try:
        return main(["keys", *map(str, words)])
    except SystemExit as ended:
        return int(ended.code or 0)


def test_the_key_stands_alone_on_standard_output(file: Path, capsys: Captured) -> None:
    """``KEY=$(signoff keys add ...)`` gets the key and nothing else, and it opens the gateway."""
    assert run("add", "--file", file, "--model", "support", "--model", "smol", "--concurrent", "3") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(r"so-\S{43}\n", out)
    principal = KeyAccess(file).identify({"authorization": f"Bearer {out.strip()}"})
    assert (principal.models, principal.limits.concurrent) == (frozenset({"support", "smol"}), 3)
    assert principal.key_id in err
    assert not any(part in err for part in parts(out.strip()))


def test_json_has_the_key_once(file: Path, capsys: Captured) -> None:
    """With --json the new key stands in the one object that add prints, and in no other."""
    assert run("add", "--file", file, "--json", "--role", "admin", "--note", "me", "--tokens-per-minute", "9") == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["role"], added["note"], added["limits"], added["state"]) == (
        "admin", "me", {"tokens_per_minute": 9}, "valid",
    )  # fmt: skip
    assert run("list", "--file", file, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    secret = added.pop("key")
    assert listed == {"keys": [added]}
    assert secret.startswith("so-")


def test_nothing_else_shows_a_key(file: Path, capsys: Captured) -> None:
    """Neither list nor revoke, in text or JSON, nor the file itself has eight characters of any key."""
    secrets = []
    for _ in range(5):
        assert run("add", "--file", file, "--note", "n") == 0
        secrets.append(capsys.readouterr().out.strip())
    ids = [key.id for key in KeyFile.load(file).keys]
    for words in (("list",), ("list", "--json"), ("revoke", ids[0]), ("revoke", ids[1], "--json")):
        assert run(*words, "--file", file) == 0
    assert run("revoke", secrets[0], "--file", file) == EXIT_USAGE
    out, err = capsys.readouterr()
    shown = out + err + file.read_text()
    assert all(key_id in out for key_id in ids)
    assert not any(part in shown for secret in secrets for part in parts(secret))


def test_a_revoked_key_is_listed_as_such_and_refused(file: Path, capsys: Captured) -> None:
    """revoke ends the key that it names and leaves the others."""
    run("add", "--file", file)
    one = capsys.readouterr().out.strip()
    run("add", "--file", file)
    other = capsys.readouterr().out.strip()
    assert run("revoke", KeyFile.load(file).keys[0].id, "--file", file) == 0
    access = KeyAccess(file)
    assert access.identify({"authorization": f"Bearer {other}"})
    with pytest.raises(ApiError):
        access.identify({"authorization": f"Bearer {one}"})
    capsys.readouterr()
    run("list", "--file", file)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["revoked", "valid"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2099-01-31", datetime(2099, 2, 1, tzinfo=UTC)),
        ("2099-01-31T18:00:00Z", datetime(2099, 1, 31, 18, tzinfo=UTC)),
        ("2099-01-31T18:00:00+02:00", datetime(2099, 1, 31, 16, tzinfo=UTC)),
    ],
)
def test_expiry_is_a_last_day_or_a_moment(file: Path, written: str, meant: datetime) -> None:
    """A day counts to its end; a moment is taken as it is."""
    assert run("add", "--file", file, "--expires", written) == 0
    assert KeyFile.load(file).keys[0].expires == meant


@pytest.mark.parametrize(
    "words",
    [
        ("--expires", "tomorrow"),
        ("--expires", "2099-01-31T18:00:00"),
        ("--expires", "9999-12-31"),
        ("--expires", "2020-01-01"),
        ("--concurrent", "0"),
        ("--requests-per-minute", "-1"),
        ("--tokens-per-minute", "1.5"),
        ("--tokens-per-minute", "²"),
        ("--role", "root"),
        ("--model", ""),
        ("--model", "a b"),
        ("--model", "sup*"),
    ],
    ids=" ".join,
)
def test_a_wrong_value_adds_nothing(file: Path, words: tuple[str, ...], capsys: Captured) -> None:
    """A mistake on the command line is exit 64 with a message, and no key is made."""
    assert run("add", "--file", file, *words) == EXIT_USAGE
    assert words[0].lstrip("-") in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("command", [("list",), ("revoke", "key-1")])
def test_a_missing_file_is_named(file: Path, command: tuple[str, ...], capsys: Captured) -> None:
    """Only add makes a file."""
    assert run(*command, "--file", file) == EXIT_USAGE
    assert f"{file}: no such file" in capsys.readouterr().err


def test_a_broken_file_is_not_written_over(file: Path, capsys: Captured) -> None:
    """add refuses a file that it does not understand."""
    file.write_text("keys: [")
    assert run("add", "--file", file) == EXIT_USAGE
    assert "not valid YAML" in capsys.readouterr().err
    assert file.read_text() == "keys: ["


def test_a_file_that_others_may_read_is_warned_of(file: Path, capsys: Captured) -> None:
    """list says on standard error that the file's mode is too wide."""
    run("add", "--file", file)
    file.chmod(0o604)
    capsys.readouterr()
    assert run("list", "--file", file) == 0
    assert "0604" in capsys.readouterr().err


def test_without_a_command_it_explains_itself(capsys: Captured) -> None:
    """``signoff keys`` alone is a usage error that names its commands' place."""
    assert run() == EXIT_USAGE
    assert "COMMAND" in capsys.readouterr().err
