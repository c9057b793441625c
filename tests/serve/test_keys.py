"""The key file keeps what is needed to know a key again, and nothing that is one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.serve.gateway.keys import KeyFile, masked
from harness.spec.keys import KeyQuota
from tests.run.project import ROOT

DIGEST = "a" * 64
KEY = f"id: a, sha256: {DIGEST}, models: ['*']"
ADDER = """
import sys
from pathlib import Path
from harness.serve.gateway.keys import KeyFile
sys.stdin.readline()
for _ in range(15):
    print(KeyFile.load_or_new(Path(sys.argv[1])).add()[1])
"""


def parts(secret: str) -> set[str]:
    """Every 8 characters in a row of a secret, after its prefix."""
    rest = secret.removeprefix("so-")
    return {rest[start : start + 8] for start in range(len(rest) - 7)}


def problems(path: Path, text: str) -> str:
    """What is said of a file with this text."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        KeyFile.load(path)
    return str(error.value)


@pytest.mark.parametrize("name", ["keys.yaml", "keys.json"])
def test_a_key_is_kept_as_its_digest(tmp_path: Path, name: str) -> None:
    """What add returns is a long random secret; the file has its sha256 and reads back equal, in YAML and in JSON."""
    path = tmp_path / "new" / name
    expires = datetime(2030, 1, 31, 18, tzinfo=UTC)
    file, secret = KeyFile(path).add(
        models=("support", "org/model"),
        role="operator",
        limits=KeyQuota(concurrent=2),
        expires=expires,
        note="it's ü: x",
    )
    (key,) = file.keys
    assert re.fullmatch(r"so-[A-Za-z0-9_-]{43}", secret)
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert KeyFile.load(path) == file
    assert (key.role, key.models, key.limits.concurrent, key.expires) == (
        "operator", ("support", "org/model"), 2, expires,
    )  # fmt: skip
    data = (json.loads if name.endswith("json") else yaml.safe_load)(path.read_text(encoding="utf-8"))
    assert data["keys"][0]["note"] == "it's ü: x"


def test_secrets_and_ids_differ(tmp_path: Path) -> None:
    """No two keys have the same secret or id, and an id has nothing of its secret."""
    file, secrets = KeyFile(tmp_path / "k.yaml"), []
    for _ in range(20):
        file, secret = file.add()
        secrets.append(secret)
        assert file.keys[-1].id.removeprefix("key-") not in secret
    assert len(set(secrets)) == len({key.id for key in file.keys}) == 20


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """The file is made, and written again, with the mode 0600 whatever the umask; a wider mode is a warning."""
    path = tmp_path / "k.yaml"
    before = os.umask(0)
    try:
        file, _ = KeyFile(path).add()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert file.warnings == ()
        path.chmod(0o640)
        (warning,) = file.warnings
        assert "0640" in warning and str(path) in warning
        file.add()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_revoking_keeps_the_entry(tmp_path: Path) -> None:
    """A revoked key stays in the file with its date, which a second revocation does not change; others stay."""
    file, _ = KeyFile(tmp_path / "k.yaml").add()
    file, _ = file.add()
    one, other = file.keys
    file = file.revoke(one.id)
    first = file.keys[0].revoked
    assert first is not None and file.keys[1] == other
    assert KeyFile.load(file.path).revoke(one.id).keys[0].revoked == first


def test_revoking_an_unknown_id_names_the_known(tmp_path: Path) -> None:
    """An unknown id is an error that lists the ids; a secret given by mistake is not repeated."""
    file, secret = KeyFile(tmp_path / "k.yaml").add()
    with pytest.raises(UsageError, match=file.keys[0].id) as error:
        file.revoke(secret)
    assert not any(part in str(error.value) for part in parts(secret))


