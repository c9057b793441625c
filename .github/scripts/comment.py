"""Write the one comment of a pull request from what an untrusted run left, or renew it.

Runs from the default branch, after the run. The artifact may be a stranger's: nothing of it is executed, none of its
text reaches a shell, and only data of exactly the right shape is rendered, by the renderer of this checkout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from github_api import BOT, call, pages
from jobs import event

from harness.errors import SignoffError
from harness.report.comment import MARKER, broken, checked, markdown

NAME, MOST_BYTES = "comment.json", 65_536


def main(folder: Path) -> int:
    """0 when the comment stands, or when there is no pull request to tell."""
    run = event()["workflow_run"]
    if run["conclusion"] == "cancelled":
        print("the run was cancelled: the newer one will tell")
        return 0
    number = pull_request(run)
    if number is None:
        print("no open pull request has this commit as its newest")
        return 0
    text = f"{MARKER}\n{markdown(told(folder, run), run['html_url'])}"
    mine = [
        one
        for one in pages(f"issues/{number}/comments")
        if one["user"]["login"] == BOT and one["body"].startswith(MARKER)
    ]
    if mine:
        call("PATCH", f"issues/comments/{mine[0]['id']}", {"body": text})
    else:
        call("POST", f"issues/{number}/comments", {"body": text})
    return 0


def told(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The checked brief; one that says why, where there is none or where it contradicts how the run ended."""
    again = "look at the run that is linked here, and run it again"
    try:
        found = read(folder)
    except SignoffError as error:
        return broken(f"the run ended as {run['conclusion']} and left nothing that can be shown: {error}", again)
    green = found["verdict"] == "pass" or found["approved"]
    if green != (run["conclusion"] == "success"):
        return broken(f"the run ended as {run['conclusion']}, but says of itself: {found['verdict']}", again)
    return found


def read(folder: Path) -> dict[str, Any]:
    """The content of the one file that may be there; SignoffError says what is wrong."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    path = folder / NAME
    if names != [NAME] or path.is_symlink() or not path.is_file():
        message = f"the artifact must hold the one file {NAME}, it holds {len(names)} other"
        raise SignoffError(message)
    if path.stat().st_size > MOST_BYTES:
        message = f"{NAME} has more than {MOST_BYTES} bytes"
        raise SignoffError(message)
    try:
        return checked(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        message = f"{NAME} is not JSON"
        raise SignoffError(message) from error


def pull_request(run: dict[str, Any]) -> int | None:
    """The number of the open pull request whose newest commit the run was about, by what GitHub says of the run."""
    owner, branch = run["head_repository"]["owner"]["login"], run["head_branch"]
    for found in pages("pulls", state="open", head=f"{owner}:{branch}"):
        if found["head"]["sha"] == run["head_sha"]:
            return int(found["number"])
    return None


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
