"""The file of API keys that a gateway is given: who may call what, how much and until when. It holds no secret."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints, model_validator

from harness.spec.base import Sha256, Slug, Spec


def _text(value: object) -> object:
    # pydantic would read the number 2027 as a second of the year 1970.
    if isinstance(value, int | float):
        message = "a time is written as 2027-01-31T18:00:00Z"
        raise ValueError(message)  # noqa: TRY004 (pydantic turns a ValueError into a problem with its line)
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_text)]
Count = Annotated[int, Field(ge=1, strict=True)]
Callable_ = Annotated[str, StringConstraints(pattern=r"^(\*|[^\s*]+)$", max_length=200)]


class KeyQuota(Spec):
    """What one key may ask for; absent: the server's own limit. The minute is the last 60 seconds."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrent: Count | None = None


class ApiKey(Spec):
    """One key. ``sha256`` is the digest of the secret, in hexadecimal; ``models`` names apps and models, ``*`` all."""

    id: Slug
    sha256: Sha256 = Field(repr=False)
    role: Literal["user", "operator", "admin"] = "user"
    models: tuple[Callable_, ...]
    limits: KeyQuota = KeyQuota()
    expires: Moment | None = None
    created: Moment | None = None
    revoked: Moment | None = None
    note: str = ""


class Keys(Spec):
    """The whole file."""

    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [key.id for key in self.keys]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            message = f"these ids stand more than once: {', '.join(twice)}; every key has its own"
            raise ValueError(message)
        if len({key.sha256 for key in self.keys}) < len(self.keys):
            message = "two keys have the same sha256; a secret belongs to one key"
            raise ValueError(message)
        return self
