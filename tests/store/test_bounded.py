"""The bounded cache: it keeps to its limits, also under several writers and kills, and trusts no damaged value."""

from __future__ import annotations

import logging
import random
import sqlite3
import time
import warnings
from pathlib import Path

import pytest

from harness.errors import SignoffError, UsageError
from harness.store import KeyValueCache
from harness.store.bounded import BoundedCache
from tests.store.helpers import finish, kill_after_line, start

MIB = 2**20
WRITER = """
    import random
    from pathlib import Path
    from harness.store.bounded import BoundedCache
    name, count, limit = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    source = random.Random(name)
    # On a busy machine the holder of the lock may be asleep for long.
    BoundedCache.busy_s = 30
    with BoundedCache(Path(sys.argv[1]), seconds=1e6, limit=limit) as cache:
        for n in range(count):
            key = f"{name}-{n}"
            cache.put(key, key.encode() * source.randrange(1, 300))
            assert cache.get(key) is not None, key
            cache.get(f"{name}-{source.randrange(n + 1)}")
            print(key, flush=True)
"""


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = 1e9

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def cache_at(path: Path, limit: int = MIB, seconds: float = 1000.0, clock: Clock | None = None) -> BoundedCache:
    """A cache in the file ``path``."""
    return BoundedCache(path, seconds=seconds, limit=limit, now=clock or time.time)


def keys(path: Path) -> list[str]:
    """The keys, read behind the cache's back, once the file was found to be sound."""
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = [key for (key,) in db.execute("SELECT key FROM entries")]
    db.close()
    return found


def test_what_was_put_is_got_and_replaced(tmp_path: Path) -> None:
    """A value comes back with exact bytes, also from a new process's view, and the latest one counts."""
    with cache_at(tmp_path / "new" / "c") as cache:
        assert cache.get("k") is None
        for value in (b"", b"one", bytes(range(256)) * 100):
            cache.put("k", value)
            assert cache.get("k") == value
        assert len(cache) == 1
    with cache_at(tmp_path / "new" / "c") as cache:
        assert cache.get("k") == bytes(range(256)) * 100


def test_bytes_are_bounded(tmp_path: Path) -> None:
    """However much is put, what counts stays within the limit, and the file does not grow beyond it by much."""
    path, limit, source = tmp_path / "c", MIB, random.Random(1)
    with cache_at(path, limit) as cache:
        for number in range(6000):
            cache.put(f"key-{number:064}", source.randbytes(source.randrange(2000)))
            assert cache.size_bytes() <= limit
        assert cache.size_bytes() > limit * 0.95
    assert keys(path) and path.stat().st_size < 1.1 * limit


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, clock: Clock) -> None:
    """A value that is asked for outlives those put after it; the rest goes in the order of putting."""
    with cache_at(tmp_path / "c", 150_000, 1e6, clock) as cache:
        for number in range(10):
            clock.time += 100
            cache.put(f"k{number}", bytes(10_000))
        assert len(cache) == 10
        clock.time += 100
        assert cache.get("k0") is not None and cache.get("k2") is not None
        for number in range(10, 15):
            clock.time += 100
            cache.put(f"k{number}", bytes(10_000))
        gone = {number for number in range(15) if cache.get(f"k{number}") is None}
        assert gone and gone == set([1, 3, 4, 5, 6, 7][: len(gone)])


def test_uses_are_written_without_a_put(tmp_path: Path, clock: Clock) -> None:
    """A cache that is only read remembers what was read, for the process that comes after."""
    with cache_at(tmp_path / "c", seconds=1e6, clock=clock) as cache:
        for number in range(40):
            cache.put(f"k{number}", b"v")
        clock.time += 1000
        for number in range(40):
            cache.get(f"k{number}")
    with sqlite3.connect(tmp_path / "c") as db:
        assert db.execute("SELECT count(*) FROM entries WHERE used = ?", (clock.time,)).fetchone()[0] >= 24
    db.close()


def test_old_values_are_misses_and_go(tmp_path: Path, clock: Clock) -> None:
    """A value expires at its age, however often it is used, and puts clear away what has expired."""
    with cache_at(tmp_path / "c", seconds=1000, clock=clock) as cache:
        cache.put("old", b"v")
        cache.put("unread", b"v")
        clock.time += 999
        assert cache.get("old") == b"v"
        clock.time += 1
        assert cache.get("old") is None
        clock.time += 1
        cache.put("new", b"v")
        assert keys(tmp_path / "c") == ["new"]


def test_values_from_the_future_are_not_believed(tmp_path: Path, clock: Clock) -> None:
    """After the clock was set back an hour earlier values are misses; a step of a second changes nothing."""
    with cache_at(tmp_path / "c", clock=clock) as cache:
        cache.put("k", b"v")
        clock.time -= 1
        assert cache.get("k") == b"v"
        clock.time -= 3600
        assert cache.get("k") is None
        cache.put("k", b"w")
        assert cache.get("k") == b"w"


def test_a_value_that_would_fill_the_cache_is_not_kept(tmp_path: Path) -> None:
    """One large value does not push out everything else."""
    with cache_at(tmp_path / "c", 80_000) as cache:
        cache.put("small", b"v")
        cache.put("large", bytes(10_001))
        assert cache.get("large") is None and cache.get("small") == b"v"


