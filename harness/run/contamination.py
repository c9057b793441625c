"""Every suite against every mart, and against what its own prompts show: pairs, waivers, and what is kept of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from harness.data.contamination import RULE, CaseText, Finder, Learnt, Pair, case_texts, pairs
from harness.errors import UsageError
from harness.spec.apps import ChoiceOutput, LlmStep
from harness.spec.prompts import split_front
from harness.spec.repository import AppFiles, load_repository
from harness.spec.suites import Case
from harness.spec.waivers import WAIVERS, Waiver
from harness.store import canonical, digest_bytes, digest_of, fetch, write_atomic

if TYPE_CHECKING:
    from harness.data.marts import BuiltMart

REVISION = 1
"""Raised when the same texts would give other pairs."""
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}")


@dataclass(frozen=True, slots=True)
class Source:
    """What a model learns from or is shown, under the name by which a waiver names it, with its digest."""

    name: str
    digest: str
    rows: Sequence[Learnt] | BuiltMart

    def learnt(self) -> Sequence[Learnt]:
        """The texts; a mart's are read now."""
        return self.rows if isinstance(self.rows, Sequence) else list(_of_mart(self.rows))


@dataclass(frozen=True)
class Contamination:
    """What one suite shares with everything that was searched.

    ``pairs`` count, ``waived`` do not. ``expired`` waivers cover a pair and are too old, ``idle`` ones cover none.
    """

    app: str
    texts: int
    pairs: tuple[Pair, ...] = ()
    waived: tuple[tuple[Pair, Waiver], ...] = ()
    expired: tuple[Waiver, ...] = ()
    idle: tuple[Waiver, ...] = ()
    searched: Mapping[str, int] = field(default_factory=dict)

    @property
    def cases(self) -> Mapping[str, tuple[Pair, ...]]:
        """The pairs of each case that was seen, the strongest first."""
        found: dict[str, list[Pair]] = {}
        for pair in sorted(self.pairs, key=lambda pair: -pair.containment):
            found.setdefault(pair.case, []).append(pair)
        return {case: tuple(listed) for case, listed in found.items()}

    def waiver_sentences(self) -> Iterator[str]:
        """What is to be done about waivers, for people."""
        path = f"suites/{self.app}/{WAIVERS}"
        for waiver in self.expired:
            yield f"{path}: the waiver of case {waiver.case} by {waiver.by} expired on {waiver.expires.isoformat()}"
        for waiver in self.idle:
            pair = f"case {waiver.case} and {waiver.row} of {waiver.mart}"
            yield f"{path}: the waiver of {pair} matches nothing; remove it"


def search(
    app: str,
    cases: Sequence[Case],
    sources: Sequence[Source],
    waivers: Sequence[Waiver],
    *,
    cache: Path,
    today: date,
) -> Contamination:
    """What the cases share with the sources. Pairs of texts that were compared before come from the cache."""
    texts = case_texts(cases)
    finder = _Once(texts)
    asked = digest_of([[text.case, text.place, text.text] for text in texts])
    found: list[Pair] = []
    searched = {}
    for source in sources:
        key = digest_of({"revision": REVISION, "rule": asdict(RULE), "cases": asked, "source": source.digest})
        kept = cache / "contamination" / f"{key}.json"
        pairs_here, count = _read(kept, source.name) or (None, 0)
        if pairs_here is None:
            learnt = source.learnt()
            pairs_here, count = pairs(texts, source.name, learnt, finder.get()), len(learnt)
            write_atomic(kept, orjson.dumps({"texts": count, "pairs": [pair.as_dict() for pair in pairs_here]}))
        found += pairs_here
        searched[source.name] = count
    return _judged(app, len(texts), found, waivers, today, searched)


@dataclass
class _Once:
    """The index over the cases, made when the first source needs it."""

    texts: Sequence[CaseText]
    finder: Finder | None = None

    def get(self) -> Finder:
        self.finder = self.finder or Finder([text.text for text in self.texts])
        return self.finder


