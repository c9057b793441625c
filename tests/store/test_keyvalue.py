"""The caches: nothing acknowledged is lost, damage is survived, a full disk is named."""

from __future__ import annotations

import sqlite3
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SignoffError, UsageError
from harness.store import GenerationCache, KeyValueCache
from tests.store.helpers import finish, kill_after_line, start

WRITER = """
    from pathlib import Path
    from harness.store import KeyValueCache
    name, batches = sys.argv[2], int(sys.argv[3])
    with KeyValueCache(Path(sys.argv[1])) as cache:
        for n in range(batches):
            cache.put_many({f"{name}-{n}-{i}": f"{name}-{n}-{i}".encode() * 20 for i in range(10)})
            print(n, flush=True)
"""


def rows(name: str, batches: int) -> dict[str, bytes]:
    keys = [f"{name}-{n}-{i}" for n in range(batches) for i in range(10)]
    return {key: key.encode() * 20 for key in keys}


def test_what_was_put_is_got(tmp_path: Path) -> None:
    """Any number of keys comes back with exact bytes; absent keys are absent; a second put changes nothing."""
    entries = {f"key{n}": bytes([n % 256]) * n for n in range(1500)}
    with GenerationCache(tmp_path / "new/folder/cache.sqlite") as cache:
        cache.put_many(entries)
        cache.put_many({"key7": b"other"})
        assert cache.get_many([*entries, "absent", "key1"]) == entries
        assert cache.get_many([]) == {}
        assert len(cache) == 1500 and cache.size_bytes() == sum(map(len, entries.values()))
    with GenerationCache(tmp_path / "new/folder/cache.sqlite") as cache:
        assert cache.get_many(iter(entries)) == entries


def test_a_thousand_lookups_are_few_selects(tmp_path: Path) -> None:
    """A thousand keys are looked up by two statements."""
    with KeyValueCache(tmp_path / "c") as cache:
        seen: list[str] = []
        cache._db.set_trace_callback(seen.append)
        cache.get_many(f"k{n}" for n in range(1000))
        assert len(seen) == 2


def test_entries_know_when_they_came(tmp_path: Path) -> None:
    """Each entry has its time of creation, in seconds, and its size in bytes."""
    with KeyValueCache(tmp_path / "c") as cache:
        before = time.time()
        cache.put_many({"k": b"four"})
        created, size = cache._db.execute("SELECT created, size FROM entries").fetchone()
        assert before <= created <= time.time() and size == 4


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    """A batch with an entry that cannot be stored leaves none of its entries."""
    with KeyValueCache(tmp_path / "c") as cache:
        with pytest.raises(SignoffError, match="cannot be used"):
            cache.put_many({"a": b"1", "b": None})  # type: ignore[dict-item]
        assert cache.get_many(["a", "b"]) == {}


def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four processes that create and fill one cache at once all succeed, and every entry is there."""
    path = tmp_path / "cache"
    for process in [start(WRITER, path, name, 25) for name in "abcd"]:
        finish(process)
    expected = {key: value for name in "abcd" for key, value in rows(name, 25).items()}
    with KeyValueCache(path) as cache:
        assert cache.get_many(expected) == expected and len(cache) == 1000


def test_threads_share_one_cache(tmp_path: Path) -> None:
    """Threads that put and get through one object lose nothing and mix nothing up."""
    failures: list[str] = []
    with KeyValueCache(tmp_path / "c") as cache:

        def work(name: str) -> None:
            for key, value in rows(name, 5).items():
                cache.put_many({key: value})
                if cache.get_many([key]) != {key: value}:
                    failures.append(key)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == [] and len(cache) == 200


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """After kill -9 every batch that was put is there whole, and the cache opens without complaint."""
    path = tmp_path / "cache"
    done = kill_after_line(start(WRITER, path, "k", 1_000_000), count=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with KeyValueCache(path) as cache:
            expected = rows("k", len(done))
            assert cache.get_many(expected) == expected
            assert len(cache) % 10 == 0


def filled(path: Path, batches: int = 200) -> None:
    with KeyValueCache(path) as cache:
        cache.put_many(rows("x", batches))


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 500)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 4096 * 3 + 100])


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [garbage, cut, scribble])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """A file that is no database, is cut or overwritten is moved aside with a warning, and a new one works."""
    path = tmp_path / "cache"
    filled(path)
    damage(path)
    with pytest.warns(UserWarning, match="is damaged"), KeyValueCache(path) as cache:
        cache.get_many(rows("x", 200))
        cache.put_many({"new": b"1"})
        assert cache.get_many(["new"]) == {"new": b"1"}
    assert len(list(tmp_path.glob("cache.damaged-*"))) == 1
    with KeyValueCache(path) as cache:
        assert cache.get_many(["new"]) == {"new": b"1"}


def test_an_empty_file_is_a_new_cache(tmp_path: Path) -> None:
    """A file of no bytes, as a kill right after its creation leaves it, is used without a warning."""
    (tmp_path / "c").touch()
    with KeyValueCache(tmp_path / "c") as cache:
        cache.put_many({"k": b"v"})
        assert len(cache) == 1


def test_the_second_finder_of_damage_keeps_the_new_file(tmp_path: Path) -> None:
    """Of two users of a damaged file the second goes on in the first one's new file and moves nothing aside."""
    path = tmp_path / "cache"
    filled(path)
    scribble(path)
    one, two = KeyValueCache(path), KeyValueCache(path)
    with pytest.warns(UserWarning, match="is damaged"):
        one.get_many(rows("x", 200))
    one.put_many({"new": b"1"})
    two.get_many(rows("x", 200))
    assert two.get_many(["new"]) == {"new": b"1"}
    two.put_many({"newer": b"2"})
    two.close()
    assert one.get_many(["new", "newer"]) == {"new": b"1", "newer": b"2"}
    one.close()
    assert len(list(tmp_path.glob("cache.damaged-*"))) == 1


