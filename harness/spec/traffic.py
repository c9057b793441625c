"""``traffic.yaml``: which share of an app's users each variant answers. It is no part of the app's digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from harness.errors import Problem, UsageError
from harness.spec.base import Slug, Spec
from harness.spec.yaml_file import Document, parse_yaml, read_text, validate

FILE = "traffic.yaml"
HASHED = "sha256:"
_HASHED = re.compile(rf"{HASHED}[0-9a-f]{{64}}")
_KINDS = ("serves", "release", "ref")
_AT = "2027-01-31T09:00:00+01:00"
# These names mean one thing everywhere else: an arm must not give them another.
_TAKEN = ("candidate", "baseline")

_Where = tuple[str | int, ...]
_Found = Iterator[tuple[_Where, str]]


def instant(value: Any) -> datetime:
    """A date and time with its zone; ValueError for anything else."""
    # Numbers are refused: pydantic would read 20270131 as seconds since 1970.
    if isinstance(value, str | datetime):
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            found = None
        if found is not None and found.tzinfo is not None:
            return found
    message = f"{value!r} is no date and time with a zone; write it as {_AT}"
    raise ValueError(message)


Instant = Annotated[datetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"})]
# Git takes what begins with a dash for an option.
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./@{}^~+-]*$", max_length=200)]
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=40)]
User = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ArmSpec(Spec):
    """One arm: its share in percent, and what it serves, said by exactly one of ``serves``, ``release`` and ``ref``.

    ``serves: candidate`` is the working tree, ``baseline`` what the candidate is compared with; ``release`` is a tag,
    ``ref`` any commit. A name is resolved once, when the server starts.
    """

    name: ArmName
    share: float = Field(ge=0, le=100, strict=True)
    serves: Literal["candidate", "baseline"] | None = None
    release: Revision | None = None
    ref: Revision | None = None
    description: str = ""

    @property
    def percent(self) -> Fraction:
        """The share as it is written, without the rounding of binary numbers: 0.1 is a tenth."""
        return Fraction(repr(self.share))

    @property
    def source(self) -> tuple[str, str]:
        """What the arm serves, as (key, value); two arms with the same source serve the same app."""
        return next((kind, value) for kind in _KINDS if (value := getattr(self, kind)))


class Traffic(Spec):
    """``suites/<app>/traffic.yaml``; read it with ``read_traffic``, which also checks what spans several keys.

    ``experiment`` is the salt of the assignment: another name deals the users anew. ``allow`` maps an arm to users
    (or ``sha256:`` and the digest of one) who always get it. Outside ``start`` to ``end`` everybody gets ``default``.
    """

    experiment: Slug
    description: str = ""
    sticky: Literal["user"] = "user"
    variants: tuple[ArmSpec, ...] = Field(min_length=1)
    shadow: tuple[ArmSpec, ...] = ()
    allow: dict[ArmName, tuple[User, ...]] = Field(default_factory=dict)
    default: ArmName | None = None
    start: Instant | None = None
    end: Instant | None = None
    minimum_sample: int | None = Field(default=None, ge=1)


def read_traffic(folder: Path, shown: str) -> tuple[Traffic | None, list[Problem]]:
    """The traffic of the app whose suite is ``folder``, None without the file; every problem of the file at once."""
    path = folder / FILE
    if not path.exists():
        return None, []
    text, problems = read_text(path, shown)
    document, more = (None, []) if text is None else parse_yaml(text, shown)
    problems += more
    if document is None or problems:
        return None, problems
    traffic, problems = validate(document, Traffic)
    problems += _across(document)
    return (None if problems else traffic), problems


def load_traffic(root: Path, apps: Iterable[str]) -> dict[str, Traffic]:
    """The traffic of those ``apps`` that have a file; UsageError holds every problem of every file."""
    found, problems = {}, []
    for app in apps:
        traffic, wrong = read_traffic(root / "suites" / app, f"suites/{app}/{FILE}")
        problems += wrong
        if traffic is not None:
            found[app] = traffic
    if problems:
        raise UsageError.of(problems)
    return found


def _across(document: Document) -> list[Problem]:
    """What is wrong between keys, found in the plain data: also when one of them is wrong in itself."""
    data = document.data
    if not isinstance(data, dict):
        return []
    rules: tuple[Callable[[Mapping[str, Any]], _Found], ...] = (_shares, _names, _sources, _testers, _times)
    return [Problem(document.path, document.line_of(where), message) for rule in rules for where, message in rule(data)]


def _arms(data: Mapping[str, Any], *keys: str) -> list[tuple[_Where, dict[str, Any]]]:
    lists = [(key, data.get(key)) for key in keys]
    return [
        ((key, index), arm)
        for key, arms in lists
        if isinstance(arms, list)
        for index, arm in enumerate(arms)
        if isinstance(arm, dict)
    ]


def _variant_names(data: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(str(arm["name"]) for _, arm in _arms(data, "variants") if "name" in arm))


def _shares(data: Mapping[str, Any]) -> _Found:
    shares = [_share(arm) for _, arm in _arms(data, "variants")]
    known = [share for share in shares if share is not None]
    if shares and len(known) == len(shares) and sum(known) != 100:
        yield ("variants",), f"the shares of the variants add up to {float(sum(known)):.10g}; make it 100"
    for where, arm in _arms(data, "shadow"):
        if _share(arm) == 0:
            yield (*where, "share"), "a shadow with share 0 is never called; give it a share or remove it"


def _share(arm: Mapping[str, Any]) -> Fraction | None:
    share = arm.get("share")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        return None
    return Fraction(repr(share))


def _names(data: Mapping[str, Any]) -> _Found:
    seen: set[str] = set()
    for where, arm in _arms(data, "variants", "shadow"):
        name = arm.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (*where, "name"), f"arm {name!r} stands twice; names are unique, also between variants and shadow"
        seen.add(name)
        if name in _TAKEN and arm.get("serves") != name:
            yield (*where, "name"), f"an arm called {name!r} must have 'serves: {name}'; call it something else"


def _sources(data: Mapping[str, Any]) -> _Found:
    for where, arm in _arms(data, "variants", "shadow"):
        given = [kind for kind in _KINDS if arm.get(kind) is not None]
        if len(given) != 1:
            have = " and ".join(given) or "none"
            yield where, f"arm {arm.get('name')!r} needs exactly one of {', '.join(_KINDS)}; it has {have}"


def _testers(data: Mapping[str, Any]) -> _Found:
    allow = data.get("allow")
    names, arm_of = _variant_names(data), dict[str, str]()
    for arm, users in allow.items() if isinstance(allow, dict) else ():
        if arm not in names:
            yield ("allow", arm), f"no variant {arm!r}; there are: {', '.join(names)}"
        for index, user in enumerate(users if isinstance(users, list) else ()):
            if not isinstance(user, str):
                continue
            where = ("allow", arm, index)
            if user in arm_of:
                yield where, f"this user stands under {arm_of[user]!r} already; one arm each"
            arm_of[user] = arm
            if user.startswith(HASHED) and not _HASHED.fullmatch(user):
                yield where, f"after {HASHED!r} come the 64 small hexadecimal digits of the user's sha256"


def _times(data: Mapping[str, Any]) -> _Found:
    names, default = _variant_names(data), data.get("default")
    if default is not None and default not in names:
        yield ("default",), f"default: no variant {default!r}; there are: {', '.join(names)}"
    given = [key for key in ("start", "end") if data.get(key) is not None]
    if given and default is None:
        yield (given[0],), f"{given[0]!r} needs 'default': the variant that answers before the start and after the end"
    try:
        start, end = instant(data.get("start")), instant(data.get("end"))
    except ValueError:
        return
    if end <= start:
        yield ("end",), f"the end {data['end']} is not after the start {data['start']}"