def _read(path: Path, source: str) -> tuple[list[Pair], int] | None:
    try:
        kept = orjson.loads(path.read_bytes())
        # Two sources of one content differ in nothing but the name.
        return [Pair(**{**pair, "source": source}) for pair in kept["pairs"]], int(kept["texts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _judged(
    app: str, texts: int, found: Sequence[Pair], waivers: Sequence[Waiver], today: date, searched: Mapping[str, int]
) -> Contamination:
    by_pair = {waiver.pair: waiver for waiver in waivers}
    valid = {pair: waiver for pair, waiver in by_pair.items() if not waiver.expired(today)}
    there = {pair.waivable for pair in found}
    return Contamination(
        app,
        texts,
        pairs=tuple(pair for pair in found if pair.waivable not in valid),
        waived=tuple((pair, valid[pair.waivable]) for pair in found if pair.waivable in valid),
        expired=tuple(waiver for waiver in waivers if waiver.expired(today) and waiver.pair in there),
        idle=tuple(waiver for waiver in waivers if waiver.pair not in there),
        searched=searched,
    )


def mart_source(built: BuiltMart) -> Source:
    """All splits of a mart: of each may be learnt."""
    return Source(built.mart.name, digest_of([built.digest, list(built.mart.key), list(built.mart.text)]), built)


def _of_mart(built: BuiltMart) -> Iterator[Learnt]:
    import pyarrow.parquet as pq

    keys, texts = built.mart.key, built.mart.text
    for split in built.counts:
        # Only what is compared, a portion at a time: a row may hold much more than its texts.
        for batch in pq.ParquetFile(built.split(split)).iter_batches(columns=[*keys, *texts]):
            for row in batch.to_pylist():
                name = "/".join(str(row[key]) for key in keys)
                yield from (
                    Learnt(name, split, column, row[column]) for column in texts if isinstance(row[column], str)
                )


def shown_sources(files: AppFiles) -> list[Source]:
    """What the app's own files show the model: lines of its prompts, and inputs that calibrate its choices."""
    sources = []
    for key, prompt in sorted(files.prompts.items()):
        text = (files.root / prompt.path).read_text(encoding="utf-8")
        _, body, first = split_front(text.replace("\r\n", "\n")) or ("", prompt.body, 1)
        lines = [_TEMPLATE.sub(" ", line) for line in body.split("\n")]
        learnt = [Learnt(f"line {number}", "", "", line) for number, line in enumerate(lines, start=first)]
        sources.append(Source(f"prompts/{key}", prompt.digest, learnt))
    if learnt := list(_calibrating(files)):
        digest = digest_bytes(canonical([[row.row, row.text] for row in learnt]))
        sources.append(Source("app.yaml", digest, learnt))
    return sources


def _calibrating(files: AppFiles) -> Iterator[Learnt]:
    for step in files.app.steps:
        if isinstance(step, LlmStep) and isinstance(step.output, ChoiceOutput):
            for number, inputs in enumerate(step.output.calibrate):
                for name, text in inputs.items():
                    if isinstance(text, str):
                        yield Learnt(f"{step.id}.calibrate.{number}.{name}", "", "", text)


def summary(found: Contamination, most: int = 3) -> str:
    """The cases that were seen in one sentence, the first of them with where; empty when there are none."""
    cases = found.cases
    named = [f"{case} in {listed[0].where}" for case, listed in list(cases.items())[:most]]
    named += [f"{len(cases) - most} more"] if len(cases) > most else []
    return f"{found.app}: {len(cases)} of its cases seen: {', '.join(named)}" if cases else ""


def contaminations(
    root: Path, cache: Path, apps: Sequence[str] = (), marts: Sequence[str] = (), *, say: Callable[[str], None]
) -> list[Contamination]:
    """What the suites share with the marts, which are built first, and with their apps' own prompts.

    ``marts`` restricts to some and leaves the prompts out; ``say`` hears of each step of a build. UsageError for
    invalid files and unknown names; AuditError and SignoffError when a mart cannot be built.
    """
    from harness.data.marts import StepDone, build_mart

    repository = load_repository(root, only=apps)
    if unknown := sorted(set(marts) - repository.marts.keys()):
        message = f"no mart {unknown[0]!r}; there are: {', '.join(repository.marts) or 'none'}"
        raise UsageError(message)

    def built(name: str) -> Source:
        def said(done: StepDone) -> None:
            if not done.skipped:
                say(f"mart {name}: {done.name} ({done.rows:,} rows, {done.seconds:.1f} s)")

        return mart_source(build_mart(root, name, cache, said))

    sources = [built(name) for name in repository.marts if not marts or name in marts]
    today = datetime.now(UTC).date()
    found = []
    for name, suite in repository.suites.items():
        cases = [case for file in suite.case_files for case in file.resolve(partial(fetch, cache=cache, root=root))]
        # Waivers of what was not searched would look as if they matched nothing.
        waivers = [waiver for waiver in suite.waivers if not marts or waiver.mart in marts]
        shown = [] if marts else shown_sources(repository.apps[name])
        found.append(search(name, cases, [*sources, *shown], waivers, cache=cache, today=today))
    return found
