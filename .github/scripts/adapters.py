"""Adapters whose recipe names a version that the tree does not hold: ``adapters.py find``, then ``adapters.py build``.

``find`` needs no torch; its output ``missing`` is empty when every version is there. ``build`` makes those that are
not, leaves them in ``reports/ci/adapters/`` under their places in the repository, and is red: nothing here may commit,
so its output ``told`` says what somebody has to do.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from jobs import OUT, complain, outputs, signoff, summary

from harness.errors import EXIT_FAIL, EXIT_USAGE, Problem
from harness.spec.adapters import MANIFEST
from harness.spec.recipes import RECIPE, Recipe, load_recipe

TITLE = "Signoff adapters"
ADAPTERS = Path("models/adapters")
BUILT = OUT / "adapters"
SECONDS = 6000.0
"""What budgets may take together; installing, marts and measuring take the rest of the job's two hours."""


def main(task: str) -> int:
    """0 when nothing is missing, or was only looked for; 64 for a wrong recipe."""
    missing, problems = find()
    for problem in problems:
        complain(TITLE, problem.message, problem.path, problem.line)
    if task == "find":
        outputs({"missing": " ".join(recipe.key for recipe in missing)})
        print(f"not built: {', '.join(recipe.key for recipe in missing) or 'none'}")
        return EXIT_USAGE if problems else 0
    return build(missing) if missing else 0


def find() -> tuple[list[Recipe], list[Problem]]:
    """The recipes whose version has no whole folder, and what is wrong with recipes."""
    missing, problems = [], []
    for folder in sorted(path.parent for path in ADAPTERS.glob(f"*/{RECIPE}")):
        recipe, wrong = load_recipe(folder, folder.as_posix())
        problems += wrong
        if recipe and not (folder / recipe.version / MANIFEST).is_file():
            missing.append(recipe)
    return missing, problems


def build(missing: list[Recipe]) -> int:
    """Build what fits into the job, leave it to be fetched, and say what to do; never 0."""
    started, done, told = time.monotonic(), [], []
    shutil.rmtree(BUILT, ignore_errors=True)
    for recipe in missing:
        left = allowed() - (time.monotonic() - started)
        if recipe.budget.seconds > left:
            told.append(
                f"{recipe.key} may take {recipe.budget.seconds:g} s and this job has {max(left, 0):.0f} s left: build "
                f"it with 'signoff finetune {recipe.name}' on a machine of yours, or push again once the others are in"
            )
            continue
        code = signoff("finetune", recipe.name).returncode
        if code:
            told.append(f"'signoff finetune {recipe.name}' ended with exit code {code}; the log of this job says why")
            continue
        shutil.copytree(ADAPTERS / recipe.key, BUILT / ADAPTERS / recipe.key)
        done.append(recipe.key)
    if done:
        told.insert(0, commit(done))
    outputs({"told": "; ".join(told)})
    summary("\n".join(["### Adapters that are not in the tree", "", *(f"- {line}" for line in told)]))
    for line in told:
        complain(TITLE, line)
    return EXIT_FAIL


def allowed() -> float:
    """Seconds that all builds may take together; ADAPTER_SECONDS says otherwise where machines are given longer."""
    return float(os.environ.get("ADAPTER_SECONDS") or SECONDS)


def commit(done: list[str]) -> str:
    """What a person has to do with the versions that were built."""
    run = os.environ.get("GITHUB_RUN_ID", "RUN")
    return (
        f"{', '.join(done)} {'was' if len(done) == 1 else 'were'} built here and must be committed: "
        f"gh run download {run} --name adapters --dir . && git add {ADAPTERS} && git commit -m 'Build adapters'"
    )


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2] or ["find"]))
