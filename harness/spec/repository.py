"""The versioned files of a repository, read and checked as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from harness.errors import Problem, UsageError
from harness.spec.adapters import ADAPTERS, MANIFEST, AdapterVersion, load_adapter, unfit
from harness.spec.apps import App, FunctionStep, LlmStep
from harness.spec.base import Spec
from harness.spec.candidates import CANDIDATES, Candidates, candidate_problems
from harness.spec.cases import CaseFile, case_ids, duplicates, load_case_file
from harness.spec.data_metrics import ADAPTER_METRICS, METRICS, one_armed, with_tests_unseen
from harness.spec.gates import Gate, GatesFile, Profile
from harness.spec.graded import deepeval_settings, settings_of
from harness.spec.judges import JudgeFiles, demoted, load_judges
from harness.spec.load import LoadProfile
from harness.spec.marts import MART, Mart, load_mart
from harness.spec.models import Model
from harness.spec.monitor import Monitor, unknown_steps
from harness.spec.probes import Probes
from harness.spec.promptfoo import PromptfooProfile
from harness.spec.prompts import Prompt, load_prompt
from harness.spec.recipes import RECIPE, Recipe, load_recipe
from harness.spec.stages import STAGES, StageName
from harness.spec.step_prompts import missing_packages, prompt_identity, prompt_problems
from harness.spec.suites import CheckSpec, PropertySpec, Suite
from harness.spec.traffic import FILE, read_traffic
from harness.spec.waivers import WAIVERS, Waiver, WaiversFile, waiver_problems
from harness.spec.yaml_file import line_in, load
from harness.store import digest_bytes, digest_of

SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(frozen=True)
class AppFiles:
    """One app in one tree, with everything that its digest covers."""

    app: App
    root: Path
    prompts: Mapping[str, Prompt]
    models: Mapping[str, Model]
    parts: Mapping[str, str]
    adapters: Mapping[str, AdapterVersion] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The app's name."""
        return self.app.name

    @property
    def folder(self) -> Path:
        """The app's suite folder."""
        return self.root / "suites" / self.app.name

    @cached_property
    def digest(self) -> str:
        """The app's identity: its steps with prompts, model bytes, decoding, functions, and its wiring."""
        return digest_of(dict(self.parts))

    @property
    def pinned(self) -> bool:
        """Whether every model and service of the app states what it is."""
        llm = [self.models[step.model].pinned for step in self.app.steps if isinstance(step, LlmStep)]
        http = [step.digest_header is not None for step in self.app.steps if step.kind == "http"]
        return all(llm + http)


