"""API keys in a file: adding, revoking, reading. A secret exists in memory and on its owner's side only."""

from __future__ import annotations

import hashlib
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, UsageError
from harness.serve.gateway.turn import Role
from harness.spec.keys import ApiKey, KeyQuota, Keys
from harness.spec.yaml_file import Document, parse_yaml, read_text
from harness.store import write_atomic
from harness.store.files import locked

PREFIX = "so-"
_SECRET_BYTES = 32
_ELSEWHERE = "choose another --file"
_SECRET = re.compile(rf"{PREFIX}[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The keys of one file as they were when it was read. Changes go to the file at once and give a new record."""

    path: Path
    keys: tuple[ApiKey, ...] = ()

    @classmethod
    def load(cls, path: Path) -> KeyFile:
        """Read the file; UsageError with every problem if it is absent or wrong. No message shows a value."""
        return cls(path, _read(path))

    @classmethod
    def load_or_new(cls, path: Path) -> KeyFile:
        """Read the file if there is one; a file that is not there has no keys yet."""
        return cls.load(path) if path.exists() else cls(path)

    def add(
        self,
        *,
        models: Sequence[str] = ("*",),
        role: Role = "user",
        limits: KeyQuota | None = None,
        expires: datetime | None = None,
        note: str = "",
    ) -> tuple[KeyFile, str]:
        """Write a new key, the last of ``keys``, and return the file with its secret, which is kept nowhere."""
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        with self._newest() as newest:
            key = ApiKey(
                id=_new_id({key.id for key in newest}),
                sha256=digest(secret).hex(),
                role=role,
                models=tuple(models),
                limits=limits or KeyQuota(),
                expires=expires,
                created=_now(),
                note=note,
            )
            return self._write((*newest, key)), secret

    def revoke(self, key_id: str) -> KeyFile:
        """Mark a key as revoked; UsageError for an unknown id. A key that was revoked keeps its first date."""
        with self._newest() as newest:
            if key_id not in {key.id for key in newest}:
                known = ", ".join(key.id for key in newest) or "none"
                message = f"{self.path} has no key with the id {masked(key_id)!r}; its ids are: {known}"
                raise UsageError(message)
            now = _now()
            return self._write(
                tuple(
                    key.model_copy(update={"revoked": now}) if key.id == key_id and key.revoked is None else key
                    for key in newest
                )
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unwise about the file: others than its owner may read or change it."""
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError:
            return ()
        if mode & 0o077 == 0:
            return ()
        return (f"{self.path} has the mode {mode:04o}: others may read or change it; chmod 600 {self.path}",)

    @contextmanager
    def _newest(self) -> Iterator[tuple[ApiKey, ...]]:
        # Two processes that add at once: the second reads what the first wrote.
        real = self.path.resolve()
        with locked(real.with_name(f".{real.name}.lock")):
            yield KeyFile.load_or_new(self.path).keys

    def _write(self, keys: tuple[ApiKey, ...]) -> KeyFile:
        content = _encoded(Keys(keys=keys), as_json=self.path.suffix == ".json")
        # A link is kept, and what it points to is replaced.
        write_atomic(self.path.resolve(), content, _ELSEWHERE, mode=0o600)
        return KeyFile(self.path, keys)


def digest(secret: str) -> bytes:
    """What is kept of a secret: its sha256. It needs no salt and no slow hash: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def masked(text: str) -> str:
    """``text`` without the secrets that somebody may have put into it by mistake."""
    return _SECRET.sub(f"{PREFIX}…", text)


def _new_id(taken: set[str]) -> str:
    while (made := f"key-{secrets.token_hex(4)}") in taken:
        pass
    return made


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _encoded(keys: Keys, *, as_json: bool) -> bytes:
    import orjson
    import yaml

    dumped = (key.model_dump(mode="json", exclude_none=True) for key in keys.keys)
    data = {"keys": [{name: value for name, value in key.items() if value not in ({}, "")} for key in dumped]}
    if as_json:
        return orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text.encode()


def _read(path: Path) -> tuple[ApiKey, ...]:
    shown = str(path)
    text, problems = read_text(path, shown)
    document, found = (None, problems) if text is None else parse_yaml(text, shown)
    if document is None or found:
        raise _wrong(found)
    keys, found = _validated(document)
    if keys is None:
        raise _wrong(found)
    return keys.keys


def _validated(document: Document) -> tuple[Keys | None, list[Problem]]:
    # The common validation shows the value at fault: here that could be a secret in the wrong place.
    if not isinstance(document.data, dict):
        return None, [Problem(document.path, 1, "expected a mapping with the one key 'keys'")]
    try:
        return Keys.model_validate(document.data), []
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False)
    return None, [Problem(document.path, document.line_of(tuple(item["loc"])), _explain(item)) for item in items]


def _explain(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"unknown key {where!r}; remove it or correct its spelling"
    if item["type"] == "string_pattern_mismatch" and item["loc"][-1] == "sha256":
        return f"{where} must be the 64 hexadecimal digits of the secret's sha256, never the secret itself"
    return f"{where}: {item['msg']}" if where else str(item["msg"])


def _wrong(problems: Sequence[Problem]) -> UsageError:
    return UsageError.of([Problem(each.path, each.line, masked(each.message)) for each in problems])
