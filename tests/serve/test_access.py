"""Only a valid key opens the gateway, to what it was given, and a running server follows its file."""

from __future__ import annotations

import logging
import os
import secrets as secrets_module
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.serve.gateway.access import KeyAccess, authorise, require
from harness.serve.gateway.api_errors import ApiError, no_model
from harness.serve.gateway.keys import KeyFile
from harness.serve.gateway.turn import DEVELOPER, NOBODY, KeyLimits, Principal, Role
from harness.spec.keys import KeyQuota
from tests.serve.test_keys import parts

ROLES: tuple[Role, ...] = ("user", "operator", "admin")


class Clocks:
    """The time of day and the time that only goes on."""

    def __init__(self) -> None:
        self.day = datetime(2027, 1, 31, 12, tzinfo=UTC)
        self.ticks = 0.0

    def access(self, path: Path) -> KeyAccess:
        return KeyAccess(path, clock=lambda: self.day.timestamp(), monotonic=lambda: self.ticks)


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that stand until a test turns them."""
    return Clocks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file."""
    return tmp_path / "keys.yaml"


def ask(access: KeyAccess, secret: str, scheme: str = "Bearer") -> Principal:
    """Who sends this secret."""
    return access.identify({"authorization": f"{scheme} {secret}"})


def refusal(access: KeyAccess, headers: dict[str, str]) -> tuple:
    """All that a caller sees of a refusal."""
    with pytest.raises(ApiError) as error:
        access.identify(headers)
    return error.value.status, error.value.body(), error.value.headers


def refused(access: KeyAccess, secret: str) -> bool:
    """Whether a secret is refused."""
    try:
        ask(access, secret)
    except ApiError as error:
        assert error.status == 401
        return True
    return False


def test_a_key_says_who_it_is(path: Path, clocks: Clocks) -> None:
    """A valid key gives its id, role, models and limits; the scheme may be written in any case."""
    file, secret = KeyFile(path).add(
        role="operator", models=("support",), limits=KeyQuota(concurrent=2), expires=clocks.day + timedelta(seconds=1)
    )
    KeyFile(path).add()
    access = clocks.access(path)
    expected = Principal(file.keys[0].id, "operator", frozenset({"support"}), KeyLimits(None, None, 2))
    assert ask(access, secret) == ask(access, secret, "bearer") == ask(access, f"  {secret} ") == expected


def test_every_refusal_is_the_same(path: Path, clocks: Clocks) -> None:
    """A missing, blank, unknown, expired and revoked key cannot be told apart by the answer."""
    file, expired = KeyFile(path).add(expires=clocks.day)
    file, revoked = file.add()
    file, good = file.add()
    file.revoke(file.keys[1].id)
    access = clocks.access(path)
    sent = ["", "Bearer", "Bearer ", "Bearer so-", f"Bearer {expired}", f"Bearer {revoked}", f"Bearer {good}x", good]
    sent += [f"Basic {good}", f"Bearer {good[:-1]}", f"Bearer{good}", "Bearer ü\udcff", f"Bearer {file.keys[2].sha256}"]
    answers = [refusal(access, {}), *(refusal(access, {"authorization": header}) for header in sent)]
    assert all(answer == answers[0] for answer in answers)
    status, body, headers = answers[0]
    assert (status, body["error"]["code"], headers) == (401, "invalid_api_key", {"www-authenticate": "Bearer"})
    assert ask(access, good)


