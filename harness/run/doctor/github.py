"""GitHub: whether the workflow can be required, and the settings that require it. No token is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from harness.run.doctor.finding import Finding, Level
from harness.spec.git import git
from harness.spec.yaml_file import parse_yaml, read_text

CHECK = "verdict"
_ACTIONS_APP = 15368
"""GitHub's number of its own Actions: a check of this name from anybody else does not count."""


def _finding(name: str, level: Level, found: str, do: str = "") -> Finding:
    return Finding("github", name, level, found, "" if level == "ok" else do)


def workflows(root: Path) -> Iterator[Finding]:
    """What the workflows in the tree say."""
    files = sorted([*root.glob(".github/workflows/*.yml"), *root.glob(".github/workflows/*.yaml")])
    if not files:
        do = "signoff init writes one into a new folder; copy .github/workflows/pull-request.yml from there"
        yield _finding("workflows", "warning", "none in .github/workflows", do)
        return
    gates = []
    for file in files:
        shown = file.relative_to(root).as_posix()
        text, problems = read_text(file, shown)
        document, wrong = parse_yaml(text or "", shown)
        if problems or wrong or document is None or not isinstance(document.data, dict):
            found = next((problem.message for problem in (*problems, *wrong)), "not a workflow")
            yield _finding(shown, "warning", found, "mend it")
        elif CHECK in _jobs(document.data):
            gates.append((shown, document.data, text or ""))
    if not gates:
        do = f"give the job that runs signoff gate the name {CHECK!r}: that check is what a merge can require"
        yield _finding("workflows", "warning", f"no job {CHECK!r} in {len(files)} workflows", do)
    for shown, data, text in gates:
        yield from _gate(shown, data, text)


def _jobs(data: Mapping[str, Any]) -> set[str]:
    jobs = data.get("jobs")
    if not isinstance(jobs, dict):
        return set()
    return {str(job.get("name") or name) for name, job in jobs.items() if isinstance(job, dict)}


def _gate(shown: str, data: Mapping[str, Any], text: str) -> Iterator[Finding]:
    events = data.get("on")
    named = {events} if isinstance(events, str) else set(events or ())
    if "pull_request" not in named:
        yield _finding(shown, "warning", f"job {CHECK!r} does not run on pull_request", "add it under 'on:'")
    if "merge_group" not in named:
        yield _finding(
            shown, "warning", "does not run on merge_group", "add it under 'on:' before you use a merge queue"
        )
    on_pull = events.get("pull_request") if isinstance(events, dict) else None
    if isinstance(on_pull, dict) and {"paths", "paths-ignore"} & on_pull.keys():
        do = "drop the filter: a required check that does not start blocks its pull request for ever"
        yield _finding(shown, "warning", "runs for some paths only", do)
    whole = re.search(r"fetch-depth:\s*0\b", text) is not None
    do = "give actions/checkout 'fetch-depth: 0': the baseline is the merge base"
    found = f"job {CHECK!r}, whole history" if whole else f"job {CHECK!r} sees a shallow clone"
    yield _finding(shown, "ok" if whole else "warning", found, do)


def repository_name(root: Path) -> str:
    """``owner/name`` of the remote ``origin``, or that placeholder; a password in its address is not shown."""
    url = git(root, "remote", "get-url", "origin", check=False) or ""
    found = re.search(r"github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?$", url)
    return f"{found.group(1)}/{found.group(2)}" if found else "OWNER/NAME"


def ruleset() -> dict[str, Any]:
    """The ruleset that requires the verdict, as GitHub's API takes it."""
    review = {
        "required_approving_review_count": 1,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": True,
        "require_last_push_approval": True,
        "required_review_thread_resolution": False,
    }
    checks = {
        "strict_required_status_checks_policy": True,
        "do_not_enforce_on_create": False,
        "required_status_checks": [{"context": CHECK, "integration_id": _ACTIONS_APP}],
    }
    return {
        "name": "signoff",
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [],
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [
            {"type": "deletion"},
            {"type": "non_fast_forward"},
            {"type": "pull_request", "parameters": review},
            {"type": "required_status_checks", "parameters": checks},
        ],
    }


def protection() -> dict[str, Any]:
    """The same as branch protection, for plans without rulesets."""
    return {
        "required_status_checks": {"strict": True, "checks": [{"context": CHECK, "app_id": _ACTIONS_APP}]},
        "enforce_admins": True,
        "required_pull_request_reviews": {
            "required_approving_review_count": 1,
            "dismiss_stale_reviews": True,
            "require_code_owner_reviews": True,
        },
        "restrictions": None,
        "allow_force_pushes": False,
        "allow_deletions": False,
    }


def _command(path: str, method: str, body: Mapping[str, Any]) -> str:
    text = orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    return f"gh api --method {method} {path} --input - <<'JSON'\n{text}\nJSON"


def advice(root: Path) -> str:
    """What to set on GitHub, click by click and as commands of ``gh``; nothing is sent from here."""
    name = repository_name(root)
    branch = (git(root, "rev-parse", "--abbrev-ref", "origin/HEAD", check=False) or "origin/main").removeprefix(
        "origin/"
    )
    by_hand = (
        "By hand: Settings > Rules > Rulesets > New branch ruleset; enforcement Active; no bypass; target: default "
        "branch;\nRestrict deletions; Block force pushes; Require a pull request (1 approval, from code owners, stale "
        "ones dismissed);\nRequire status checks to pass: "
        f"{CHECK!r} from GitHub Actions, branches up to date before merging."
    )
    rights = "-f default_workflow_permissions=read -F can_approve_pull_request_reviews=false"
    owned = ("/suites/approvals.jsonl", "/suites/**/gates.yaml", "/.github/")
    parts = [
        f"To make the check {CHECK!r} required for a merge into {branch} of {name}:",
        by_hand,
        "The same by gh:",
        _command(f"repos/{name}/rulesets", "POST", ruleset()),
        "Where the plan has no rulesets, as branch protection instead:",
        _command(f"repos/{name}/branches/{branch}/protection", "PUT", protection()),
        "Workflows get a token that only reads, and cannot approve:",
        f"gh api --method PUT repos/{name}/actions/permissions/workflow {rights}",
        "Whoever may approve an undecided run owns the approvals; put this into .github/CODEOWNERS:",
        "\n".join(f"{path} @YOUR-RELEASE-MANAGERS" for path in owned),
        f"The check can be chosen once it has run. To see what holds now:\ngh api repos/{name}/rules/branches/{branch}",
    ]
    return "\n\n".join(parts)
