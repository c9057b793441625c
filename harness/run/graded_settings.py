"""What only another package knows of a suite's settings, found before the first question is asked."""

from __future__ import annotations

from harness.errors import Problem, UsageError
from harness.spec.repository import Repository


def refuse_wrong_settings(repository: Repository) -> None:
    """UsageError with every setting that a metric of deepeval refuses; without deepeval nothing is known of them."""
    problems = []
    for name, suite in repository.suites.items():
        for spec in suite.suite.checks:
            if not spec.check.startswith("deepeval/"):
                continue
            # Only a suite that has such a check pays for the import.
            from harness.evals.deepeval_checks import AbsentError, DeepevalCheck

            try:
                DeepevalCheck.of(spec, repository.models)
            except AbsentError:
                continue
            except UsageError as error:
                problems.append(Problem(f"suites/{name}/suite.yaml", None, str(error)))
    if problems:
        raise UsageError.of(problems)