def test_every_key_is_compared(path: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison takes constant time, and goes over all keys whichever of them matches, if any."""
    file, first = KeyFile(path).add()
    for _ in range(4):
        file, last = file.add()
    access = clocks.access(path)
    compared: list[bytes] = []

    def counting(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return left == right

    monkeypatch.setattr(secrets_module, "compare_digest", counting)
    for secret in (first, last, "nothing"):
        compared.clear()
        refused(access, secret)
        assert len(set(compared)) == len(compared) == 5


def test_a_key_expires_while_the_server_runs(path: Path, clocks: Clocks) -> None:
    """Expiry needs no change of the file: the moment itself is already too late."""
    _, secret = KeyFile(path).add(expires=clocks.day + timedelta(seconds=10))
    access = clocks.access(path)
    assert ask(access, secret)
    clocks.day += timedelta(seconds=10)
    assert refused(access, secret)


def test_changes_count_within_a_second(path: Path, clocks: Clocks) -> None:
    """Added keys open, and revoked ones are refused, one second after the file changed and not by a restart."""
    file, old = KeyFile(path).add()
    access = clocks.access(path)
    file, new = file.add()
    file.revoke(file.keys[0].id)
    clocks.ticks += 0.9
    assert ask(access, old) and refused(access, new)
    clocks.ticks += 0.2
    assert refused(access, old) and ask(access, new)


def test_a_file_that_did_not_change_is_not_read(path: Path, clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at an unchanged file costs no reading."""
    _, secret = KeyFile(path).add()
    access = clocks.access(path)
    monkeypatch.setattr(KeyFile, "load", None)
    clocks.ticks += 5
    assert ask(access, secret)


def test_an_edit_in_place_is_seen(path: Path, clocks: Clocks) -> None:
    """A file that an editor writes over, keeping inode and size, is noticed by its time."""
    file, secret = KeyFile(path).add()
    access = clocks.access(path)
    text = path.read_text().replace(file.keys[0].sha256[:4], "0000" if file.keys[0].sha256[:4] != "0000" else "1111")
    path.write_text(text)
    os.utime(path, ns=(0, 12345))
    clocks.ticks += 1
    assert refused(access, secret)


@pytest.mark.parametrize("content", [b"", b"keys: [", b"keys: {}", b"\xff\xfe", b"keys:\n- {id: a}\n"])
def test_a_broken_file_keeps_the_last_good_keys(
    path: Path, clocks: Clocks, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """A file that cannot be understood locks nobody out, is logged as an error each minute, and counts when mended."""
    file, secret = KeyFile(path).add()
    good = path.read_bytes()
    access = clocks.access(path)
    path.write_bytes(content)
    for _ in range(65):
        clocks.ticks += 1
        assert ask(access, secret)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2 and str(path) in errors[0].getMessage()
    assert access.problem is not None
    path.write_bytes(good)
    file.revoke(file.keys[0].id)
    clocks.ticks += 1
    assert refused(access, secret)
    assert access.problem is None


def test_a_file_that_is_gone_closes_the_gateway(path: Path, clocks: Clocks, caplog: pytest.LogCaptureFixture) -> None:
    """Without its file no key is valid, which is logged as an error; with the file back they are."""
    _, secret = KeyFile(path).add()
    access = clocks.access(path)
    away = path.rename(path.with_name("away"))
    clocks.ticks += 1
    assert refused(access, secret)
    assert any("gone" in record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    away.rename(path)
    clocks.ticks += 1
    assert ask(access, secret)


def test_a_server_does_not_start_without_its_file(path: Path) -> None:
    """An absent or broken file at the start is an error of the user's, not an open or a closed door."""
    with pytest.raises(UsageError, match="no such file"):
        KeyAccess(path)
    path.write_text("keys: 1")
    with pytest.raises(UsageError, match="keys"):
        KeyAccess(path)


def test_a_file_that_others_may_read_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that starts with a file of a wide mode says so in its log."""
    KeyFile(path).add()
    path.chmod(0o644)
    KeyAccess(path)
    assert any("0644" in record.getMessage() for record in caplog.records)


def test_models_that_were_not_given_look_absent() -> None:
    """A name that the key may not call is answered exactly like one that does not exist."""
    mine = Principal("key-1", models=frozenset({"support"}))
    authorise(mine, "support")
    authorise(DEVELOPER, "anything")
    with pytest.raises(ApiError) as error:
        authorise(mine, "secret-project")
    assert (error.value.status, error.value.body()) == (404, no_model("secret-project").body())


@pytest.mark.parametrize("has", ROLES)
@pytest.mark.parametrize("needs", ROLES)
def test_roles_are_ordered(has: Role, needs: Role) -> None:
    """A role includes those below it; what is above it is a 403."""
    if ROLES.index(has) >= ROLES.index(needs):
        require(Principal("key-1", has), needs)
        return
    with pytest.raises(ApiError) as error:
        require(Principal("key-1", has), needs)
    assert (error.value.status, error.value.code) == (403, "role_required")


def test_without_a_key_there_is_no_role() -> None:
    """An unknown caller may not do what needs a role."""
    with pytest.raises(ApiError, match="operator"):
        require(NOBODY, "operator")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_secret_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, data: st.DataObject) -> None:
    """However a secret is sent, right or damaged, no error, log line or repr has eight characters of it."""
    path = tmp_path / "k.yaml"
    file, secret = KeyFile(path).add()
    clocks = Clocks()
    access = clocks.access(path)
    cut = data.draw(st.integers(0, len(secret)))
    noise = data.draw(st.text(max_size=10))
    scheme = data.draw(st.sampled_from(["Bearer ", "bearer  ", "Basic ", "", "Bearer"]))
    sent = data.draw(st.sampled_from([secret, secret[:cut] + noise + secret[cut:], secret[:cut], noise + secret]))
    if data.draw(st.booleans()):
        file.revoke(file.keys[-1].id)
        clocks.ticks += 1
    if data.draw(st.booleans()):
        path.write_text(f"keys: {sent}", encoding="utf-8", errors="replace")
        clocks.ticks += 1
    try:
        said = repr(access.identify({"authorization": scheme + sent}))
    except ApiError as error:
        said = repr(error) + str(error.body()) + str(error.headers)
    path.unlink(missing_ok=True)
    said += repr(access) + str(access.problem) + caplog.text
    assert not any(part in said for part in parts(secret))
