"""``signoff demo``: three changes of one small app, each gated for real on answers that were recorded before.

The app sorts readers' letters by topic. Only the model is replaced: its answers come from a recording that ships
with the package. Everything behind it (steps, checks, statistics, verdict, report) is what ``signoff gate`` runs.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import textwrap
import time
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.evals import Arm, EvalRun, Progress, Scorer, Tally, bind_checks
from harness.run.check import warnings_of
from harness.run.options import Options
from harness.run.pipeline import GateRun, decide_verdict, write_report
from harness.run.plan import Plan
from harness.run.stages.asking import load_cases
from harness.run.stages.record import StageReport
from harness.serve import Generation, GenerationRequest
from harness.serve.steps.callers import Answer, Caller
from harness.serve.steps.chain import Call, Chain
from harness.serve.steps.http_step import HttpRunner
from harness.spec.git import Revision
from harness.spec.models import Model
from harness.spec.repository import AppFiles, load_repository
from harness.store import RunFolder, digest_of, read_lines, short, write_atomic
from harness.store.runs import new_run_id

FILES = Path(__file__).parent / "demo_files"
RECORDING = FILES / "recording.jsonl"
APP = "letters"
BASELINE = "1.0.0"


@dataclass(frozen=True, slots=True)
class Scene:
    """One change of the prompt, judged on the first ``cases`` letters (None: all), and the verdict to be shown."""

    name: str
    title: str
    change: str
    version: str
    expected: str
    cases: int | None = None


SCENES = (
    Scene(
        "1-examples-dropped",
        "A worse prompt is stopped",
        "Prompt 1.2.0 drops the eight examples of 1.0.0: four fifths fewer tokens for each letter.",
        "1.2.0",
        "fail",
    ),
    Scene(
        "2-reworded",
        "A harmless rewording goes through",
        "Prompt 1.1.0 says 'our magazine' where 1.0.0 says 'a magazine'.",
        "1.1.0",
        "pass",
    ),
    Scene(
        "3-eight-cases",
        "Too few cases decide nothing",
        "The same harmless rewording, but the suite holds 8 letters instead of 120.",
        "1.1.0",
        "inconclusive",
        cases=8,
    ),
)


class ReplayCaller:
    """Answers model calls from a recording (see ``record``), so that no engine is needed."""

    def __init__(self, recording: Path = RECORDING) -> None:
        self._recording = recording
        head, *rows = _rows(recording)
        self.about: Mapping[str, Any] = head["about"]
        self._answers = {row["key"]: row["generation"] for row in rows}
        self.replayed = 0

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The recorded answer; SignoffError when this very request was never recorded."""
        key = request_key(model, request)
        if key not in self._answers:
            asked = request.messages[-1].content
            message = (
                f"{self._recording} holds no answer of {model.name!r} to {asked!r:.120} (key {short(key)}): the "
                "recording and the demo's files do not belong together; reinstall signoff, or record them again"
            )
            raise SignoffError(message)
        self.replayed += 1
        return Answer(Generation(**self._answers[key]), cached=True)


def request_key(model: Model, request: GenerationRequest) -> str:
    """The digest of all that decides a greedy answer: model, messages, decoding without its seed, output."""
    decoding = asdict(request.decoding)
    if decoding.pop("temperature") > 0:
        message = f"temperature is {request.decoding.temperature:g}; only greedy answers can be recorded, set it to 0"
        raise SignoffError(message)
    del decoding["seed"]
    for name in ("logit_bias", "ignore_eos"):
        # Recordings made before these fields existed still hold.
        if not decoding[name]:
            del decoding[name]
    return digest_of(
        {
            "model": model.digest,
            "adapter": request.adapter or "",
            "messages": [[message.role, message.content] for message in request.messages],
            "decoding": decoding,
            "output": asdict(request.output),
        }
    )


def _rows(recording: Path) -> list[dict[str, Any]]:
    rows = list(read_lines(recording)) if recording.is_file() else []
    if not rows or "about" not in rows[0]:
        message = f"{recording} is missing or has no first line 'about': reinstall signoff, or record it again"
        raise SignoffError(message)
    return rows


def demo(cache: Path, *, open_report: bool, as_json: bool, recording: Path = RECORDING) -> int:
    """Play the three scenes below ``cache/demo``, tell them, open the red report; the exit code.

    0 when each scene came to the verdict that it is there to show, else 3. SignoffError: the recording lacks an answer.
    """
    started, home = time.monotonic(), cache / "demo" / new_run_id()
    caller = ReplayCaller(recording)
    if not as_json:
        _introduce(caller.about)
    shown = []
    for scene in SCENES:
        shown.append(play(scene, home, caller))
        if not as_json:
            _tell(len(shown), scene, shown[-1])
    as_told = all(scene["verdict"] == scene["expected"] for scene in shown)
    result = {
        "scenes": shown,
        "verdicts": [scene["verdict"] for scene in shown],
        "as_told": as_told,
        "exit_code": 0 if as_told else SignoffError.exit_code,
        "folder": str(home),
        "seconds": round(time.monotonic() - started, 3),
        "recording": dict(caller.about),
    }
    if as_json:
        _print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        _conclude(result)
        if open_report and _can_open():
            webbrowser.open(Path(_red(shown)["report"]).as_uri())
    return int(str(result["exit_code"]))