@dataclass(frozen=True)
class SuiteFiles:
    """Everything that checks one app.

    ``demoted`` are gates that ask to be required and are advisory all the same: id -> why nobody may rely on them.
    ``marts`` are all of the tree, from which the stage ``data`` follows; ``adapters`` those of the app with a recipe.
    """

    suite: Suite
    gates: tuple[Gate, ...]
    case_files: tuple[CaseFile, ...]
    digest: str
    load: LoadProfile | None = None
    probes: Probes | None = None
    judges: Mapping[str, JudgeFiles] = field(default_factory=dict)
    demoted: Mapping[str, str] = field(default_factory=dict)
    monitor: Monitor | None = None
    promptfoo: PromptfooProfile | None = None
    candidates: Candidates | None = None
    marts: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that measure something of the app, in their order."""
        return tuple(name for name in STAGES if name in set(self.metrics.values()))

    def due(self, profile: Profile) -> tuple[StageName, ...]:
        """The stages that a run of ``profile`` measures; promptfoo is asked in some profiles only."""
        elsewhere = self.promptfoo is not None and profile not in self.promptfoo.profiles
        return tuple(name for name in self.stages if not (name == "promptfoo" and elsewhere))

    @cached_property
    def metrics(self) -> Mapping[str, StageName]:
        """Every metric that the suite measures, with its stage; a check may add names behind a dot to its own."""
        found: dict[str, StageName] = {
            check.id: "evals" if check.graded else "regression" for check in self.suite.checks
        }
        found |= dict.fromkeys((rule.id for rule in self.suite.properties), "regression")
        found |= dict.fromkeys(self.load.metrics if self.load else (), "load")
        found |= dict.fromkeys(self.promptfoo.sizes(self.suite.checks) if self.promptfoo else (), "promptfoo")
        found |= dict.fromkeys(METRICS if self.marts else (), "data")
        found |= dict.fromkeys(ADAPTER_METRICS if self.adapters else (), "data")
        return found | dict.fromkeys(self.probes.metrics if self.probes else (), "safety")

    @property
    def judging_models(self) -> frozenset[str]:
        """The models that graded checks ask."""
        judges = {judge.judge.model for judge in self.judges.values()}
        metrics = [check for check in self.suite.checks if check.check.startswith("deepeval/")]
        return frozenset(judges | {deepeval_settings(check)[0].model for check in metrics})

    def compares(self, metric: str) -> bool:
        """Whether a judge gives ``metric`` by setting the candidate's answers against the baseline's."""
        named = (check.check.removeprefix("judge/") for check in self.suite.checks if check.id == metric.split(".")[0])
        return any(name in self.judges and self.judges[name].judge.kind == "pairwise" for name in named)

    def stage_of(self, metric: str) -> StageName | None:
        """The stage that measures ``metric``, None when none does."""
        return self.metrics.get(metric) or self.metrics.get(metric.split(".")[0]) or self._of_no_adapter(metric)

    def idle(self, metric: str) -> str:
        """Why nothing can be measured of ``metric`` as the app stands, empty when something can."""
        return "the app names no adapter that has a recipe here" if self._of_no_adapter(metric) else ""

    def _of_no_adapter(self, metric: str) -> StageName | None:
        # Its gates stay in gates.yaml while an app goes without: taking the adapter away is one line.
        return "data" if metric in ADAPTER_METRICS and not self.adapters else None


@dataclass(frozen=True)
class Repository:
    """All apps of one tree and their suites, and every model and mart, also those that no app uses."""

    root: Path
    apps: Mapping[str, AppFiles]
    suites: Mapping[str, SuiteFiles]
    models: Mapping[str, Model] = field(default_factory=dict)
    marts: Mapping[str, Mart] = field(default_factory=dict)
    recipes: Mapping[str, Recipe] = field(default_factory=dict)


@dataclass
class _Loading:
    root: Path
    prompts: dict[str, Prompt] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    adapters: dict[str, AdapterVersion] = field(default_factory=dict)
    marts: dict[str, Mart] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def load_repository(
    root: Path, *, with_suites: bool = True, with_marts: bool = True, only: Collection[str] = ()
) -> Repository:
    """Read the tree at ``root``; UsageError holds every problem of every file.

    ``with_suites=False`` reads only what an app's digest covers, as is done for the baseline; with
    ``with_marts=False`` suites know which marts there are, and these are not read.
    ``only`` restricts to some apps; an unknown name is a problem.
    """
    state = _Loading(root)
    folders = sorted(path.parent for path in root.glob("suites/*/app.yaml"))
    names = [folder.name for folder in folders]
    for name in sorted(set(only) - set(names)):
        state.problems.append(Problem("suites", None, f"no app {name!r}; known apps: {', '.join(names) or 'none'}"))
    if not folders:
        state.problems.append(
            Problem("suites", None, f"no suites/<app>/app.yaml under {root}; is this the right folder?")
        )
    _load_shared(state)
    if with_suites and with_marts:
        _load_marts(state)
    apps: dict[str, AppFiles] = {}
    suites: dict[str, SuiteFiles] = {}
    for folder in folders:
        if only and folder.name not in only:
            continue
        loaded = _load_app(folder, state)
        apps.update({folder.name: loaded} if loaded else {})
        suite = _load_suite(folder, loaded, state) if with_suites else None
        suites.update({folder.name: suite} if suite else {})
    if state.problems:
        raise UsageError.of(state.problems)
    return Repository(root, apps, suites, state.models, state.marts, state.recipes)


@dataclass(frozen=True)
class Shared:
    """What the apps of a tree share, by name."""

    models: Mapping[str, Model]
    prompts: Mapping[str, Prompt]
    marts: Mapping[str, Mart]
    recipes: Mapping[str, Recipe]


def load_shared(root: Path) -> Shared:
    """Models, prompts, marts and recipes of the tree; UsageError holds all problems of their files."""
    state = _Loading(root)
    _load_shared(state)
    _load_marts(state)
    if state.problems:
        raise UsageError.of(state.problems)
    return Shared(state.models, state.prompts, state.marts, state.recipes)


def _load_shared(state: _Loading) -> None:
    for file in sorted(state.root.glob("prompts/*/*/*.prompty")):
        prompt, problems = load_prompt(file, state.root)
        state.problems += problems
        if prompt:
            state.prompts[prompt.key] = prompt
    for file in sorted(state.root.glob("models/*/model.yaml")):
        model, problems = load(file, state.shown(file), Model)
        state.problems += problems
        if model and model.name != file.parent.name:
            wrong = f"name is {model.name!r} but the folder is {file.parent.name!r}; make them equal"
            state.problems.append(Problem(state.shown(file), 1, wrong))
        if model:
            state.models[model.name] = model


def _load_marts(state: _Loading) -> None:
    for file in sorted(state.root.glob(f"data/*/{MART}")):
        mart, problems = load_mart(file.parent, state.shown(file.parent))
        state.problems += problems
        if mart:
            state.marts[mart.name] = mart
    for file in sorted(state.root.glob(f"{ADAPTERS}/*/{RECIPE}")):
        recipe, problems = load_recipe(file.parent, state.shown(file.parent))
        state.problems += problems
        if recipe:
            state.recipes[recipe.name] = recipe
            state.problems += _unknown(recipe, state.shown(file), state)


def _unknown(recipe: Recipe, shown: str, state: _Loading) -> list[Problem]:
    """What a recipe names and the tree does not have."""
    bases = {name: model for name, model in state.models.items() if model.engine == "transformers"}
    named: tuple[tuple[str, str, Collection[str]], ...] = (
        ("base", recipe.base, bases),
        ("mart", recipe.mart, state.marts),
        ("prompt", recipe.prompt, state.prompts),
    )
    problems = [
        Problem(shown, 1, f"{key} is {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
        for key, name, known in named
        if name not in known
    ]
    prompt, mart = state.prompts.get(recipe.prompt), state.marts.get(recipe.mart)
    if prompt and set(recipe.rows.inputs) != set(prompt.front.inputs):
        wrong = f"rows.inputs fills {', '.join(recipe.rows.inputs)}; prompt {recipe.prompt} declares"
        problems.append(Problem(shown, 1, f"{wrong} {', '.join(prompt.front.inputs) or 'none'}"))
    if recipe.parent and not (state.root / ADAPTERS / recipe.parent / MANIFEST).is_file():
        problems.append(
            Problem(shown, 1, f"parent is {recipe.parent!r}, which is not built; build it, or remove the key")
        )
    return problems + (_unknown_rows(recipe, mart, shown) if mart else [])


def _unknown_rows(recipe: Recipe, mart: Mart, shown: str) -> list[Problem]:
    wanted = (
        ("split", (recipe.rows.split, recipe.rows.validation), tuple(mart.splits)),
        ("column", (*recipe.rows.inputs.values(), *recipe.rows.columns), mart.columns),
    )
    return [
        Problem(shown, 1, f"rows: mart {recipe.mart!r} has no {what} {name!r}; it has {', '.join(known)}")
        for what, names, known in wanted
        for name in dict.fromkeys(names)
        if name not in known
    ]


def _load_app(folder: Path, state: _Loading) -> AppFiles | None:
    file = folder / "app.yaml"
    shown = state.shown(file)
    app, problems = load(file, shown, App)
    state.problems += problems
    if app is None:
        return None
    wrong = (
        [] if app.name == folder.name else [f"name is {app.name!r} but the folder is {folder.name!r}; make them equal"]
    )
    parts = {"inputs": digest_of([app.inputs[k].model_dump(mode="json") | {"name": k} for k in sorted(app.inputs)])}
    parts |= {"result": app.result, "seed": str(app.seed)}
    prompts: dict[str, Prompt] = {}
    models: dict[str, Model] = {}
    adapters: dict[str, AdapterVersion] = {}
    for place, step in enumerate(app.steps):
        content: dict[str, object] = {"step": step.identity()}
        located = missing_packages(step)
        if isinstance(step, LlmStep):
            located += prompt_problems(step, state.prompts)
            wrong += _link(step, state, prompts, models)
            content["prompt"] = prompt_identity(step, prompts)
            content["model"] = models[step.model].digest if step.model in models else ""
            if step.adapter:
                adapter, why = _adapter(step, state)
                wrong += why
                adapters |= {step.adapter: adapter} if adapter else {}
                content["adapter"] = adapter.digest if adapter else step.adapter
        elif isinstance(step, FunctionStep):
            sources, missing = _function_files(step, folder)
            wrong += missing
            content["files"] = sources
        parts[f"steps.{step.id}"] = digest_of(content)
        state.problems += [Problem(shown, line_in(file, ("steps", place, *loc)), text) for loc, text in located]
    state.problems += [Problem(shown, 1, message) for message in wrong]
    return AppFiles(app, state.root, prompts, models, parts, adapters)


def _link(step: LlmStep, state: _Loading, prompts: dict[str, Prompt], models: dict[str, Model]) -> list[str]:
    wrong = []
    prompts |= {key: state.prompts[key] for key in step.prompts if key in state.prompts}
    model = state.models.get(step.model)
    if model is None:
        wrong.append(
            f"step {step.id!r}: no model {step.model!r}; there are: {', '.join(sorted(state.models)) or 'none'}"
        )
    elif model.engine == "static":
        wrong.append(f"step {step.id!r}: model {model.name!r} gives vectors (engine 'static'), no text")
    else:
        models[model.name] = model
    return wrong


def _adapter(step: LlmStep, state: _Loading) -> tuple[AdapterVersion | None, list[str]]:
    """The adapter version of a step, read once; an endpoint serves its own adapters by name."""
    key = step.adapter or ""
    model = state.models.get(step.model)
    if model is None:
        return None, []
    if not model.pinned:
        known = ", ".join(model.adapters) or "none"
        wrong = f"step {step.id!r}: model {model.name!r} names no adapter {key!r} in model.yaml; it names: {known}"
        return None, [] if key in model.adapters else [wrong]
    if key not in state.adapters:
        folder = state.root / "models" / "adapters" / key
        if not folder.is_dir():
            name = key.split("/")[0]
            return None, [f"step {step.id!r}: adapter {key!r} is not built; build it with: signoff finetune {name}"]
        adapter, problems = load_adapter(folder, state.shown(folder))
        state.problems += problems
        if adapter is None:
            return None, []
        state.adapters[key] = adapter
    why = unfit(state.adapters[key], model)
    return state.adapters[key], [f"step {step.id!r}: {why}"] if why else []


def _function_files(step: FunctionStep, folder: Path) -> tuple[dict[str, str], list[str]]:
    digests, wrong = {}, []
    for name in (step.function.split(":")[0], *step.files):
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            wrong.append(
                f"step {step.id!r}: no file {name!r} in {folder.name}/; functions and data live in the suite folder"
            )
        else:
            digests[name] = digest_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    return digests, wrong


def _load_suite(folder: Path, app: AppFiles | None, state: _Loading) -> SuiteFiles | None:
    suite, problems = load(folder / "suite.yaml", state.shown(folder / "suite.yaml"), Suite)
    gates, more = load(folder / "gates.yaml", state.shown(folder / "gates.yaml"), GatesFile)
    files: list[CaseFile] = []
    for file in sorted([*folder.glob("cases/*.jsonl"), *folder.glob("cases/*.yaml")]):
        loaded, wrong = load_case_file(file, state.root)
        problems += wrong
        files += [loaded] if loaded else []
    if not files:
        problems.append(Problem(state.shown(folder), None, "no cases/*.jsonl; a suite needs at least one case"))
    _, traffic = read_traffic(folder, state.shown(folder / FILE))
    judges, wrong = load_judges(folder, state.root, state.models)
    state.problems += problems + more + duplicates(files) + traffic + wrong
    load_profile = _optional(folder / "load.yaml", LoadProfile, state)
    probes = _optional(folder / "probes.yaml", Probes, state)
    monitor = _optional(folder / "monitor.yaml", Monitor, state)
    promptfoo = _optional(folder / "promptfoo.yaml", PromptfooProfile, state)
    candidates = _optional(folder / CANDIDATES, Candidates, state)
    waivers = _optional(folder / WAIVERS, WaiversFile, state)
    if suite is None or gates is None:
        return None
    digest = yardstick_digest(folder, suite, files)
    listed, why = demoted(_with_steps(gates.gates, suite), suite, judges)
    marts = tuple(sorted(file.parent.name for file in state.root.glob(f"data/*/{MART}")))
    if marts:
        listed, wrong = with_tests_unseen(listed, state.shown(folder / "gates.yaml"))
        state.problems += wrong
    found = SuiteFiles(
        suite,
        listed,
        tuple(files),
        digest,
        load_profile,
        probes,
        judges,
        monitor=monitor,
        demoted=why,
        promptfoo=promptfoo,
        candidates=candidates,
        marts=marts,
        adapters=_made_here(app, state),
        waivers=waivers.waivers if waivers else (),
    )
    if waivers:
        ids = set(case_ids(files))
        state.problems += waiver_problems(waivers, folder / WAIVERS, state.shown(folder / WAIVERS), ids)
    state.problems += _cross(found, app, folder, state)
    if candidates and app:
        others = (suite, state.models, state.prompts)
        state.problems += candidate_problems(candidates, folder / CANDIDATES, state.root, app.app, *others)
    if monitor and app:
        names = [step.id for step in app.app.steps]
        state.problems += unknown_steps(monitor, names, state.shown(folder / "monitor.yaml"))
    return found


def _made_here(app: AppFiles | None, state: _Loading) -> tuple[str, ...]:
    """The adapters of the app whose recipe lies in this tree."""
    named = app.adapters if app else ()
    return tuple(key for key in named if (state.root / "models" / "adapters" / key.split("/")[0] / RECIPE).is_file())


def _optional(file: Path, kind: type[SpecT], state: _Loading) -> SpecT | None:
    if not file.is_file():
        return None
    found, problems = load(file, state.shown(file), kind)
    state.problems += problems
    return found


def _with_steps(gates: Sequence[Gate], suite: Suite) -> tuple[Gate, ...]:
    # A metric belongs to one check, which says whose output it looks at: a gate need not say it again.
    steps = {check.id: check.step for check in suite.checks} | {rule.id: rule.step for rule in suite.properties}
    return tuple(
        gate.model_copy(update={"step": gate.step or steps.get(gate.metric.split(".")[0], "")}) for gate in gates
    )


def yardstick_digest(folder: Path, suite: Suite, cases: Sequence[CaseFile]) -> str:
    """The digest of what measures the app in ``folder``: suite, gates, cases, judges, load, probes, code of its own."""
    files = [folder / f"{name}.yaml" for name in ("suite", "gates", "load", "probes", "promptfoo", "waivers")]
    files += [*folder.glob("cases/*.jsonl"), *folder.glob("cases/*.yaml"), *folder.glob("judges/*/*")]
    items: tuple[CheckSpec | PropertySpec, ...] = (*suite.checks, *suite.properties)
    files += [folder / name for item in items for name in own_code(item)]
    files += [folder / name for file in cases for name in file.code]
    present = sorted({path for path in files if path.is_file()})
    contents = [digest_bytes(path.read_bytes().replace(b"\r\n", b"\n")) for path in present]
    # The last mart that goes takes a gate with it that no file names.
    marts = any(folder.parents[1].glob(f"data/*/{MART}"))
    return digest_of([*contents, "marts"] if marts else contents)


def own_code(item: CheckSpec | PropertySpec) -> tuple[str, ...]:
    """The files of the suite's folder that a check or a property is written in, or reads."""
    if isinstance(item, PropertySpec):
        return (item.transform.split(":")[0],) if ".py:" in item.transform else ()
    function, files = item.settings.get("function"), item.settings.get("files")
    named = [function.split(":")[0]] if isinstance(function, str) and ".py:" in function else []
    return (*named, *(name for name in files if isinstance(name, str))) if isinstance(files, list) else tuple(named)


def _cross(found: SuiteFiles, app: AppFiles | None, folder: Path, state: _Loading) -> list[Problem]:
    suite, shown = found.suite, state.shown(folder / "gates.yaml")
    problems = []
    ids = [gate.id for gate in found.gates]
    problems += [
        Problem(shown, 1, f"gate id {name!r} stands twice") for name in sorted({i for i in ids if ids.count(i) > 1})
    ]
    for gate in found.gates:
        if found.stage_of(gate.metric) is None:
            known = ", ".join(sorted(found.metrics))
            problems.append(
                Problem(shown, 1, f"gate {gate.id!r}: no metric {gate.metric!r}; the suite measures: {known}")
            )
        problems += one_armed(gate, shown)
        if gate.slice != "all" and gate.slice not in suite.slices:
            known = ", ".join(suite.slices) or "none"
            problems.append(
                Problem(shown, 1, f"gate {gate.id!r}: slice {gate.slice!r} is not declared in suite.yaml: {known}")
            )
    steps = {step.id for step in app.app.steps} if app else set()
    wanted = [(f"check {check.id!r}", check.step) for check in suite.checks]
    wanted += [(f"property {rule.id!r}", rule.step) for rule in suite.properties]
    for what, step in wanted:
        if app and step and step not in steps:
            where = state.shown(folder / "suite.yaml")
            problems.append(Problem(where, 1, f"{what}: no step {step!r}; the app has {', '.join(sorted(steps))}"))
    for check in suite.checks:
        if check.graded:
            problems += _graded(check, state, folder)
        judge = check.check.removeprefix("judge/") if check.check.startswith("judge/") else ""
        if judge and judge not in found.judges:
            known, where = ", ".join(found.judges) or "none", state.shown(folder / "suite.yaml")
            problems.append(Problem(where, 1, f"check {check.id!r}: no judge {judge!r} in judges/; there are: {known}"))
    if found.probes and app:
        where = state.shown(folder / "probes.yaml")
        problems += [Problem(where, 1, wrong) for wrong in found.probes.problems(app.app)]
    for file in found.case_files:
        undeclared = sorted({name for case in file.cases for name in case.slices} - set(suite.slices))
        problems += [Problem(file.path, None, f"slice {name!r} is not declared in suite.yaml") for name in undeclared]
    return problems


def _graded(check: CheckSpec, state: _Loading, folder: Path) -> list[Problem]:
    where = state.shown(folder / "suite.yaml")
    try:
        model = getattr(settings_of(check), "model", None)
    except ValueError as error:
        return [Problem(where, 1, f"check {check.id!r}: {error}")]
    if model is None or model in state.models:
        return []
    known = ", ".join(sorted(state.models)) or "none"
    return [Problem(where, 1, f"check {check.id!r}: no model {model!r}; there are: {known}")]