def test_processes_at_once_mend_a_damaged_file_once(tmp_path: Path) -> None:
    """Four processes that meet the same garbage move it aside once and share the new file."""
    path = tmp_path / "cache"
    garbage(path)
    for process in [start(WRITER, path, name, 5) for name in "abcd"]:
        finish(process)
    assert len(list(tmp_path.glob("cache.damaged-*"))) == 1
    with KeyValueCache(path) as cache:
        assert len(cache) == 200


def test_a_locked_cache_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that another keeps locked beyond the waiting time is an error of the harness and stays where it is."""
    path = tmp_path / "cache"
    filled(path)
    monkeypatch.setattr("harness.store.keyvalue._BUSY_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with KeyValueCache(path) as cache, pytest.raises(SignoffError, match="locked") as caught:
        cache.put_many({"k": b"v"})
    assert caught.value.exit_code == 3
    other.execute("ROLLBACK")
    other.close()
    assert not list(tmp_path.glob("cache.damaged-*"))
    with KeyValueCache(path) as cache:
        assert len(cache) == 2000


def test_a_first_version_is_lifted(tmp_path: Path) -> None:
    """A cache of the first schema keeps its entries and gains their sizes."""
    old = sqlite3.connect(tmp_path / "c")
    old.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID")
    old.execute("INSERT INTO entries VALUES ('k', x'0102', 1.0)")
    old.execute("PRAGMA user_version=1")
    old.commit()
    old.close()
    for _ in range(2):
        with KeyValueCache(tmp_path / "c") as cache:
            assert cache.get_many(["k"]) == {"k": b"\x01\x02"} and cache.size_bytes() == 2


def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """A cache that a newer Signoff made is a UsageError, not damage: its entries stay."""
    filled(tmp_path / "c")
    newer = sqlite3.connect(tmp_path / "c")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(UsageError, match="newer Signoff"):
        KeyValueCache(tmp_path / "c")
    assert not list(tmp_path.glob("c.damaged-*"))


def test_a_full_disk_keeps_finished_rows(small_disk: Path) -> None:
    """When the disk fills, the put that did not fit is a UsageError, and every earlier batch stays readable."""
    path, done = small_disk / "cache", 0
    with KeyValueCache(path) as cache:
        with pytest.raises(UsageError, match=r"no space left for the cache .*disk/cache.*SIGNOFF_CACHE") as caught:
            for done in range(1000):
                cache.put_many({f"{done}-{i}": b"v" * 2000 for i in range(10)})
        assert caught.value.exit_code == 64
        expected = [f"{n}-{i}" for n in range(done) for i in range(10)]
        assert len(cache.get_many(expected)) == len(expected) == len(cache) > 0
    with KeyValueCache(path) as cache:
        assert len(cache.get_many(expected)) == len(expected)


def test_no_room_to_begin_is_named(small_disk: Path) -> None:
    """A cache that cannot even be created for lack of room is the same UsageError."""
    (small_disk / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(UsageError, match="no space left"):
        KeyValueCache(small_disk / "cache")


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """A process whose files may not grow gets the same UsageError, and what it acknowledged stays."""
    program = """
        from pathlib import Path
        from harness.errors import UsageError
        from harness.store import KeyValueCache
        cache, done = KeyValueCache(Path(sys.argv[1])), 0
        try:
            while True:
                cache.put_many({f"k{done}": os.urandom(2000)})
                done += 1
        except UsageError as error:
            print(done, error)
    """
    done, _, message = finish(start(program, tmp_path / "cache", file_bytes=300_000)).partition(" ")
    assert "no space left for the cache" in message
    with KeyValueCache(tmp_path / "cache") as cache:
        assert len(cache) == int(done) > 0


def test_a_read_only_disk_is_named(small_disk: Path, frozen: Callable[[], None]) -> None:
    """A cache on a read-only disk is a UsageError, not damage."""
    filled(small_disk / "c", batches=2)
    frozen()
    with pytest.raises(UsageError, match="cannot be written"):
        KeyValueCache(small_disk / "c")
    assert not list(small_disk.glob("c.damaged-*"))


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A cache below something that is no folder, or that is a folder itself, is not moved anywhere."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        KeyValueCache(tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()


def test_closing_twice_is_fine_and_use_after_is_an_error(tmp_path: Path) -> None:
    """A second close does nothing; a closed cache says so."""
    cache = KeyValueCache(tmp_path / "c")
    cache.close()
    cache.close()
    with pytest.raises(SignoffError, match="closed"):
        cache.get_many(["k"])