def play(scene: Scene, home: Path, caller: ReplayCaller) -> dict[str, Any]:
    """Gate one scene: write both trees below ``home``, measure, decide, report; what is there to tell."""
    baseline = write_tree(home / scene.name / "baseline", BASELINE)
    candidate = write_tree(home / scene.name / "candidate", scene.version, scene.cases)
    repository = load_repository(candidate)
    before = load_repository(baseline, with_suites=False).apps
    revision = Revision(f"prompt {BASELINE}", None, "the demo compares two folders, not two commits")
    options = Options(candidate, home, quiet=True)
    run = GateRun(options, plan=Plan(repository, revision, baseline, before))
    recorded = f"answers of {caller.about['model']} recorded on {caller.about['recorded']}"
    run.warnings = [f"demo: {recorded} are replayed, no model was asked", *warnings_of(repository)]
    run.folder = RunFolder.create(options.reports)
    run.stages.append(_measure(run, caller))
    decide_verdict(run)
    write_report(run)
    kept = next(gate for gate in run.verdict["gates"] if gate["id"] == "topic-kept")
    return {
        "scene": scene.name,
        "title": scene.title,
        "change": scene.change,
        "expected": scene.expected,
        "verdict": run.verdict["verdict"],
        "exit_code": run.verdict["exit_code"],
        "cases": kept["n"],
        "baseline": kept["baseline"],
        "candidate": kept["candidate"],
        "reason": run.verdict["reasons"][0],
        "next_action": run.verdict["next_action"],
        "warnings": run.warnings,
        "run": str(run.folder.path),
        "report": str(run.folder.path / "report.html"),
    }


def write_tree(root: Path, version: str, cases: int | None = None) -> Path:
    """The demo's repository below ``root``, its app on prompt ``version``, its suite cut to the first ``cases``."""
    for source in sorted(path for path in (FILES / "tree").rglob("*") if path.is_file()):
        content, target = source.read_bytes(), root / source.relative_to(FILES / "tree")
        if source.name == "app.yaml":
            content = content.replace(f"{APP}/topic/{BASELINE}".encode(), f"{APP}/topic/{version}".encode())
        if source.suffix == ".jsonl":
            content = b"".join(content.splitlines(keepends=True)[:cases])
        write_atomic(target, content)
    return root


def _measure(run: GateRun, caller: ReplayCaller) -> StageReport:
    plan, folder = run.ready
    started, before, report = time.monotonic(), caller.replayed, StageReport("regression")
    with (
        folder.jsonl(f"measurements/{report.name}.jsonl") as rows,
        folder.jsonl(f"artifacts/{report.name}/outputs.jsonl") as outputs,
    ):
        tally = asyncio.run(_ask_both(run.options, plan, caller, (rows.write, outputs.write)))
    if tally.broken:
        raise SignoffError(tally.broken)
    report.seconds = time.monotonic() - started
    report.cached_calls = caller.replayed - before
    report.count(APP, tally, report.seconds, 0)
    return report


async def _ask_both(options: Options, plan: Plan, caller: Caller, emit: tuple[Any, Any]) -> Tally:
    suite, files = plan.repository.suites[APP], plan.repository.apps[APP]
    cases = load_cases(suite, options)
    scorer = Scorer(bind_checks(suite.suite, files.folder, APP))
    async with aiohttp.ClientSession() as session:
        http = HttpRunner(session)
        arms = [
            Arm("baseline", plan.baselines[APP], Chain(plan.baselines[APP], caller, http)),
            Arm("candidate", files, Chain(files, caller, http)),
        ]
        run = EvalRun(arms, scorer, *emit, concurrency=suite.suite.concurrency, deadline_s=suite.suite.deadline_s)
        return await run.run(cases, range(1), Progress(APP, len(cases) * 2, quiet=True))


def _introduce(about: Mapping[str, Any]) -> None:
    _print("An app sorts readers' letters to a magazine by topic: food, sport, music or travel.")
    _print("Three changes of its prompt come up for release. May they ship?")
    _print(f"(the answers of {about['model']} were recorded on {about['recorded']}; everything else is computed now)")


