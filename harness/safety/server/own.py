"""Our own gateway for probes: with keys made for them, and without its models, which no probe needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.safety.server.target import Keys, Target
from harness.serve import LocalServer

if TYPE_CHECKING:
    from fastapi import FastAPI


def keyed_gateway(root: str, cache: str, keys: str, traces: str, apps: list[str]) -> FastAPI:
    """The gateway of ``signoff serve`` over the apps of ``root``; it loads no model before one is asked."""
    from harness.serve.live import Wanted, open_live

    live = open_live(Wanted(Path(root), Path(cache), tuple(apps), Path(keys), Path(traces)))
    lifecycle = live.app.state.gateway.lifecycle
    lifecycle.loaders = ()
    lifecycle.__post_init__()
    return live.app


@contextmanager
def own_target(root: Path, cache: Path, apps: Sequence[str], keys: Path | None) -> Iterator[Target]:
    """Our gateway in a child process; ``keys`` is the file whose copy gets the probes' own keys (None: a new one).

    Raises UsageError for files that are wrong, SignoffError when the server does not start.
    """
    with TemporaryDirectory(prefix="signoff-probes-") as name:
        folder = Path(name)
        file = folder / "keys.yaml"
        if keys is not None:
            shutil.copyfile(keys, file)
        model, secrets = _keys(file, root, apps)
        args = {
            "root": str(root), "cache": str(cache), "keys": str(file), "traces": str(folder / "traces"),
            "apps": list(apps),
        }  # fmt: skip
        with LocalServer("harness.safety.server.own:keyed_gateway", args=args, log=folder / "gateway.log") as server:
            yield Target(server.url, secrets, model, private=(str(root), str(folder)))
            server.check()


def _keys(file: Path, root: Path, apps: Sequence[str]) -> tuple[str, Keys]:
    from harness.serve.gateway.keys import KeyFile
    from harness.spec.repository import load_repository

    model = next(iter(load_repository(root, with_suites=False, only=apps).apps))
    known = KeyFile.load_or_new(file)
    known, user = known.add(note="probe")
    known, operator = known.add(role="operator", note="probe")
    known, limited = known.add(models=("something-else",), note="probe")
    known, expired = known.add(expires=datetime.now(UTC) - timedelta(days=1), note="probe")
    known, revoked = known.add(note="probe")
    known.revoke(known.keys[-1].id)
    return model, Keys(user, operator, limited, expired, revoked)