def test_narrower_limits_hold_from_the_start(tmp_path: Path, clock: Clock) -> None:
    """A cache that is opened with a smaller limit, or after a long time, is within it before its first use."""
    with cache_at(tmp_path / "c", 4 * MIB, clock=clock) as cache:
        for number in range(2000):
            cache.put(f"k{number}", bytes(1000))
        assert len(cache) == 2000
    with cache_at(tmp_path / "c", 400_000, clock=clock) as cache:
        assert 380_000 < cache.size_bytes() <= 400_000 and len(cache) > 100
    clock.time += 1001
    with cache_at(tmp_path / "c", 100_000, clock=clock) as cache:
        assert len(cache) == 0 and cache.size_bytes() < 50_000


def test_no_room_at_all_is_an_empty_cache(tmp_path: Path) -> None:
    """A limit below what an empty file needs keeps nothing and harms nothing."""
    with cache_at(tmp_path / "c", 100) as cache:
        cache.put("k", b"v")
        assert cache.get("k") is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET value = zeroblob(length(value)) WHERE key = 'k'",
        "UPDATE entries SET value = substr(value, 1, 20) WHERE key = 'k'",
        "UPDATE entries SET value = x'' WHERE key = 'k'",
        "UPDATE entries SET value = (SELECT value FROM entries WHERE key = 'other') WHERE key = 'k'",
    ],
    ids=["zeroed", "cut", "emptied", "another key's"],
)
def test_a_damaged_value_is_a_miss_and_goes(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A value whose bytes are not those that were put under this key is forgotten, and that is said."""
    with cache_at(tmp_path / "c") as cache:
        cache.put("k", b"value" * 100)
        cache.put("other", b"else" * 100)
        other = sqlite3.connect(tmp_path / "c")
        with other:
            other.execute(damage)
        other.close()
        with caplog.at_level(logging.WARNING):
            assert cache.get("k") is None
        assert "damaged" in caplog.text and len(cache) == 1
        assert cache.get("other") == b"else" * 100
        cache.put("k", b"again")
        assert cache.get("k") == b"again"


def test_a_bit_that_flips_on_the_disk_is_noticed(tmp_path: Path) -> None:
    """A value that the disk changed, which SQLite does not notice, is not handed out."""
    path, value = tmp_path / "c", b"the one answer " * 3000
    with cache_at(path) as cache:
        cache.put("k", value)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"the one answer")] ^= 1
    path.write_bytes(content)
    with cache_at(path) as cache:
        assert cache.get("k") is None and len(cache) == 0


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 500)


def scribble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [garbage, scribble])
def test_a_damaged_file_is_moved_aside_with_one_warning(tmp_path: Path, damage: object) -> None:
    """A file that is no database any more is put aside, said once, and a new one is filled."""
    path = tmp_path / "c"
    with cache_at(path) as cache:
        for number in range(500):
            cache.put(f"k{number}", bytes(500))
    damage(path)  # type: ignore[operator]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with cache_at(path, 200_000) as cache:
            for number in range(500):
                cache.get(f"k{number}")
                cache.put(f"k{number}", bytes(500))
            assert cache.get("k499") == bytes(500) and cache.size_bytes() <= 200_000
    assert [str(warning.message).count("is damaged") for warning in seen] == [1]
    assert len(list(tmp_path.glob("c.damaged-*"))) == 1
    keys(path)


def test_killed_writers_leave_a_sound_file(tmp_path: Path) -> None:
    """A writer killed again and again, while it makes room, still has what it acknowledged last."""
    path, source = tmp_path / "c", random.Random(7)
    for round_ in range(12):
        done = kill_after_line(start(WRITER, path, f"w{round_}", 1_000_000, 200_000), count=source.randrange(1, 150))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with cache_at(path, 200_000, 1e6) as cache:
                value = cache.get(done[-1])
                assert value is not None and value.startswith(done[-1].encode())
                assert cache.size_bytes() <= 200_000
        keys(path)


def test_processes_at_once_share_the_limit(tmp_path: Path) -> None:
    """Four processes that fill one cache beyond its limit all succeed, and what is left is whole."""
    path = tmp_path / "c"
    for process in [start(WRITER, path, name, 150, 300_000) for name in "abcd"]:
        finish(process)
    found = keys(path)
    with cache_at(path, 300_000, 1e6) as cache:
        assert cache.size_bytes() <= 300_000 and len({key[0] for key in found}) > 1
        assert all((cache.get(key) or b"").startswith(key.encode()) for key in found)


def test_a_locked_file_is_waited_for_briefly(tmp_path: Path) -> None:
    """While another process holds the lock a get still answers; a put gives up with an error and harms nothing."""
    with cache_at(tmp_path / "c") as cache:
        cache.put("k", b"v")
        other = sqlite3.connect(tmp_path / "c", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert cache.get("k") == b"v"
        with pytest.raises(SignoffError, match="locked"):
            cache.put("k", b"w")
        other.execute("ROLLBACK")
        other.close()
        assert cache.get("k") == b"v"
        cache.put("k", b"w")
        assert cache.get("k") == b"w"


def test_a_full_disk_is_named_and_what_is_there_stays(small_disk: Path) -> None:
    """When the disk fills before the limit is reached, the put is a UsageError and earlier values can be read."""
    with cache_at(small_disk / "c", 64 * MIB) as cache:
        done = 0
        with pytest.raises(UsageError, match="no space left"):
            for done in range(1000):
                cache.put(f"k{done}", bytes(5000))
        assert done > 10 and all(cache.get(f"k{number}") == bytes(5000) for number in range(done))


def test_a_plain_cache_does_not_take_the_file(tmp_path: Path) -> None:
    """A cache of the unbounded kind refuses the file instead of writing values without checksums into it."""
    cache_at(tmp_path / "c").close()
    with pytest.raises(UsageError, match="newer Signoff"):
        KeyValueCache(tmp_path / "c")
