"""Python programs run beside the test: several at once, killed, or short of disk."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(program: str, *args: object, file_bytes: int | None = None) -> subprocess.Popen[str]:
    """Start ``program``; with ``file_bytes`` no file of it may grow beyond that many."""
    code = "import sys, os\n" + textwrap.dedent(program)
    if file_bytes is not None:
        code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes}, {file_bytes}))\n" + code
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """The program's output, once it ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def kill_after_line(process: subprocess.Popen[str], count: int = 1) -> list[str]:
    """Kill -9 the program as soon as it has printed ``count`` lines; all whole lines it printed."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    assert all(lines), process.communicate()[1]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in (*lines, *rest.splitlines(keepends=True)) if line.endswith("\n")]


def killed_itself(process: subprocess.Popen[str]) -> None:
    """Wait for a program that ends by kill -9 of itself."""
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err


def sha256(content: bytes) -> str:
    """Computed without the code under test."""
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, files: dict[str, bytes], name: str = "boxed", version: str = "1.0") -> Path:
    """A wheel that pip accepts, with ``files`` under exactly these names."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel
