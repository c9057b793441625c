"""A repository with these workflows, a bare remote, and pull requests to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ci.runner import Machine
from tests.run.project import ROOT, Project, make_project

WORKFLOWS = ".github/workflows"
NOXFILE = """\
import nox

@nox.session(venv_backend="none")
def tests(session):
    session.run("python", "-m", "compileall", "-q", "suites", external=True)
"""


@dataclass
class Scratch:
    """``project`` is somebody's clone, ``remote`` what it is pushed to."""

    project: Project
    remote: Path
    folder: Path
    runs: int = 0

    def pull_request(self, **more: Any) -> Machine:
        """Commit what is edited, push the branch, and run the workflow on its merge with the default branch."""
        sha = self.push()
        github = {"event_name": "pull_request", "ref": "refs/pull/1/merge", "base_ref": "main", "sha": sha}
        return self.run("pull-request.yml", {"pull_request": {"number": 1}}, github, **more)

    def push(self) -> str:
        """Push the branch and make the commit that GitHub would make of its pull request."""
        project = self.project
        if project.git("status", "--porcelain"):
            project.commit()
        project.git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/change")
        project.git("checkout", "--quiet", "--detach", "origin/main")
        project.git("merge", "--quiet", "--no-ff", "--message", "merge", "change")
        sha = project.git("rev-parse", "HEAD")
        project.git("push", "--quiet", "--force", "origin", "HEAD:refs/pull/1/merge")
        project.git("checkout", "--quiet", "change")
        return sha

    def run(self, name: str, event: Mapping[str, Any], github: Mapping[str, Any], **more: Any) -> Machine:
        """Run a workflow of the repository as it stands in the clone."""
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        environment = {"SIGNOFF_CACHE": str(self.folder / "cache"), **more.pop("environment", {})}
        made = Machine(self.remote, folder, event, {"run_id": self.runs, **github}, environment=environment, **more)
        return made.run(self.project.root / WORKFLOWS / name)


def make_scratch(folder: Path, count: int = 60, files: dict[str, str] | None = None) -> Scratch:
    """The sample project with this repository's workflows, on a branch called ``change``."""
    project = make_project(folder, count, {"noxfile.py": NOXFILE, **(files or {})})
    shutil.copytree(ROOT / ".github", project.root / ".github", ignore=shutil.ignore_patterns("__pycache__"))
    remote = folder / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(remote)], check=True)
    project.git("remote", "add", "origin", remote.as_uri())
    project.commit("workflows")
    project.git("push", "--quiet", "origin", "main")
    project.git("fetch", "--quiet", "origin")
    project.branch()
    return Scratch(project, remote, folder)
