"""Files written whole or not at all, locks that die with their holder, the cache's home."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.store import cache_home, write_atomic
from harness.store.files import locked
from tests.store.helpers import finish, kill_after_line, start


def test_content_replaces_content(tmp_path: Path) -> None:
    """A file is created with its folders, replaced, and nothing is left beside it."""
    path = tmp_path / "a/b/file"
    for content in (b"", b"one", b"two" * 100_000):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_files_are_readable_as_the_user_set_it(tmp_path: Path) -> None:
    """A written file has the mode that any new file of the user has, so that others may read a report."""
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def assert_whole(content: bytes) -> None:
    assert len(content) == 3_000_000 and content == content[:1] * 3_000_000


def test_a_killed_writer_leaves_one_whole_content(tmp_path: Path) -> None:
    """Readers during rewriting, and whoever comes after kill -9, see one of the contents, whole."""
    program = """
        from pathlib import Path
        from harness.store import write_atomic
        while True:
            for letter in (b"a", b"b"):
                write_atomic(Path(sys.argv[1]), letter * 3_000_000)
                print("x", flush=True)
    """
    write_atomic(tmp_path / "file", b"c" * 3_000_000)
    for _ in range(3):
        writer = start(program, tmp_path / "file")
        for _ in range(100):
            assert_whole((tmp_path / "file").read_bytes())
        kill_after_line(writer)
        assert_whole((tmp_path / "file").read_bytes())


def test_a_full_disk_keeps_the_old_content(small_disk: Path) -> None:
    """What does not fit is a UsageError with the path; the old content stays and nothing half lies beside it."""
    path = small_disk / "file"
    write_atomic(path, b"old")
    with pytest.raises(UsageError, match=r"no space left while writing .*disk/file"):
        write_atomic(path, bytes(2_000_000))
    assert path.read_bytes() == b"old" and list(small_disk.iterdir()) == [path]


def test_a_file_size_limit_keeps_the_old_content(tmp_path: Path) -> None:
    """The same holds where a limit on the size of files stops the write."""
    program = """
        from pathlib import Path
        from harness.errors import UsageError
        from harness.store import write_atomic
        try:
            write_atomic(Path(sys.argv[1]), bytes(1_000_000))
        except UsageError as error:
            print(error)
    """
    write_atomic(tmp_path / "file", b"old")
    assert "no space left" in finish(start(program, tmp_path / "file", file_bytes=100_000))
    assert (tmp_path / "file").read_bytes() == b"old" and list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_denied_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be written is a UsageError that names it and the way out."""

    def denied(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UsageError, match=r"cannot be written \(Permission denied\).*SIGNOFF_CACHE"):
        write_atomic(tmp_path / "file", b"x")


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """The lock of a process that was killed is free at once."""
    program = """
        import time
        from pathlib import Path
        from harness.store.files import locked
        with locked(Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(600)
    """
    kill_after_line(start(program, tmp_path / "lock"))
    with locked(tmp_path / "lock"):
        pass


def test_a_lock_excludes(tmp_path: Path) -> None:
    """Four processes that each add to one number under the lock lose no addition."""
    program = """
        from pathlib import Path
        from harness.store.files import locked
        number = Path(sys.argv[1])
        for _ in range(50):
            with locked(Path(sys.argv[2])):
                number.write_text(str(int(number.read_text()) + 1))
    """
    (tmp_path / "number").write_text("0")
    for process in [start(program, tmp_path / "number", tmp_path / "lock") for _ in range(4)]:
        finish(process)
    assert (tmp_path / "number").read_text() == "200"


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", "/own"),
        ("~/c", None, "/home/me/c"),
        (None, "/xdg", "/xdg/signoff"),
        (None, None, "/home/me/.cache/signoff"),
        ("", "", "/home/me/.cache/signoff"),
        (None, "relative", "/home/me/.cache/signoff"),
    ],
)
def test_cache_home(own: str | None, xdg: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGNOFF_CACHE wins, then an absolute XDG folder, then the home's own; empty is as good as unset."""
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("SIGNOFF_CACHE", own), ("XDG_CACHE_HOME", xdg)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert cache_home() == Path(expected)


def test_cache_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative SIGNOFF_CACHE is taken from where the command was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNOFF_CACHE", "c")
    assert cache_home() == tmp_path / "c"