def test_processes_that_add_at_once_lose_no_key(tmp_path: Path) -> None:
    """Four processes that add keys to one new file at the same time leave all of them in it."""
    path = tmp_path / "k.yaml"
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(4)
    ]
    secrets = []
    for adder in adders:
        assert adder.stdin is not None
        adder.stdin.write(b"go\n")
        adder.stdin.flush()
    for adder in adders:
        secrets += adder.communicate()[0].decode().split()
    kept = {key.sha256 for key in KeyFile.load(path).keys}
    assert len(secrets) == 60
    assert kept == {hashlib.sha256(secret.encode()).hexdigest() for secret in secrets}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot be put in place, the old one is whole and no half file remains."""
    file, _ = KeyFile(tmp_path / "k.yaml").add()
    before = file.path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(UsageError, match="choose another --file"):
        file.add()
    assert file.path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"k.yaml", ".k.yaml.lock"}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """A key file that is reached by a link is written where it lies."""
    real = tmp_path / "real.yaml"
    KeyFile(real).add()
    link = tmp_path / "link.yaml"
    link.symlink_to(real)
    KeyFile.load(link).add()
    assert link.is_symlink() and len(KeyFile.load(real).keys) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line|expected a mapping"),
        ("[]", "expected a mapping"),
        ("keys: 3\n", "keys"),
        ("keys: []\nkey: []\n", "2: unknown key 'key'"),
        (f"keys:\n- {{{KEY}, rol: admin}}\n", "unknown key 'keys.0.rol'"),
        (f"keys:\n- {{{KEY}, role: root}}\n", "keys.0.role"),
        (f"keys:\n- {{id: a, sha256: {DIGEST}}}\n", "keys.0.models"),
        (f"keys:\n- {{id: a, sha256: {DIGEST}, models: ['sup*']}}\n", "keys.0.models.0"),
        (f"keys:\n- {{id: a b, sha256: {DIGEST}, models: ['*']}}\n", "keys.0.id"),
        (f"keys:\n- {{{KEY}, expires: 2027-01-31T10:00:00}}\n", "timezone"),
        (f"keys:\n- {{{KEY}, expires: 2027}}\n", "2027-01-31T18:00:00Z"),
        (f"keys:\n- {{{KEY}, limits: {{concurrent: 0}}}}\n", "keys.0.limits.concurrent"),
        (f"keys:\n- {{{KEY}, limits: {{tokens_per_minute: 1.5}}}}\n", "tokens_per_minute"),
        (f"keys:\n- {{{KEY}}}\n- {{id: b, sha256: {DIGEST}, models: ['*']}}\n", "same sha256"),
        (f"keys:\n- {{{KEY}}}\n- {{id: a, sha256: {'b' * 64}, models: ['*']}}\n", "more than once: a"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, said: str) -> None:
    """Every mistake is named with its place; nothing that is unknown or out of range is accepted."""
    assert re.search(said, problems(tmp_path / "k.yaml", text))


def test_a_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    """A missing file is named, and only add makes one."""
    with pytest.raises(UsageError, match=r"gone\.yaml: no such file"):
        KeyFile.load(tmp_path / "gone.yaml")


SECRET = "so-Zk3vQ9xT2mW8rB5nL7cJ4hG6fD1sA0pYuIoEtXwVbNq"
MISTAKES = (
    "keys:\n- {{id: a, sha256: {secret}, models: ['*']}}\n",
    "keys:\n- {{id: {secret}, sha256: x, models: ['*']}}\n",
    "keys:\n- {{id: a, {secret}: x, models: ['*']}}\n",
    "keys:\n- {{id: a, key: {secret}, models: ['*']}}\n",
    "keys:\n- {{id: a, role: {secret}, models: {secret}}}\n",
    "keys:\n- {{id: a, expires: {secret}, limits: {secret}}}\n",
    "keys: {secret}\n",
    "{secret}: {secret}\n{secret}: 1\n",
    "{secret}",
    "keys: &{secret} []\nother: *{secret}\n",
    "keys: *{secret}\n",
    "keys: [{secret}\n",
    "keys: '{secret}\n",
    "%{secret}\n---\nkeys: []\n",
    "keys:\n- {{id: a, sha256: {digest}, models: ['*']}}\n- {{id: {secret}, sha256: {digest}, models: ['*']}}\n",
    "keys:\n- {{id: {secret}, sha256: {digest}, models: ['*']}}\n- {{id: {secret}, sha256: {digest}, models: ['*']}}\n",
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, mistake: str) -> None:
    """Somebody who writes a key itself into the file is told what is wrong without the key being shown."""
    said = problems(tmp_path / "k.yaml", mistake.format(secret=SECRET, digest=DIGEST))
    assert said and not any(part in said for part in parts(SECRET))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.text(st.sampled_from("abkeys: -{}[]'\"\n!&*#|>?%@,0"), max_size=40),
    after=st.text(st.sampled_from("abkeys: -{}[]'\"\n!&*#|>?%@,0"), max_size=40),
)
def test_no_broken_file_shows_a_secret(tmp_path: Path, before: str, after: str) -> None:
    """Whatever surrounds a key in a file that is broken, no message has eight characters of it."""
    path = tmp_path / "k.yaml"
    path.write_text(f"{before}{SECRET}{after}", encoding="utf-8")
    try:
        said = repr(KeyFile.load(path))
    except UsageError as error:
        said = repr(error) + str(error) + repr(error.problems)
    assert not any(part in said for part in parts(SECRET))


def test_a_record_does_not_show_digests(tmp_path: Path) -> None:
    """The repr of a key file, which may end in a log, has neither secrets nor digests."""
    file, secret = KeyFile(tmp_path / "k.yaml").add()
    assert file.keys[0].sha256 not in repr(file)
    assert not any(part in repr(file) for part in parts(secret))
    assert masked(f"a {secret} b") == "a so-… b"
