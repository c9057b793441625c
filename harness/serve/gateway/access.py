"""Who is behind a request, by the key that it carries, and what that key allows."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import UsageError
from harness.serve.gateway.api_errors import ApiError, no_model
from harness.serve.gateway.keys import KeyFile, digest
from harness.serve.gateway.turn import KeyLimits, Principal, Role
from harness.spec.keys import ApiKey

_log = logging.getLogger("signoff.access")
_LOOK_EVERY_S = 1.0
_REMIND_EVERY_S = 60.0
_RANKS: dict[Role, int] = {"user": 0, "operator": 1, "admin": 2}

Stamp = tuple[int, int, int, int]


class KeyAccess:
    """The ``Access`` of a key file, which is looked at again at most once a second.

    Additions and revocations count from the next look on. A file that has become broken or unreadable keeps the last
    good keys in force, so that half a save does not lock everybody out, and is logged as an error until it is mended.
    A file that is gone is a decision, or cannot be told from one: no key is valid until it is back.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the file now; UsageError if it is absent or wrong: a server does not start with it."""
        self._path, self._clock, self._monotonic = path, clock, monotonic
        self._stamp: Stamp | None = _stamp_of(path)
        self._keys = _by_digest(KeyFile.load(path))
        self._looked = monotonic()
        self._reminded = -_REMIND_EVERY_S
        self.problem: str | None = None
        """What is wrong with the file now; None while it is in order."""

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """The principal of ``Authorization: Bearer <key>``; ApiError 401, always the same, if no key is valid."""
        self._look()
        sent = digest(_bearer(headers.get("authorization", "")))
        found: ApiKey | None = None
        # Every key is compared, the found one too, so that the time tells nothing of which it was.
        for kept, key in self._keys:
            if secrets.compare_digest(kept, sent):
                found = key
        if found is None or not self._valid(found):
            raise _unauthorised()
        quota = found.limits
        limits = KeyLimits(quota.requests_per_minute, quota.tokens_per_minute, quota.concurrent)
        return Principal(found.id, found.role, frozenset(found.models), limits)

    def _valid(self, key: ApiKey) -> bool:
        now = datetime.fromtimestamp(self._clock(), UTC)
        return key.revoked is None and (key.expires is None or now < key.expires)

    def _look(self) -> None:
        now = self._monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        # The stamp is taken before the file is read: a change in between shows at the next look.
        stamp = _stamp_of(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        if self.problem is not None and now - self._reminded >= _REMIND_EVERY_S:
            self._reminded = now
            _log.error("%s", self.problem)

    def _reload(self) -> None:
        self._reminded = self._monotonic() - _REMIND_EVERY_S
        if self._stamp is None:
            self._keys = ()
            self.problem = f"{self._path} is gone: every request is refused until it is back"
            return
        try:
            self._keys = _by_digest(KeyFile.load(self._path))
        except UsageError as error:
            self.problem = f"the keys that were valid before stay valid, because the key file cannot be read: {error}"
            return
        self.problem = None
        _log.warning("%s was read again: it has %d keys", self._path, len(self._keys))


def authorise(principal: Principal, model: str) -> None:
    """ApiError 404 if the key may not call ``model``: the same answer as for a name that does not exist."""
    if not principal.may_call(model):
        raise no_model(model)


def require(principal: Principal, role: Role) -> None:
    """ApiError 403 if the key's role is below ``role`` (user < operator < admin)."""
    if _RANKS[principal.role] < _RANKS[role]:
        raise ApiError(403, f"this needs a key with the role {role}; yours is {principal.role}", code="role_required")


def _by_digest(file: KeyFile) -> tuple[tuple[bytes, ApiKey], ...]:
    for warning in file.warnings:
        _log.warning("%s", warning)
    return tuple((bytes.fromhex(key.sha256), key) for key in file.keys)


def _stamp_of(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _bearer(header: str) -> str:
    scheme, _, secret = header.strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _unauthorised() -> ApiError:
    # One text for missing, unknown, expired and revoked: which of them it is would tell that a key was once good.
    return ApiError(
        401,
        "unknown, expired or revoked key; send a valid one as 'Authorization: Bearer <key>'",
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )
