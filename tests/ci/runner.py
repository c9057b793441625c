"""A small interpreter of workflows: jobs in order, every ``run:`` executed by bash, artifacts as folders.

What it does not do: services, containers, reusable workflows, timeouts, secrets. Steps that use an action do by hand
what the action does, and any action that is not known here is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.ci.expressions import Scope

BIN = Path(sys.executable).parent


@dataclass
class JobResult:
    """How a job ended, and what it printed."""

    result: str
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    summary: str = ""


@dataclass
class Machine:
    """GitHub, as far as a workflow can tell: ``remote`` is the bare repository, ``folder`` everything else.

    ``lost`` names a text of a ``run:`` step: the runner of its job dies in the middle of it. ``cancel`` names jobs
    that somebody cancels.
    """

    remote: Path
    folder: Path
    event: Mapping[str, Any]
    github: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    lost: str = ""
    cancel: frozenset[str] = frozenset()
    artifacts_of: Mapping[str, Path] = field(default_factory=dict)
    jobs: dict[str, JobResult] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)

    @property
    def artifacts(self) -> Path:
        """The folder of the artifacts, each a folder of its own."""
        return self.folder / "artifacts"

    @property
    def conclusion(self) -> str:
        """How the workflow ended."""
        results = {job.result for job in self.jobs.values()}
        return "failure" if "failure" in results else "cancelled" if "cancelled" in results else "success"

    def run(self, path: Path) -> Machine:
        """Run the workflow in ``path``."""
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name in _ordered(workflow["jobs"]):
            self._job(name, workflow["jobs"][name], workflow.get("env") or {})
        return self

    def _job(self, name: str, job: Mapping[str, Any], env: Mapping[str, Any]) -> None:
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else list(job.get("needs") or ())
        known = {need: {"result": self.jobs[need].result, "outputs": self.jobs[need].outputs} for need in needs}
        results = {self.jobs[need].result for need in needs}
        scope = Scope(self._contexts(needs=known), failed="failure" in results, unmet=bool(results - {"success"}))
        if name in self.cancel:
            self.jobs[name] = JobResult("cancelled")
            return
        if not scope.holds(job.get("if")):
            self.jobs[name] = JobResult("skipped")
            return
        total = JobResult("success")
        for number, matrix in enumerate(_matrix(scope.fill(job.get("strategy") or {}))):
            done = _Job(self, name, job, known, matrix, self.folder / f"{name}-{number}", dict(env)).run()
            total.outputs |= done.outputs
            total.log += done.log
            total.summary += done.summary
            total.result = "failure" if done.result == "failure" else total.result
        self.jobs[name] = total

    def _contexts(self, **more: Any) -> dict[str, Any]:
        runner = {"os": "Linux", "temp": str(self.folder / "temp")}
        return {"github": {**self.github, "event": self.event}, "runner": runner, "env": {}, **more}


@dataclass
class _Job:
    machine: Machine
    name: str
    job: Mapping[str, Any]
    needs: Mapping[str, Any]
    matrix: Mapping[str, Any]
    folder: Path
    env: dict[str, Any]
    steps: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    log: str = ""

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def scope(self) -> Scope:
        contexts = self.machine._contexts(needs=self.needs, matrix=self.matrix, steps=self.steps)
        return Scope(contexts, failed=self.failed, folder=self.work)

    def run(self) -> JobResult:
        self.work.mkdir(parents=True)
        for number, step in enumerate(self.job["steps"]):
            if not self.scope().holds(step.get("if")):
                continue
            try:
                good = self._step(step, number)
            except _Lost:
                # Nobody is left to upload anything, and no condition is looked at any more.
                return JobResult("failure", {}, self.log)
            self.failed = self.failed or not (good or step.get("continue-on-error"))
        outputs = {key: str(self.scope().fill(text) or "") for key, text in (self.job.get("outputs") or {}).items()}
        told = self.folder / "summary.md"
        summary = told.read_text(encoding="utf-8") if told.exists() else ""
        return JobResult("failure" if self.failed else "success", outputs, self.log, summary)

    def _step(self, step: Mapping[str, Any], number: int) -> bool:
        if "run" in step:
            return self._shell(step, number)
        action = step["uses"].split("@")[0]
        known = {
            "actions/checkout": self._checkout,
            "actions/setup-python": lambda _: True,
            "actions/cache/restore": lambda given: bool(given["key"]),
            "actions/upload-artifact": self._upload,
            "actions/download-artifact": self._download,
        }
        assert action in known, f"the action {action} is not known to the interpreter"
        return bool(known[action](self.scope().fill(step.get("with") or {})))

    def _shell(self, step: Mapping[str, Any], number: int) -> bool:
        command = self.scope().fill(step["run"])
        output, script = self.folder / f"output-{number}", self.folder / f"step-{number}.sh"
        script.write_text(command, encoding="utf-8")
        output.touch()
        given = {**self.env, **(self.job.get("env") or {}), **(step.get("env") or {})}
        env = self._environment(output) | {key: str(self.scope().fill(value)) for key, value in given.items()}
        self.machine.executed.append(command)
        process = subprocess.Popen(
            ["bash", "-e", str(script)], cwd=self.work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        if self.machine.lost and self.machine.lost in command:
            self._lose(process)
        out, _ = process.communicate(timeout=300)
        self.log += out
        lines = output.read_text(encoding="utf-8").splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        if step.get("id"):
            self.steps[step["id"]] = {"outputs": outputs, "outcome": "success" if not process.returncode else "failure"}
        return process.returncode == 0

    def _lose(self, process: subprocess.Popen[str]) -> None:
        """Kill the step as soon as it has begun to write its run folder."""
        end = time.monotonic() + 60
        while not list(self.work.glob("reports/*Z-*")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        raise _Lost

    def _environment(self, output: Path) -> dict[str, str]:
        github = self.machine.github
        path = self.folder / "event.json"
        path.write_text(json.dumps(self.machine.event), encoding="utf-8")
        return {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_SHA": str(github["sha"]),
            "GITHUB_REF": str(github["ref"]),
            "GITHUB_BASE_REF": str(github.get("base_ref") or ""),
            "GITHUB_EVENT_NAME": str(github["event_name"]),
            "GITHUB_REPOSITORY": "shop/desk",
            "GITHUB_RUN_ID": str(github["run_id"]),
            "GITHUB_SERVER_URL": "https://github.example",
            "SIGNOFF_ENVIRONMENT": "ready",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **self.machine.environment,
        }

    def _checkout(self, given: Mapping[str, Any]) -> bool:
        github, remote = self.machine.github, self.machine.remote.as_uri()
        depth = [] if given.get("fetch-depth") == 0 else ["--depth", "1"]
        _git(self.folder, "init", "--quiet", str(self.work))
        _git(self.work, "remote", "add", "origin", remote)
        wanted = ["+refs/heads/*:refs/remotes/origin/*", "--tags"] if not depth else []
        _git(self.work, "fetch", "--quiet", *depth, "origin", str(github["ref"]), *wanted)
        _git(self.work, "checkout", "--quiet", "--detach", str(github["sha"]))
        return True

    def _upload(self, given: Mapping[str, Any]) -> bool:
        source, target = self.work / given["path"], self.machine.artifacts / given["name"]
        if not source.exists() or (source.is_dir() and not any(source.iterdir())):
            return given.get("if-no-files-found") != "error"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        return True

    def _download(self, given: Mapping[str, Any]) -> bool:
        artifacts = self.machine.artifacts_of.get(str(given.get("run-id")), self.machine.artifacts)
        target = self.work / given.get("path", ".")
        if "pattern" in given:
            for artifact in sorted(artifacts.glob(given["pattern"])):
                shutil.copytree(artifact, target / artifact.name, symlinks=True)
            return True
        if not (artifacts / given["name"]).is_dir():
            return False
        shutil.copytree(artifacts / given["name"], target, dirs_exist_ok=True, symlinks=True)
        return True


class _Lost(Exception):  # noqa: N818 - no error of the job's making
    """The runner is gone."""


def _git(folder: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True)


def _ordered(jobs: Mapping[str, Any]) -> Iterator[str]:
    done: set[str] = set()
    while len(done) < len(jobs):
        ready = [name for name in jobs if name not in done and _needs(jobs[name]) <= done]
        assert ready, "jobs need each other in a circle"
        yield from ready
        done |= set(ready)


def _needs(job: Mapping[str, Any]) -> set[str]:
    needs = job.get("needs") or []
    return {needs} if isinstance(needs, str) else set(needs)


def _matrix(strategy: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    matrix = strategy.get("matrix")
    if matrix is None:
        return [{}]
    assert set(matrix) == {"include"}, "only matrices that list their combinations"
    assert matrix["include"], "GitHub refuses an empty matrix"
    return list(matrix["include"])
