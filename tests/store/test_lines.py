"""JSON lines: whole lines reach the disk, a torn one is seen."""

from __future__ import annotations

import itertools
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SignoffError, UsageError
from harness.store import JsonLines, read_lines
from tests.store.helpers import finish, kill_after_line, start

WRITER = """
    from pathlib import Path
    from harness.store import JsonLines
    with JsonLines(Path(sys.argv[1])) as lines:
        n = 0
        while True:
            for _ in range(100):
                lines.write(b'{"n":%d,"pad":"%s"}\\n' % (n, b"p" * (n % 900)))
                n += 1
            lines.flush()
            print(n, flush=True)
"""


def line(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    """What was written is read in order, over several batches and several openings."""
    path = tmp_path / "a/rows.jsonl"
    values = [{"n": n, "text": "é" * (n % 50)} for n in range(5000)]
    for half in (values[:2500], values[2500:]):
        with JsonLines(path) as lines:
            for value in half:
                lines.write(line(value))
    assert list(read_lines(path)) == values


def test_a_flushed_line_is_on_disk(tmp_path: Path) -> None:
    """After a flush others read the lines while the writer goes on."""
    with JsonLines(tmp_path / "f") as lines:
        lines.write(line(1))
        lines.flush()
        assert list(read_lines(tmp_path / "f")) == [1]


@pytest.mark.parametrize("content", [b"", b"1", b"1\n2\n", b"\n\n", b"1\n2"])
def test_only_one_whole_line_at_a_time(tmp_path: Path, content: bytes) -> None:
    """What is not exactly one line with its end is a ValueError: it would tear the file."""
    with JsonLines(tmp_path / "f") as lines:
        with pytest.raises(ValueError, match="one line end"):
            lines.write(content)
        lines.write(line(1))
    assert list(read_lines(tmp_path / "f")) == [1]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_wherever_it_is_torn(tmp_path: Path, data: st.DataObject) -> None:
    """Cut at any byte, a file gives on resume the lines before the cut, says so otherwise, and can be continued."""
    values = data.draw(st.lists(st.text(max_size=5) | st.integers(0, 10**6), min_size=1, max_size=6))
    content = b"".join(map(line, values))
    at = data.draw(st.integers(0, len(content)))
    path = tmp_path / "torn.jsonl"
    path.write_bytes(content[:at])
    whole = values[: content[:at].count(b"\n")]
    assert list(read_lines(path, resume=True)) == whole
    if content[:at].endswith(b"\n") or not at:
        assert list(read_lines(path)) == whole
    else:
        with pytest.raises(SignoffError, match=rf"torn\.jsonl:{len(whole) + 1}: the line is torn"):
            list(read_lines(path))
    with JsonLines(path) as lines:
        lines.write(line("more"))
    assert list(read_lines(path)) == [*whole, "more"]


def test_a_long_torn_line_is_cut(tmp_path: Path) -> None:
    """A torn line longer than one look backwards is cut off as well, also when it is the only one."""
    for before in (b"1\n", b""):
        (tmp_path / "f").write_bytes(before + b'"' + b"x" * 200_000)
        with JsonLines(tmp_path / "f"):
            pass
        assert (tmp_path / "f").read_bytes() == before


def test_damage_in_the_midst_is_never_dropped(tmp_path: Path) -> None:
    """A line that ends and is no JSON is an error naming its number, on resume too."""
    (tmp_path / "f").write_bytes(b'{"a":1}\n{"a":\n{"a":3}\n')
    for resume in (False, True):
        with pytest.raises(SignoffError, match="f:2: not a JSON line"):
            list(read_lines(tmp_path / "f", resume=resume))


def test_a_killed_writer_loses_nothing_it_flushed(tmp_path: Path) -> None:
    """After kill -9 every flushed line is there, at most the last is torn, and a second writer goes on cleanly."""
    path = tmp_path / "f"
    printed = kill_after_line(start(WRITER, path), count=5)
    found = [row["n"] for row in read_lines(path, resume=True)]
    assert found == list(range(len(found))) and len(found) >= int(printed[-1])
    with JsonLines(path) as lines:
        lines.write(line({"n": len(found)}))
    assert [row["n"] for row in read_lines(path)] == [*found, len(found)]


def test_a_full_disk_leaves_whole_lines(small_disk: Path) -> None:
    """The batch that does not fit is a UsageError; what lies on the disk are the earlier batches, whole."""
    path = small_disk / "f"
    with (
        pytest.raises(UsageError, match=r"no space left while writing .*disk/f.*reports/") as caught,
        JsonLines(path) as lines,
    ):
        for n in itertools.count():
            lines.write(line({"n": n, "pad": "p" * 1000}))
    assert caught.value.exit_code == 64
    found = [row["n"] for row in read_lines(path)]
    assert found == list(range(len(found))) and len(found) > 500


def test_a_full_disk_at_the_end_is_named(tmp_path: Path) -> None:
    """Lines that wait until the file is closed are not lost silently either."""
    program = """
        from pathlib import Path
        from harness.errors import UsageError
        from harness.store import JsonLines
        try:
            with JsonLines(Path(sys.argv[1])) as lines:
                lines.write(b'"kept"\\n')
                lines.flush()
                for _ in range(40):
                    lines.write(b'"' + b"x" * 1000 + b'"\\n')
        except UsageError as error:
            print(error)
    """
    assert "no space left" in finish(start(program, tmp_path / "f", file_bytes=20_000))
    assert list(read_lines(tmp_path / "f")) == ["kept"]


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    """A writer whose work raised closes its file."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KeyError), JsonLines(tmp_path / "f") as lines:
        lines.write(line(1))
        raise KeyError
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert list(read_lines(tmp_path / "f")) == [1]
