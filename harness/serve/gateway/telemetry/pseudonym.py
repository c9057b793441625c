"""One person, one word: users in the log of requests, recognisable across rows and not to be traced back."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from harness.errors import UsageError

_SALT_BYTES = 32
SALT_FILE = "salt"


class Pseudonyms:
    """Replaces user ids by 16 hex digits of a keyed hash. The key stays in ``folder`` (mode 0600).

    Whoever has the key can test a guess, because user ids can be guessed: keep it apart from copies of the log, and
    delete it to make the words in old files meaningless.
    """

    def __init__(self, folder: Path) -> None:
        self._salt = _salt(folder / SALT_FILE)

    def of(self, user: str) -> str:
        """The word for ``user``; nothing for nobody."""
        if not user:
            return ""
        return hmac.new(self._salt, user.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]


def _salt(path: Path) -> bytes:
    """The key in ``path``, made if there is none yet; UsageError for a file that is no such key."""
    if not path.exists():
        _make(path)
    found = path.read_bytes()
    if len(found) != _SALT_BYTES:
        raise UsageError(f"{path} holds {len(found)} bytes and not {_SALT_BYTES}; delete it to get a new one")
    return found


def _make(path: Path) -> None:
    # Linked when it is complete: another process sees all of it or nothing, and the first one wins.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(_SALT_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
