"""One issue for nights that do not pass: opened once, kept up to date, closed by the first night that passes.

RESULT is how the nightly job ended, the argument its run folder (which may be absent).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from github_api import BOT, call, pages

from harness.report.comment import broken, markdown

LABEL, TITLE, MARKER = "signoff-nightly", "The nightly gate does not pass", "<!-- signoff-nightly -->"


def main(folder: Path) -> int:
    """0 when the issue says how the night went."""
    link = "/".join(
        (os.environ["GITHUB_SERVER_URL"], os.environ["GITHUB_REPOSITORY"], "actions/runs", os.environ["GITHUB_RUN_ID"])
    )
    found = pages("issues", state="open", labels=LABEL, sort="created", direction="asc")
    mine = [one for one in found if one["user"]["login"] == BOT and str(one["body"]).startswith(MARKER)]
    if os.environ["RESULT"] == "success":
        for one in mine:
            close(one["number"], f"Passed again: {link}")
        return 0
    body = f"{MARKER}\n{markdown(told(folder), link)}"
    for twin in mine[1:]:
        close(twin["number"], f"The same as #{mine[0]['number']}.")
    if mine:
        call("PATCH", f"issues/{mine[0]['number']}", {"body": body})
    else:
        call("POST", "issues", {"title": TITLE, "body": body, "labels": [LABEL]})
    return 0


def close(number: int, why: str) -> None:
    """Close an issue with a sentence."""
    call("POST", f"issues/{number}/comments", {"body": why})
    call("PATCH", f"issues/{number}", {"state": "closed", "state_reason": "completed"})


def told(folder: Path) -> dict[str, Any]:
    """The verdict of the night; where the gate itself passed or never ran, something beside it broke."""
    path = folder / "comment.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("verdict") in ("fail", "inconclusive", "error") and not found.get("approved"):
        return found
    reason = "the gate passed, but a mart, an adapter, a test or a benchmark did not" if found else "the gate never ran"
    return broken(f"the nightly job ended as {os.environ['RESULT']}: {reason}", "read the log of the job")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
