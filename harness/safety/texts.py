"""Attack texts: those that ship, those of the suite, and those of pinned packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import orjson
import yaml

from harness.errors import UsageError
from harness.spec.cases import dig
from harness.spec.probe_sets import FAMILIES, AttackText, Family, ProbeSet, TextSource
from harness.spec.suites import ChatTurn

Fetch = Callable[[str, str], Path]
_FOLDER = Path(__file__).parent / "attack_texts"
_CANARY_SLOT = re.compile(r"\{canary\}|\{left\}")


@dataclass(frozen=True, slots=True)
class Seed:
    """One attack before it is dressed: attempts that come from it are one cluster."""

    id: str
    text: str
    twin: str = ""
    before: tuple[ChatTurn, ...] = ()

    @classmethod
    def of(cls, text: AttackText) -> Seed:
        """The seed of a text of a file."""
        return cls(text.id, text.text, text.twin, text.before)


@cache
def shipped(family: Family) -> tuple[Seed, ...]:
    """The attacks of ``family`` that come with this package."""
    rows = yaml.safe_load((_FOLDER / f"{family}.yaml").read_text(encoding="utf-8"))
    return tuple(Seed.of(AttackText.model_validate(row)) for row in rows)


def twins(others: Sequence[ProbeSet]) -> list[Seed]:
    """The harmless twins of all attacks that ship, and of the texts of ``others``."""
    own = [(probe.id, Seed.of(text)) for probe in others for text in probe.texts]
    ours = [(family.replace("_", "-"), seed) for family in FAMILIES for seed in shipped(family)]
    # The id says whose twin it is; a set's and a family's name are at most 30 characters, and so is a seed's.
    return [replace(seed, id=f"{name}-{seed.id}", text=seed.twin, twin="") for name, seed in [*ours, *own] if seed.twin]


def seeds_of(probe: ProbeSet, others: Sequence[ProbeSet], fetch: Fetch) -> tuple[Seed, ...]:
    """Every attack of a set; UsageError for two with one id, a source that changed, or a canary that none asks for."""
    found = [Seed.of(text) for text in probe.texts]
    if not probe.own_only:
        found += shipped(probe.family)
        found += twins(others) if probe.family == "over_refusal" else []
    for source in probe.sources:
        found += _external(source, fetch)
    ids = [seed.id for seed in found]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise UsageError(f"set {probe.id!r}: text {twice[0]!r} stands twice; give yours another id")
    if probe.family in ("canary", "indirect"):
        for seed in found:
            if not _CANARY_SLOT.search(seed.text):
                message = f"set {probe.id!r}: text {seed.id!r} asks for no {{canary}}, so it could never succeed"
                raise UsageError(message)
    return tuple(found)


def _external(source: TextSource, fetch: Fetch) -> list[Seed]:
    content = fetch(source.source, source.sha256).read_bytes()
    texts = _texts(source, content)
    absent = [name for name in source.rows if name not in texts]
    if absent:
        raise UsageError(f"{source.source} has no text {absent[0]!r}")
    return [Seed(_slug(source.prefix + name), texts[name] + source.append) for name in source.rows]


def _texts(source: TextSource, content: bytes) -> dict[str, str]:
    if source.format == "json":
        data = orjson.loads(content)
        return {name: str(dig(data, name)) for name in source.rows}
    rows = [orjson.loads(line) for line in content.splitlines() if line.strip()]
    return {str(dig(row, source.id)): str(dig(row, source.text)) for row in rows}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower())[:48]
