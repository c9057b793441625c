"""Probes of a served gateway: our own holds, each fault of a careless one is found, and strangers are left alone."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.safety.server import Target, probe_server
from harness.safety.server.target import Keys
from harness.safety.server.wire import Request, send
from tests.safety.careless import KEY, OPERATOR, careless
from tests.safety.desk_files import desk

FILE = "reports/server/artifacts/safety/findings.json"


def rules(*faults: str, keys: Keys | None = None) -> set[str]:
    """What the probes find in a server with these faults."""
    with careless(*faults) as url:
        return {finding.rule for finding in probe_server(Target(url, keys or Keys(KEY, OPERATOR))).findings}


def test_nothing_is_found_in_a_careful_server() -> None:
    """No probe counts what is no fault."""
    assert rules() == set()


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("open", "server/no-key"), ("blank", "server/no-key"), ("roles", "server/role"), ("docs", "server/open-route"),
        ("method", "server/method"), ("fallback", "server/model-name"), ("values", "server/value"),
        ("crash", "server/crash"), ("crash", "server/leak"), ("path", "server/leak"), ("echo", "server/leak"),
        ("version", "server/leak"), ("cors", "server/cors"), ("host", "server/host"),
    ],
)  # fmt: skip
def test_each_fault_is_found(fault: str, rule: str) -> None:
    """A server with one fault has a finding that names it."""
    found = rules(fault, keys=Keys("so-wrong", OPERATOR) if fault == "echo" else None)
    assert rule in found


def test_our_own_gateway_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With keys made for the probes, nothing is found in it; the file that other tools read says so."""
    project = desk(tmp_path, "hardened")
    assert main(["safety", "server", "--root", str(project.root), "--json"]) == 0
    said = orjson.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert said["untried"] == []
    assert said["checks"] > 250
    assert orjson.loads((project.root / FILE).read_bytes()) == {"format": 1, "kind": "server", "findings": []}


def test_the_key_file_of_the_team_is_not_touched(tmp_path: Path) -> None:
    """Probe keys go into a copy, so no key of a probe is ever valid at the team's own gateway."""
    project = desk(tmp_path, "hardened")
    keys = tmp_path / "keys.yaml"
    assert main(["keys", "add", "--file", str(keys)]) == 0
    before = keys.read_bytes()
    assert main(["safety", "--root", str(project.root), "server", "--keys", str(keys)]) == 0
    assert keys.read_bytes() == before


def test_findings_are_shown_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, a line for each finding with what was expected and what came, and no secret anywhere."""
    monkeypatch.setenv("PROBE_KEY", KEY)
    with careless("docs", "cors") as url:
        args = ["safety", "server", "--root", str(tmp_path), "--url", url, "--key-env", "PROBE_KEY"]
        assert main(args) == 1
    out = capsys.readouterr().out
    assert "GET /docs" in out
    assert "HTTP 200" in out
    assert "not tried: models of others" in out
    written = orjson.loads((tmp_path / FILE).read_bytes())
    assert {finding["rule"] for finding in written["findings"]} == {"server/open-route", "server/cors"}
    assert all(finding["route"] and finding["expected"] and finding["found"] for finding in written["findings"])
    assert KEY not in out + (tmp_path / FILE).read_text()


def test_a_server_without_keys_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The development mode is one finding, not one for every route."""
    with careless("open") as url:
        assert main(["safety", "server", "--root", str(tmp_path), "--url", url, "--json"]) == 1
    said = orjson.loads(capsys.readouterr().out)
    assert [finding["rule"] for finding in said["findings"]].count("server/no-key") == 1
    assert any("asks for none" in what for what in said["untried"])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--url", "http://192.0.2.1:80"], "--allow-remote"),
        (["--url", "http://localhost.example.org"], "--allow-remote"),
        (["--url", "nonsense"], "no http address"),
        (["--url", "http://127.0.0.1:9", "--keys", "keys.yaml"], "--keys is for the gateway that is started"),
        (["--url", "http://127.0.0.1:9", "--key-env", "NOT_SET_AT_ALL"], "NOT_SET_AT_ALL"),
        (["--key-env", "HOME"], "--key-env belongs to --url"),
        (["--app", "nobody"], "no app 'nobody'"),
    ],
)
def test_mistakes_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    """Another machine without consent, and options that do not go together, end it before anything is sent."""
    project = desk(tmp_path, "hardened")
    assert main(["safety", "server", "--root", str(project.root), *args]) == 64
    assert said in capsys.readouterr().err
    assert not (project.root / FILE).exists()


def test_a_server_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was probed, so nothing is fine: exit code 3."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert main(["safety", "server", "--root", str(tmp_path), "--url", f"http://127.0.0.1:{port}"]) == 3
    assert "cannot be reached" in capsys.readouterr().err
    assert not (tmp_path / FILE).exists()


def _serve_bytes(data: bytes) -> Any:
    import threading

    sock = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        client, _ = sock.accept()
        with client, sock:
            client.recv(65_536)
            client.sendall(data)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", 204), (b"", 0), (b"garbage\r\n\r\n", 0), (b"HTTP/1.1\r\n\r\n", 0)],
)
def test_what_a_reply_is(data: bytes, status: int) -> None:
    """Whatever comes back is read without failing, and a reply that is none counts as a closed connection."""
    assert send(_serve_bytes(data), Request("GET", "/")).status == status
