"""GitHub's REST interface on loopback, as far as the scripts ask it: comments, pull requests, issues."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BOT = {"login": "github-actions[bot]"}


@dataclass
class Hub:
    """``comments`` by the number of their issue, ``issues`` in the order in which they were opened."""

    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """What GitHub would answer; 404 for what it does not have."""
        self.asked.append((method, path))
        parts = path.removeprefix("/repos/shop/desk/").split("/")
        match (method, parts):
            case ("GET", ["pulls"]):
                return 200, self._page([one for one in self.pulls if one["label"] == query["head"]], query)
            case ("GET", ["issues"]):
                found = [one for one in self.issues if one["state"] == query["state"]]
                return 200, self._page([one for one in found if query["labels"] in one["labels"]], query)
            case ("POST", ["issues"]):
                made = {"number": 100 + len(self.issues), "state": "open", "user": BOT, **body}
                self.issues.append(made)
                return 201, made
            case ("PATCH", ["issues", "comments", number]):
                (comment,) = [one for listed in self.comments.values() for one in listed if one["id"] == int(number)]
                comment |= body
                return 200, comment
            case ("GET", ["issues", number, "comments"]):
                return 200, self._page(self.comments.get(int(number), []), query)
            case ("POST", ["issues", number, "comments"]):
                listed = self.comments.setdefault(int(number), [])
                listed.append({"id": 1000 + len(listed), "user": BOT, **body})
                return 201, listed[-1]
            case ("PATCH", ["issues", number]):
                (issue,) = [one for one in self.issues if one["number"] == int(number)]
                issue |= body
                return 200, issue
        return 404, {"message": f"no {method} {path}"}

    def _page(self, found: list[Any], query: dict[str, str]) -> list[Any]:
        size, page = int(query["per_page"]), int(query["page"])
        return found[size * (page - 1) : size * page]


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve it while the block runs."""
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            if self.headers.get("authorization") != "Bearer right":
                status, answer = 401, {"message": "Bad credentials"}
            else:
                status, answer = made.answer(self.command, address.path, query, json.loads(content or b"null"))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _any

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
