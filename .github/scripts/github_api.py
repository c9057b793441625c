"""The few calls of GitHub's REST interface that the workflows need."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT_S = 30
BOT = "github-actions[bot]"


def call(method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
    """The JSON that the repository's address ``path`` answers; urllib's HTTPError when it refuses."""
    base = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    address = f"{base}/repos/{quote(os.environ['GITHUB_REPOSITORY'])}/{path}"
    request = urllib.request.Request(
        f"{address}?{urlencode(query)}" if query else address,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def pages(path: str, most: int = 10, **query: str) -> list[dict[str, Any]]:
    """All entries of a list, up to ``most`` pages of a hundred."""
    found: list[dict[str, Any]] = []
    for page in range(1, most + 1):
        listed = call("GET", path, per_page="100", page=str(page), **query)
        found += listed
        if len(listed) < 100:
            break
    return found
