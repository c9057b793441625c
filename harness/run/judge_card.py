"""``signoff judge card``: a judge asked for every labelled output, and how far it agrees with who labelled them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from harness.errors import SignoffError, UsageError
from harness.evals.judges import Asker, Exhibit, Withheld, exhibit, grade
from harness.evals.judges.cards import Judged, agreement
from harness.run.gateway import Gateway
from harness.run.options import Options
from harness.run.stages.asking import load_cases
from harness.serve.engine.hub import cache_identity
from harness.serve.steps.callers import CachingCaller, EndpointCaller
from harness.serve.steps.chain import Call, Chain
from harness.serve.steps.http_step import HttpRunner
from harness.spec.graded import GradedSettings, judge_settings
from harness.spec.judge_cards import CARD, LABELS, Card, Label, labels_digest, read_labels
from harness.spec.judges import JudgeFiles
from harness.spec.repository import AppFiles, Repository, SuiteFiles, load_repository
from harness.spec.suites import Case, CheckSpec
from harness.store import GenerationCache, write_atomic

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Written:
    """The card, where it stands, why no gate may rest on it (empty: it may), and labels that are of no use."""

    card: Card
    path: Path
    distrust: str
    unusable: tuple[str, ...]


def write_card(options: Options, app: str, name: str) -> Written:
    """Ask the judge for every label, compute its card and write it beside the judge.

    UsageError: there is no such judge, or nothing is labelled. SignoffError: the judge could not be asked; then no
    card is written, because one of half the labels would flatter or slander.
    """
    repository = load_repository(options.root, only=(app,))
    suite = repository.suites[app]
    files = suite.judges.get(name)
    if files is None:
        known = ", ".join(suite.judges) or "none"
        raise UsageError(f"app {app!r} has no judge {name!r}; there are: {known}")
    labels, _ = read_labels(files.folder, options.root, files.judge.labels)
    if not labels:
        where = (files.folder / LABELS).relative_to(options.root).as_posix()
        raise UsageError(f"{where} holds no label; write what people say of some outputs there, see docs/judges.md")
    judged, unusable = asyncio.run(_all_judged(options, repository, (app, files), labels))
    card = Card(
        judge=name,
        judge_digest=files.digest,
        labels_digest=labels_digest(files.folder),
        human=agreement(files.judge, [each for each in judged if each.label.by == "human"]),
        model=agreement(files.judge, [each for each in judged if each.label.by == "model"]),
    )
    path = files.folder / CARD
    write_atomic(path, orjson.dumps(card.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    doubt = JudgeFiles(files.judge, files.folder, files.prompt, files.model, card).distrust
    return Written(card, path, doubt, tuple(unusable))


async def _all_judged(
    options: Options, repository: Repository, what: tuple[str, JudgeFiles], labels: Sequence[Label]
) -> tuple[list[Judged], list[str]]:
    app, files = what
    suite, room = repository.suites[app], asyncio.Semaphore(_AT_ONCE)
    cases = {case.id: case for case in load_cases(suite, options)} if any(label.case for label in labels) else {}
    with tempfile.TemporaryDirectory(prefix="signoff-card-") as scratch:
        gateway = Gateway(
            options.root, None, [app], options.cache, Path(scratch) / "gateway.log", sorted(suite.judging_models)
        )
        with gateway, GenerationCache(options.cache / "generations.sqlite") as cache:
            async with aiohttp.ClientSession() as session:
                asker = Asker(session, gateway.base_url)
                caller = CachingCaller(EndpointCaller(session, gateway.base_url), cache, cache_identity)
                chain = Chain(repository.apps[app], caller, HttpRunner(session, cache))
                shower = _Shower(repository.apps[app], suite, files, chain, cases)

                async def one(label: Label) -> tuple[Judged | None, str]:
                    async with room:
                        shown = await shower.exhibit(label)
                        if isinstance(shown, str):
                            return None, f"label {label.id!r}: {shown}"
                        other = Exhibit(shown.input, label.other) if files.judge.kind == "pairwise" else None
                        made = await grade(files, shown, other, asker)
                        return Judged(label, made.scores[0].value), ""

                done = await asyncio.gather(*(one(label) for label in labels))
                caller.flush()
    return [each for each, _ in done if each is not None], [why for _, why in done if why]


@dataclass(frozen=True, slots=True)
class _Shower:
    app: AppFiles
    suite: SuiteFiles
    files: JudgeFiles
    chain: Chain
    cases: Mapping[str, Case]

    async def exhibit(self, label: Label) -> Exhibit | str:
        """What the label is about, or why that is not known."""
        if label.output:
            return Exhibit(label.input, label.output, label.expected, label.context)
        case = self.cases.get(label.case)
        if case is None:
            return f"there is no case {label.case!r}"
        spec, settings = self._check()
        shown = await self._answer(case, spec, settings)
        if isinstance(shown, Withheld):
            return shown.reason
        if shown.output_digest != label.output_digest:
            return f"case {label.case!r} is answered otherwise now; label the new answer"
        return shown

    def _check(self) -> tuple[CheckSpec, GradedSettings]:
        name = f"judge/{self.files.judge.name}"
        spec = next((each for each in self.suite.suite.checks if each.check == name), None)
        if spec is None:
            raise UsageError(f"no check asks {name}; labels by case need one that says which step they are about")
        return spec, judge_settings(spec)

    async def _answer(self, case: Case, spec: CheckSpec, settings: GradedSettings) -> Exhibit | Withheld:
        messages = [turn.model_dump() for turn in case.messages]
        result = await self.chain.run(Call(case.inputs, messages, case.id))
        if result.unreachable:
            message = f"case {case.id!r} could not be asked: {result.reason}"
            raise SignoffError(message)
        return exhibit(spec, settings, case, self.app, result)