def _tell(number: int, scene: Scene, told: Mapping[str, Any]) -> None:
    _print(f"\n{number}. {scene.title}")
    measured = f"{_share(told['baseline'])} -> {_share(told['candidate'])} of {told['cases']} letters sorted right"
    for label, text in (
        ("change", scene.change),
        ("measured", measured),
        ("verdict", str(told["verdict"]).upper() + f"  (signoff gate would exit with {told['exit_code']})"),
        ("reason", str(told["reason"])),
        ("next", str(told["next_action"])),
    ):
        _print(textwrap.fill(text, 100, initial_indent=f"   {label:<10}", subsequent_indent=" " * 13))
    _print(f"   {'report':<10}{told['report']}")
    if told["verdict"] != scene.expected:
        _print(f"   This scene should have come out as {scene.expected}: something on this installation differs.")


def _share(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.1f} %"


def _conclude(result: Mapping[str, Any]) -> None:
    red = Path(_red(result["scenes"])["run"])
    root = red.parents[1]
    _print(f"\nThree gate decisions in {result['seconds']:.1f} s, all kept in {result['folder']}\n")
    _print("Try next:")
    _print(f"  signoff check --root {root}")
    _print(f"  signoff report {red.name} --root {root}")
    _print("  signoff check                           (in your own repository)")
    _print("  signoff gate --baseline origin/main     (in your own repository, on a branch)")


def _red(shown: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((scene for scene in reversed(shown) if scene["verdict"] == "fail"), shown[0])


def _can_open() -> bool:
    if os.environ.get("CI"):
        return False
    return platform.system() != "Linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _print(text: str) -> None:
    # Told scene by scene, also through a pipe.
    print(text, file=sys.stdout, flush=True)


class _Recorder:
    """Passes calls on and keeps what came back."""

    def __init__(self, inner: Caller) -> None:
        self._inner = inner
        self.rows: dict[str, dict[str, Any]] = {}

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        answer = await self._inner.ask(model, request, repeat)
        key = request_key(model, request)
        self.rows[key] = {"key": key, "asked": request.messages[-1].content, "generation": asdict(answer.generation)}
        return answer


def record(cache: Path, *, model_folder: Path | None = None, into: Path = RECORDING) -> int:
    """Make the recording again with the real model; the number of answers. For developers of Signoff only.

    Needed after any edit below ``demo_files/tree``; takes a few minutes on two cores and ``signoff[local]``::

        python -c "from harness.run.demo import record; from harness.store import cache_home; record(cache_home())"

    ``model_folder`` is a converted copy of the very bytes that ``model.yaml`` names; without it they are fetched.
    SignoffError when a letter gets no answer; the old recording then stays.
    """
    return asyncio.run(_record(cache, model_folder, into))


async def _record(cache: Path, model_folder: Path | None, into: Path) -> int:
    from datetime import UTC, datetime

    from harness.serve.engine.async_engine import AsyncEngine
    from harness.serve.engine.hub import ModelHub
    from harness.serve.engine.loader import load_transformers
    from harness.serve.steps.callers import EngineCaller

    with tempfile.TemporaryDirectory() as scratch:
        trees = [write_tree(Path(scratch) / version, version) for version in sorted({BASELINE, *_versions()})]
        repositories = [load_repository(tree) for tree in trees]
        apps = [repository.apps[APP] for repository in repositories]
        cases = [case for file in repositories[0].suites[APP].case_files for case in file.cases]
        model = next(iter(apps[0].models.values()))
        if model_folder is None:
            engine = await ModelHub(trees[0], cache).local(model)
        else:
            engine = AsyncEngine(load_transformers(model_folder, model.dtype))

        async def running(_: Model, __: str | None = None) -> AsyncEngine:
            return engine

        recorder = _Recorder(EngineCaller(running))
        for app in apps:
            await _ask_all(app, [Call(case.inputs, case=case.id) for case in cases], recorder)
    about = {"model": model.name, "sha256": model.sha256, "recorded": datetime.now(UTC).date().isoformat()}
    head = {"about": about | {"engine": engine.identity.as_dict(), "answers": len(recorder.rows)}}
    lines = [head, *sorted(recorder.rows.values(), key=lambda row: str(row["key"]))]
    write_atomic(into, b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))
    engine.close()
    return len(recorder.rows)


def _versions() -> Iterable[str]:
    return (scene.version for scene in SCENES)


async def _ask_all(app: AppFiles, calls: Sequence[Call], caller: Caller) -> None:
    async with aiohttp.ClientSession() as session:
        chain = Chain(app, caller, HttpRunner(session))
        results = await asyncio.gather(*(chain.run(call) for call in calls))
    wrong = [result.reason for result in results if result.status != "ok"]
    if wrong:
        raise SignoffError(f"{len(wrong)} of {len(calls)} letters got no answer, first: {wrong[0]}")
