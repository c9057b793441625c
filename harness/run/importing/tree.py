"""Writing a new tree of versioned files, whole or not at all."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

from harness.errors import SignoffError, UsageError

Files = dict[str, str]


class _Dumper(yaml.SafeDumper):
    """YAML as the files of this project are read: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value.strip() else None)


_Dumper.add_representer(str, _text)


def to_yaml(data: Mapping[str, Any]) -> str:
    """``data`` as YAML in the order of its keys."""
    made: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return made


def to_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """``rows`` as JSON lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


def slug(text: str, fallback: str, longest: int = 40) -> str:
    """A name for files and ids: small letters, digits and ``-``."""
    made = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
    return made or fallback


def unused(name: str, taken: Iterable[str]) -> str:
    """``name``, with a number behind it if it is taken."""
    taken = set(taken)
    return next(
        each for each in (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))) if each not in taken
    )


def refuse_unless_empty(out: Path) -> None:
    """UsageError when something stands where the tree is to be written; nothing is touched."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder; give the name of a new or an empty one")
    if out.is_dir() and (inside := sorted(path.name for path in out.iterdir())):
        shown = ", ".join(inside[:3]) + (", …" if len(inside) > 3 else "")
        raise UsageError(f"{out} is not empty ({shown}); give a new folder, nothing was written")


def write_tree(out: Path, files: Mapping[str, str | bytes]) -> None:
    """Write ``files`` (path -> content) below ``out``, new or empty: beside it first, then moved there whole."""
    out = out.resolve()
    refuse_unless_empty(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error}") from error
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        beside.chmod(0o755)
        _move(beside, out)
    except OSError as error:
        raise SignoffError(f"{out} could not be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _move(beside: Path, out: Path) -> None:
    if out.exists():
        # Somebody may stand in the empty folder, who would be left in one that is gone.
        refuse_unless_empty(out)
        for entry in sorted(beside.iterdir()):
            entry.rename(out / entry.name)
        return
    try:
        beside.rename(out)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise UsageError(f"{out} was filled by somebody else in the meantime; nothing was written") from error
        raise
