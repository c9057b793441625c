"""Folders built once: one builder, nothing half, damage found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.store import convert_once
from tests.store.helpers import finish, killed_itself, start

BUILD = """
    import time
    from pathlib import Path
    from harness.store import convert_once
    def build(out):
        with open(sys.argv[2], "a") as log:
            log.write("built\\n")
        time.sleep(0.3)
        (out / "a.bin").write_bytes(b"a" * 1000)
    print(convert_once("key", Path(sys.argv[1]), build) / "a.bin")
"""


class Builder:
    """Writes two files and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, out: Path) -> None:
        self.calls += 1
        (out / "sub").mkdir()
        (out / "a.bin").write_bytes(b"a" * 1000)
        (out / "sub/b.bin").write_bytes(b"b" * 1000)


def test_built_once(tmp_path: Path) -> None:
    """The second call gives the same folder and builds nothing."""
    builder = Builder()
    folders = {convert_once("key", tmp_path, builder) for _ in range(3)}
    assert builder.calls == 1
    assert [(path / "sub/b.bin").read_bytes() for path in folders] == [b"b" * 1000]


def cut(folder: Path) -> None:
    os.truncate(folder / "a.bin", 10)


def overwrite(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"x" * 1000)
    os.utime(folder / "a.bin", (1, 1))


def remove(folder: Path) -> None:
    (folder / "sub/b.bin").unlink()


def cut_manifest(folder: Path) -> None:
    os.truncate(folder / "signoff-manifest.json", 20)


def empty_manifest(folder: Path) -> None:
    (folder / "signoff-manifest.json").write_text("[1]")


def odd_manifest(folder: Path) -> None:
    (folder / "signoff-manifest.json").write_text('{"a.bin": 7}')


@pytest.mark.parametrize("damage", [cut, overwrite, remove, cut_manifest, empty_manifest, odd_manifest])
def test_damage_is_found_and_mended(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A folder with a cut, overwritten or missing file, or a manifest that is no manifest, is built again."""
    builder = Builder()
    damage(convert_once("key", tmp_path, builder))
    folder = convert_once("key", tmp_path, builder)
    assert builder.calls == 2
    assert (folder / "a.bin").read_bytes() == b"a" * 1000 and (folder / "sub/b.bin").read_bytes() == b"b" * 1000


def test_new_times_cost_a_look_and_no_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that changed only a file's time is recognised by its digest, once."""
    builder = Builder()
    folder = convert_once("key", tmp_path, builder)
    os.utime(folder / "a.bin", (1, 1))
    convert_once("key", tmp_path, builder)
    monkeypatch.setattr("harness.store.converted.digest_file", lambda path: "hashed again")
    assert convert_once("key", tmp_path, builder) == folder
    assert builder.calls == 1


def test_files_that_others_add_do_no_harm(tmp_path: Path) -> None:
    """Byte code that an import leaves in a built tree does not make it damaged."""
    builder = Builder()
    folder = convert_once("key", tmp_path, builder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_bytes(b"x")
    convert_once("key", tmp_path, builder)
    assert builder.calls == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """The builder's own error comes through, no folder appears, and the next build starts in an empty one."""

    def fail(out: Path) -> None:
        (out / "half").write_text("h")
        message = "no tensor"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="no tensor"):
        convert_once("key", tmp_path, fail)
    assert list((tmp_path / "built").iterdir()) == []
    assert not (convert_once("key", tmp_path, Builder()) / "half").exists()


def test_a_failed_rebuild_keeps_no_damaged_folder_alive(tmp_path: Path) -> None:
    """While a damaged folder cannot be rebuilt, every call fails: it is never handed out."""
    cut(convert_once("key", tmp_path, Builder()))

    def fail(out: Path) -> None:
        raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            convert_once("key", tmp_path, fail)


@pytest.mark.parametrize("key", ["", "..", "a/b", "../x", ".hidden", "a\n"])
def test_a_key_is_a_plain_name(tmp_path: Path, key: str) -> None:
    """A key that could lead elsewhere is a ValueError."""
    with pytest.raises(ValueError, match="plain file name"):
        convert_once(key, tmp_path, Builder())


def test_processes_at_once_build_once(tmp_path: Path) -> None:
    """Three processes that need the same folder build it once and all get it."""
    log = tmp_path / "log"
    out = {finish(process) for process in [start(BUILD, tmp_path / "c", log) for _ in range(3)]}
    assert out == {f"{tmp_path}/c/built/key/a.bin\n"}
    assert log.read_text() == "built\n"


def test_a_killed_build_is_begun_anew(tmp_path: Path) -> None:
    """After kill -9 in the midst of a build nothing looks whole, the next call builds, and the half one is cleared."""
    program = """
        import signal
        from pathlib import Path
        from harness.store import convert_once
        def build(out):
            (out / "half.bin").write_bytes(b"h" * 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        convert_once("key", Path(sys.argv[1]), build)
    """
    killed_itself(start(program, tmp_path))
    assert not (tmp_path / "built/key").exists() and list(tmp_path.rglob("half.bin"))
    builder = Builder()
    folder = convert_once("key", tmp_path, builder)
    assert builder.calls == 1 and sorted(path.name for path in folder.iterdir()) == [
        "a.bin",
        "signoff-manifest.json",
        "sub",
    ]
    assert [path.name for path in (tmp_path / "built").iterdir()] == ["key"]


def test_a_full_disk_is_named_and_left_clean(small_disk: Path) -> None:
    """A build that does not fit is a UsageError with path and remedy, and leaves the disk free."""

    def build(out: Path) -> None:
        (out / "big").write_bytes(bytes(2_000_000))

    with pytest.raises(UsageError, match=r"no space left while writing .*built/key.*SIGNOFF_CACHE"):
        convert_once("key", small_disk, build)
    assert list((small_disk / "built").iterdir()) == []


def test_a_cache_that_may_only_be_read_serves(small_disk: Path, frozen: Callable[[], None]) -> None:
    """From a read-only cache a built folder is served, also when its times changed; another is a UsageError."""
    folder = convert_once("key", small_disk, Builder())
    os.utime(folder / "a.bin", (1, 1))
    frozen()
    assert convert_once("key", small_disk, Builder()) == folder
    with pytest.raises(UsageError, match="Read-only"):
        convert_once("other", small_disk, Builder())


def test_a_full_disk_told_in_words_is_understood(tmp_path: Path) -> None:
    """Libraries that raise their own error with the system's words for a full disk get the same message."""

    def build(out: Path) -> None:
        message = "Error while serializing: I/O error: No space left on device (os error 28)"
        raise RuntimeError(message)

    with pytest.raises(UsageError, match="no space left while writing"):
        convert_once("key", tmp_path, build)


def test_a_builder_denied_its_own_file_keeps_its_error(tmp_path: Path) -> None:
    """A permission error about a file elsewhere is not blamed on the cache."""

    def build(out: Path) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere/else.gguf")

    with pytest.raises(PermissionError, match=r"else\.gguf"):
        convert_once("key", tmp_path, build)
