"""``signoff serve``: the apps of a repository behind an OpenAI-compatible gateway."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import socket
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.serve.live import Live

_log = logging.getLogger("signoff.serve")
_TRACES = Path("reports") / "traces"


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``serve`` on the command line."""
    serve = command(
        sub,
        "serve",
        "serve the apps through the OpenAI-compatible gateway",
        "signoff serve --app support --port 8080",
        serve_command,
    )
    serve.add_argument("--app", action="append", default=[], help="an app; may be given several times (default: all)")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="the port; 0 takes a free one (default: 8000)")
    serve.add_argument(
        "--keys", type=Path, metavar="FILE", help="the keys of signoff keys; without them only loopback is allowed"
    )
    traces = serve.add_mutually_exclusive_group()
    traces.add_argument(
        "--traces", type=Path, metavar="DIR", help="where the log of requests goes (default: reports/traces)"
    )
    traces.add_argument("--no-traces", action="store_true", help="keep no log of requests")


def serve_command(args: Namespace) -> int:
    """Serve until asked to stop."""
    if args.keys is None and not _is_loopback(args.host):
        raise UsageError(
            f"--host {args.host} can be reached from elsewhere and no key would be asked; "
            "give --keys FILE (signoff keys add makes one), or listen on 127.0.0.1"
        )
    # Before anything is loaded: a port that is taken is known at once.
    with _listening(args.host, args.port) as sock:
        from harness.serve.live import Wanted, open_live
        from harness.serve.logs import log_to_stderr
        from harness.serve.server import serving

        traces = None if args.no_traces else args.traces or args.root / _TRACES
        live = open_live(Wanted(args.root, args.cache, tuple(args.app), args.keys, traces))
        server = serving(live.app, limits=live.settings.limits, grace_s=_grace())
        log_to_stderr(live.scrub)
        _announce(args, live, sock)
        server.run(sockets=[sock])
    if live.failure:
        raise live.failure[0]
    if server.force_exit:
        raise KeyboardInterrupt
    return 0


def _grace() -> float:
    from harness.serve.server import GRACE_S

    return GRACE_S


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket; UsageError when the port is taken or the address is not one of this machine."""
    if not 0 <= port <= 65_535:
        # The resolver would take what is left of it after a division.
        raise UsageError(f"--port is {port}; it must be between 0 and 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # Naming the protocol matters: asyncio switches Nagle's delay off only where it is named.
        sock = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as problem:
        raise UsageError(f"cannot listen on {host}:{port}: {problem}") from problem
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # A second server on the same port would only fail when it listens: better here, with a message.
        sock.listen(2048)
    except OSError as problem:
        sock.close()
        raise UsageError(f"cannot listen on {host}:{port}: {problem.strerror}; choose another --port") from problem
    return sock


def _announce(args: Namespace, live: Live, sock: socket.socket) -> None:
    host, port = sock.getsockname()[:2]
    base = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
    if args.json:
        print_json({"base_url": base, "apps": dict(live.digests), "open": args.keys is None})
    else:
        print(f"serving {', '.join(live.digests)} at {base}", file=sys.stderr)
    if args.keys is None:
        print("DEVELOPMENT MODE: no key is asked, everybody on this machine may call everything", file=sys.stderr)
        _log.warning("no key is asked: this is the development mode; give --keys FILE to serve others")
    sys.stdout.flush()
