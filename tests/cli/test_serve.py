"""``signoff serve`` refuses what it cannot or must not do, before it loads anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.cli import main
from harness.cli.serve import _is_loopback
from tests.run.project import make_project
from tests.serve.served_repo import Served, write_repo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose model cannot be loaded."""
    return write_repo(tmp_path / "repo", None)


def serve(root: Path, *args: str) -> int:
    """The exit code of a server that does not start."""
    return main(["serve", "--root", str(root), "--port", "0", "--no-traces", *args])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_strangers_need_a_key(root: Path, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that others can reach is refused without keys, and both ways out are named."""
    assert serve(root, "--host", host) == 64
    said = capsys.readouterr().err
    assert "--keys FILE" in said
    assert "127.0.0.1" in said


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False),
     ("localhost.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, own: bool) -> None:
    """Names that only look like this machine are not this machine."""
    assert _is_loopback(host) is own


def test_a_port_that_is_taken(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The address is named, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve(root, "--port", str(port)) == 64
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in said
    assert "choose another --port" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--port", "70000"), "70000"),
        (("--host", "203.0.113.9", "--keys", "keys.yaml"), "cannot listen on 203.0.113.9"),
        (("--app", "nobody"), "no app 'nobody'"),
        (("--keys", "absent.yaml"), "absent.yaml"),
    ],
)
def test_mistakes_end_it(root: Path, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of another machine, an unknown app and a missing key file exit 64 and are named."""
    assert serve(root, *args) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {bodies: 3}\n", "unknown key 'limits.bodies'"),
        ("limits:\n  concurrent: 0\n", "serve.yaml:2"),
        ("cache: on\n", "serve.yaml:1"),
        ("privacy: {entities: [SHOE_SIZE]}\n", "SHOE_SIZE"),
    ],
)
def test_settings_are_read_strictly(root: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that does not exist or a value out of range in serve.yaml ends it with file and line."""
    (root / "serve.yaml").write_text(text)
    assert serve(root) == 64
    assert said in capsys.readouterr().err


def test_check_reads_the_settings_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``signoff check`` finds the same mistake without a server."""
    project = make_project(tmp_path, count=20)
    project.write({"serve.yaml": "limits: {bodies: 3}\n"})
    assert project.run("check") == 64
    assert "limits.bodies" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_ends_it(root: Path, tmp_path: Path) -> None:
    """A server that would never be ready stops by itself, says why and exits 64."""
    served = Served(root, tmp_path / "cache", "--no-traces", "--app", "desk")
    assert served.process.wait(60) == 64
    served.stop()
    assert "never-read" in served.said
    assert "DEVELOPMENT MODE" in served.said
    assert "Traceback" not in served.said
