"""A gateway with every fault that the probes of a server look for, each of which can be switched on alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

KEY, OPERATOR = "so-user-secret-1234", "so-operator-secret-5678"


@contextmanager
def careless(*faults: str) -> Iterator[str]:
    """The address of a server with these faults; without any it is one that the probes find nothing in."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "plain", ""

        def _any(self) -> None:
            lengths = self.headers.get_all("content-length") or ["0"]
            length = int(lengths[0]) if lengths[0].isdigit() else 0
            if length > 1_000_000 or self.headers.get("transfer-encoding"):
                self.close_connection = True
                return self._say(413, {"error": "too large"})
            body = self.rfile.read(length)
            try:
                return self._say(*self._answer(body))
            except ValueError:
                return self._say(400, {"error": "bad request"})

        def _answer(self, body: bytes) -> tuple[int, Any]:
            path, key = self.path.split("?")[0], self.headers.get("authorization", "").removeprefix("Bearer ")
            if path == "/health":
                return 200, {"status": "ok"}
            if "docs" in faults and path == "/docs":
                return 200, {"openapi": "3"}
            if "host" in faults and path.startswith("/v1/models/"):
                return 404, {"see": f"http://{self.headers.get('x-forwarded-host') or self.headers.get('host')}/v1"}
            if path not in ("/v1/models", "/v1/chat/completions", "/metrics", "/admin/status"):
                return 404, {"error": "no such route"}
            blank = "blank" in faults and not key.strip() and "authorization" in self.headers
            if "open" not in faults and key not in (KEY, OPERATOR) and not blank:
                return 401, {"error": f"unknown key {key}" if "echo" in faults and key == "so-wrong" else "unknown key"}
            if path in ("/metrics", "/admin/status"):
                return (200, {"ready": True}) if key == OPERATOR or "roles" in faults else (403, {"error": "not yours"})
            if self.command != ("POST" if path == "/v1/chat/completions" else "GET"):
                return (200, {}) if "method" in faults else (405, {"error": "method"})
            return self._chat(orjson.loads(body)) if self.command == "POST" else (200, {"data": [{"id": "desk"}]})

        def _chat(self, asked: Any) -> tuple[int, Any]:
            if not isinstance(asked, dict) or asked.get("model") != "desk":
                if "fallback" in faults:
                    return 200, {"choices": []}
                found = "/srv/models/desk/weights: not found" if "path" in faults else "no such model"
                return 404, {"error": found}
            if "crash" in faults and asked.get("n") == 0:
                return 500, {"error": 'Traceback (most recent call last):\n  File "server.py", line 3, in chat'}
            known = {"model", "messages"}
            fine = set(asked) <= known and isinstance(asked["messages"], list) and asked["messages"]
            fine = fine and asked["messages"][0].get("role") == "user"
            return (200, {"choices": []}) if fine or "values" in faults else (400, {"error": "a value is out of range"})

        def _say(self, status: int, value: Any) -> None:
            data = orjson.dumps(value)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if "cors" in faults and self.headers.get("origin"):
                self.send_header("access-control-allow-origin", self.headers["origin"])
                self.send_header("access-control-allow-credentials", "true")
            if "version" in faults:
                self.send_header("server", "gate/1.2.3")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _any

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""
