"""The log of requests: what a row holds and does not hold, and that no crash, full disk or slow thread harms it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SignoffError, UsageError
from harness.serve.gateway.telemetry import TraceLog, columns, read_traces, trace_log
from harness.serve.gateway.telemetry.texts import MAX_CHARACTERS, Texts
from harness.serve.gateway.telemetry.trace_row import FIELDS, STEP_FIELDS
from harness.spec.serving import Traces
from tests.serve.turns import finished

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"
SECRETS = re.compile(r"jane@example\.com|ORD-\d{6}|\d{16}")


def masked(text: str) -> str:
    """Stands in for the anonymiser: mail addresses, order numbers and card numbers."""
    return SECRETS.sub("<HIDDEN>", text)


def held_back(free: threading.Event) -> Callable[[str], str]:
    """An anonymiser that hangs until ``free`` is set."""

    def anonymise(text: str) -> str:
        free.wait(30)
        return text

    return anonymise


def kept(folder: Path, *turns: Any, anonymise: Any = masked, **how: Any) -> list[dict[str, Any]]:
    """The rows that a log keeps of ``turns``."""
    log = TraceLog(folder, anonymise, Traces(**how))
    for turn in turns:
        log.observe(turn)
    log.close()
    assert (log.dropped, log.lost) == (0, 0)
    return list(read_traces(folder))


def on_disk(folder: Path) -> bytes:
    """Every byte below ``folder``, Parquet unpacked."""
    import pyarrow.parquet

    found = [path for path in folder.iterdir() if path.is_file()]
    tables = [pyarrow.parquet.read_table(path).to_pylist() for path in found if path.suffix == ".parquet"]
    return b"".join(path.read_bytes() for path in found) + repr(tables).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the log goes; it does not exist yet."""
    return tmp_path / "var" / "traces"


@pytest.fixture
def lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without pyarrow."""
    monkeypatch.setattr(columns, "find_spec", lambda name: None)


def test_a_row_tells_what_a_request_was(folder: Path) -> None:
    """Every field is there, in order, with the request's own values."""
    (row,) = kept(folder, finished())
    assert list(row) == list(FIELDS)
    assert row["received"] == "2023-11-14T22:13:20.000Z"
    figures = ("tokens_in", "tokens_out", "tokens_cached", "queue_s", "first_s", "total_s", "status", "shadow")
    assert [row[name] for name in figures] == [100, 21, 40, 0.02, 0.3, 1.3, 200, False]
    assert row["seconds_per_token"] == pytest.approx(0.05)
    names = ("schema_version", "kind", "id", "response_id", "app", "arm", "adapter", "digest", "key_id", "cache")
    assert [row[name] for name in names] == [
        *(1, "request", "req-1", "chatcmpl-req-1", "support"),
        *("candidate", "triage/1.0.0", "sha256:abc", "key-7", "miss"),
    ]


def test_a_row_tells_what_each_step_did(folder: Path) -> None:
    """Steps carry their status, figures, prompt version and anonymised output; structures are JSON text."""
    (row,) = kept(folder, finished())
    triage, lookup, stock, apology = row["steps"]
    assert list(triage) == list(STEP_FIELDS)
    assert (triage["id"], triage["prompt"], triage["tokens_out"]) == ("triage", "support/triage/1.2.0", 12)
    assert json.loads(triage["output"]) == {"intent": "refund", "of": "<HIDDEN>"}
    assert json.loads(lookup["output"]) == {"order": 4711}
    assert (stock["status"], stock["reason"], stock["output"]) == ("error", "no answer for <HIDDEN>", None)
    assert apology["status"] == "skipped"


def test_planted_identifiers_are_nowhere_on_the_disk(folder: Path) -> None:
    """Mail, order and card numbers are gone from texts, errors, field names, numbers and notes, in every file."""
    step = {
        "status": "error",
        "reason": "ORD-123456 not found",
        "output": {"jane@example.com": ["ORD-654321", {"card": 4111111111111111, "raw": "a\nORD-111111\n"}]},
    }
    log = TraceLog(folder, masked)
    for _ in range(200):
        log.observe(
            finished(
                input="I am jane@example.com, ORD-123456",
                output="Dear jane@example.com",
                error="got 'jane@example.com'",
                user="jane@example.com",
                steps={"lookup": step},
            )
        )
    log.note("feedback", {"response_id": "chatcmpl-1", "comment": {"text": "ORD-123456!"}, "user": "jane@example.com"})
    assert log.flush()
    assert not SECRETS.findall(on_disk(folder).decode(errors="replace"))
    log.close()
    assert not SECRETS.findall(on_disk(folder).decode(errors="replace"))
    rows = list(read_traces(folder))
    assert len(rows) == 201
    assert rows[0]["input"] == "I am <HIDDEN>, <HIDDEN>"


@pytest.mark.parametrize(("anonymise", "texts"), [(None, True), (masked, False)], ids=["no anonymiser", "texts off"])
def test_figures_alone_when_texts_are_not_wanted(anonymise: Any, texts: bool, folder: Path) -> None:
    """Without an anonymiser, or with texts off, no text at all is kept, harmless ones included."""
    (row,) = kept(folder, finished(error="boo"), anonymise=anonymise, texts=texts)
    assert (row["input"], row["output"], row["error"]) == (None, None, None)
    assert {(step["output"], step["reason"]) for step in row["steps"]} == {(None, None)}
    assert row["tokens_in"] == 100
    assert b"parcel" not in on_disk(folder)


def test_a_text_that_cannot_be_anonymised_is_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An anonymiser that raises costs the text, never its secrecy; the row stays and the log quotes nothing."""

    def broken(text: str) -> str:
        if "jane" in text:
            raise ValueError(text)
        return text

    log = TraceLog(folder, broken)
    log.observe(finished())
    log.close()
    (row,) = read_traces(folder)
    assert (row["input"], row["output"], row["tokens_in"]) == (None, None, 100)
    assert log.unanonymised == 4
    assert b"jane" not in on_disk(folder)
    assert "jane" not in caplog.text
    assert "could not be anonymised: ValueError" in caplog.text


def test_who_is_named_once_is_found_in_the_whole_row(folder: Path) -> None:
    """A name that one text or field gives away is taken out of all texts of the row, also of those before it."""
    pytest.importorskip("presidio_analyzer")
    from harness.data.anonymiser import Anonymiser

    steps = {"lookup": {"output": {"lines": [{"ref": "for Zorvane"}], "customer_name": "Zorvane"}}}
    log = TraceLog(folder, Anonymiser())
    log.observe(finished(input="The parcel of Zorvane, where is it?", output="Zorvane will be glad.", steps=steps))
    log.observe(finished(input="My name is Dana Okafor.", output="Dear Okafor, hello Dana.", steps={}))
    log.note("feedback", {"response_id": "chatcmpl-1", "comment": "wrong, says dana@example.com"})
    log.close()
    assert not re.findall(rb"Zorvane|Okafor|Dana|dana", on_disk(folder))
    assert log.unanonymised == 0
    assert "where is it?" in next(read_traces(folder))["input"]


def test_a_very_long_text_is_cut(folder: Path) -> None:
    """A text beyond the limit is kept up to it, and an identifier that the cut splits is not kept in half."""
    long = "x" * (MAX_CHARACTERS - 8) + " ORD-123456 and more"
    (row,) = kept(folder, finished(input=long))
    assert len(row["input"]) < MAX_CHARACTERS + 40
    assert "ORD" not in row["input"]
    assert row["input"].endswith(f"[… cut, {len(long)} characters]")


def test_a_person_is_one_word_in_every_row(folder: Path, tmp_path: Path) -> None:
    """A user has the same word in requests and notes and after a restart, another one elsewhere, and is not in it."""
    log = TraceLog(folder, masked)
    log.observe(finished(user="user-99"))
    log.note("feedback", {"user": "user-99"})
    log.close()
    rows = kept(folder, finished(user="user-99"), finished(user="user-1"), finished(user=""))
    words = [row["user"] for row in rows]
    assert re.fullmatch(r"[0-9a-f]{16}", words[0])
    assert words[0] == words[1] == words[2] != words[3]
    assert words[4] == ""
    assert kept(tmp_path / "other", finished(user="user-99"))[0]["user"] != words[0]


def test_only_the_owner_can_read(folder: Path) -> None:
    """The folder is 0700; the salt and the files, open and closed, are 0600."""
    log = TraceLog(folder, masked)
    log.observe(finished())
    assert log.flush()
    modes = {path.name.rsplit(".")[-1]: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    log.close()
    modes |= {path.name.rsplit(".")[-1]: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"salt": 0o600, "jsonl": 0o600, "parquet": 0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_salt_that_is_none_is_named(folder: Path) -> None:
    """A salt file of the wrong size is a usage error: hashing with it would be as good as none."""
    folder.mkdir(parents=True)
    (folder / "salt").write_bytes(b"short")
    with pytest.raises(UsageError, match="holds 5 bytes"):
        TraceLog(folder, masked)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path below a file is a usage error when the server starts, not a surprise later."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="name another folder"):
        TraceLog(tmp_path / "file" / "traces", masked)


def names(folder: Path, suffix: str) -> list[str]:
    """Finished file names of one kind."""
    return sorted(path.name for path in folder.iterdir() if path.suffix == suffix)


def test_a_full_file_is_closed_and_becomes_parquet(folder: Path) -> None:
    """Past the size a new file begins; closed ones are Parquet, the open one is JSON lines."""
    log = TraceLog(folder, masked, Traces(megabytes=0.001))
    for number in range(3):
        log.observe(finished(id=f"req-{number}"))
        assert log.flush()
    # Closing a file happens after the flush is over; the next flush comes after it.
    assert log.flush()
    assert len(names(folder, ".parquet")) == 3
    log.observe(finished(id="req-3", steps={}, input="", output=""))
    assert log.flush()
    log.close()
    assert names(folder, ".jsonl") == []
    assert Counter(row["id"] for row in read_traces(folder)) == Counter(f"req-{n}" for n in range(4))


def test_an_old_file_is_closed_without_further_requests(folder: Path) -> None:
    """A file that nobody writes to any more is closed when its hours are over."""
    log = TraceLog(folder, masked, Traces(hours=0.2 / 3600))
    log.observe(finished())
    deadline = time.monotonic() + 20
    while not (folder.exists() and names(folder, ".parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(names(folder, ".parquet")) == 1
    log.close()


def test_without_pyarrow_the_lines_stay(folder: Path, lines_only: None) -> None:
    """An installation without pyarrow keeps and reads JSON lines."""
    rows = kept(folder, finished(), finished())
    assert len(rows) == 2
    assert names(folder, ".parquet") == []


def test_parquet_without_pyarrow_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading Parquet without pyarrow names the extra."""
    kept(folder, finished())
    monkeypatch.setattr(columns, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"signoff\[serve\]"):
        list(read_traces(folder))


NUMBERS = st.none() | st.floats(0, 1e6, allow_nan=False) | st.integers(0, 2**40)
TURNS = st.builds(
    lambda **changes: finished(**changes),
    input=st.text(),
    output=st.text(),
    error=st.text(),
    app=st.text(max_size=5),
    queue_s=NUMBERS,
    first_s=NUMBERS,
    total_s=NUMBERS,
    steps=st.dictionaries(
        st.text(max_size=5),
        st.fixed_dictionaries(
            {"output": st.none() | st.text() | st.lists(st.integers() | st.text()), "latency_ms": NUMBERS},
            optional={"cached": st.booleans(), "tokens_in": st.integers(0, 2**31)},
        ),
        max_size=3,
    ),
)


# A thread of another test (the span exporter's pauses are random) may draw a number while examples are made.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(TURNS, min_size=1, max_size=8), notes=st.lists(st.dictionaries(st.text(), st.text(), max_size=3)))
def test_parquet_holds_what_the_lines_held(turns: list[Any], notes: list[Any], tmp_path: Path) -> None:
    """Whatever texts and figures a request has, its row is the same from Parquet as from JSON lines."""
    folder = tmp_path / f"{time.monotonic_ns()}"
    log = TraceLog(folder, lambda text: text)
    for turn in turns:
        log.observe(turn)
    for note in notes:
        log.note("feedback", note)
    assert log.flush()
    before = list(read_traces(folder))
    log.close()
    assert len(names(folder, ".parquet")) == 1
    assert list(read_traces(folder)) == before
    assert len(before) == len(turns) + len(notes) - log.lost


def test_lines_longer_than_a_slice_become_parquet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are converted a slice at a time, and a line that is longer than one is still whole."""
    monkeypatch.setattr(columns, "_SLICE_BYTES", 2000)
    texts = ["a" * 10, "b" * 9000, "c" * 30, "d" * 4000]
    rows = kept(folder, *(finished(input=text, steps={}) for text in texts))
    assert [row["input"] for row in rows] == texts


def test_a_note_is_a_row_of_its_own_kind(folder: Path) -> None:
    """Feedback keeps ids as they are and other texts anonymised, before and after it became Parquet."""
    log = TraceLog(folder, masked)
    log.note("feedback", {"response_id": "chatcmpl-4111111111111111", "thumb": -1, "text": "ORD-123456 is wrong"})
    log.observe(finished())
    assert log.flush()
    before = [row for row in read_traces(folder) if row["kind"] == "feedback"]
    log.close()
    after = [row for row in read_traces(folder) if row["kind"] == "feedback"]
    assert before == after
    assert before[0] | {"received": ""} == {
        "schema_version": 1,
        "kind": "feedback",
        "received": "",
        "response_id": "chatcmpl-4111111111111111",
        "thumb": -1,
        "text": "<HIDDEN> is wrong",
    }


def test_a_note_that_does_not_fit_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends feedback is told that it was not kept, because nobody else has it."""
    monkeypatch.setattr(trace_log, "MAX_WAITING", 1)
    free = threading.Event()
    log = TraceLog(folder, held_back(free))
    log.note("feedback", {"comment": "first"})
    with pytest.raises(SignoffError, match="cannot keep up"):
        log.note("feedback", {"comment": "second"})
    free.set()
    log.close()
    assert [row["comment"] for row in read_traces(folder)] == ["first"]


def test_a_note_without_an_anonymiser_keeps_no_words(folder: Path) -> None:
    """Figures and ids of feedback are kept where texts are not; its own time of arrival holds."""
    log = TraceLog(folder, None)
    log.note("feedback", {"response_id": "r", "rating": 4, "resolved": True, "comment": "hm", "received": 1.7e9})
    log.close()
    (row,) = read_traces(folder)
    assert row == {
        "schema_version": 1,
        "kind": "feedback",
        "received": "2023-11-14T22:13:20.000Z",
        "response_id": "r",
        "rating": 4,
        "resolved": True,
    }


def test_closing_writes_what_waits_and_takes_no_more(folder: Path) -> None:
    """Rows that were accepted are on the disk after closing; later ones count as dropped."""
    log = TraceLog(folder, masked)
    for number in range(500):
        log.observe(finished(id=f"req-{number}", steps={}))
    log.close()
    log.observe(finished())
    log.close()
    assert len(list(read_traces(folder))) == 500
    assert log.dropped == 1


def test_a_slow_log_drops_rows_and_delays_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While anonymising hangs, what does not fit into the queue is dropped and counted; the rest arrives later."""
    monkeypatch.setattr(trace_log, "MAX_WAITING", 50)
    free = threading.Event()
    log = TraceLog(folder, held_back(free))
    for _ in range(300):
        log.observe(finished(steps={}))
    assert log.dropped == 250
    free.set()
    log.close()
    assert len(list(read_traces(folder))) == 50


def test_a_few_huge_requests_fill_the_queue_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded by characters too: a thousand small requests are less than two huge ones."""
    monkeypatch.setattr(trace_log, "MAX_WAITING_CHARACTERS", 10_000)
    free = threading.Event()
    log = TraceLog(folder, held_back(free))
    for _ in range(3):
        log.observe(finished(input="x" * 4000, steps={"reply": {"output": "y" * 900}}))
    assert log.dropped == 1
    free.set()
    log.close()


def test_closing_does_not_wait_for_ever(folder: Path) -> None:
    """A log that cannot finish in time gives up its queue, counts it, and lets the server stop."""
    free = threading.Event()
    log = TraceLog(folder, held_back(free))
    for _ in range(200):
        log.observe(finished(steps={}))
    log.close(timeout_s=0.1)
    free.set()
    log._background._thread.join(20)
    rows = len(list(read_traces(folder)))
    assert rows + log.dropped == 200
    assert log.dropped > 0


@pytest.mark.parametrize("turn", [finished(tokens=None), finished(id=object()), finished(steps={"a": None})])
def test_one_odd_row_costs_no_other(turn: Any, folder: Path) -> None:
    """A request that makes no row is counted as lost; those beside it are kept, and observing raises nothing."""
    log = TraceLog(folder, masked)
    log.observe(finished(id="before", steps={}))
    log.observe(turn)
    log.observe(finished(id="after", steps={}))
    log.close()
    assert [row["id"] for row in read_traces(folder)] == ["before", "after"]
    assert log.lost + log.dropped == 1


WRITER = """
import sys
from pathlib import Path
from harness.serve.gateway.telemetry import TraceLog
from tests.serve.turns import finished
log = TraceLog(Path(sys.argv[1]), lambda text: text)
for number in range(int(sys.argv[2])):
    log.observe(finished(id=f"{sys.argv[3]}-{number}", input="x" * 3000, steps={}))
    if number % 20 == 19:
        log.flush()
print("written", flush=True)
sys.stdin.read()
log.close()
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[Callable[[int, str], subprocess.Popen[str]]]:
    """Starts a process that logs requests, says so, and then waits for its input to end."""
    started: list[subprocess.Popen[str]] = []

    def start(rows: int, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(folder), str(rows), name]
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_server_loses_no_whole_row(folder: Path, writer: Any) -> None:
    """After kill -9 in the middle of writing, every row but at most one cut line is read, and none is damaged."""
    process = writer(1_000_000, "a")
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in folder.glob("*.jsonl")) < 500_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    skipped: Counter[str] = Counter()
    rows = [row["id"] for row in read_traces(folder, skipped=skipped)]
    assert rows == [f"a-{number}" for number in range(len(rows))]
    assert len(rows) >= 100
    assert skipped["torn"] <= 1
    assert skipped["damaged"] == 0


def test_a_cut_line_is_skipped_and_counted_and_a_restart_goes_on(folder: Path, writer: Any) -> None:
    """A file that ends in half a row is finished by the next start without that half; new rows go to a new file."""
    process = writer(20, "a")
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = folder.glob("*.jsonl")
    os.truncate(left, left.stat().st_size - 7)
    skipped: Counter[str] = Counter()
    whole = [f"a-{number}" for number in range(19)]
    assert [row["id"] for row in read_traces(folder, skipped=skipped)] == whole
    assert skipped == {"torn": 1}
    log = TraceLog(folder, masked)
    log.observe(finished(id="b-0"))
    assert log.flush()
    assert left.with_suffix(".parquet").exists()
    assert not left.exists()
    log.close()
    skipped.clear()
    assert [row["id"] for row in read_traces(folder, skipped=skipped)] == [*whole, "b-0"]
    assert not skipped


def test_two_servers_share_a_folder(folder: Path, writer: Any) -> None:
    """A server that starts does not touch the file that another one is writing; both logs are read as one."""
    process = writer(40, "a")
    assert process.stdout.readline() == "written\n"
    (theirs,) = folder.glob("*.jsonl")
    log = TraceLog(folder, masked)
    log.observe(finished(id="b-0"))
    assert log.flush()
    assert theirs.exists()
    assert len(list(read_traces(folder))) == 41
    process.communicate("")
    log.close()
    assert len(list(read_traces(folder))) == 41
    assert len(names(folder, ".parquet")) == 2
    assert len({row["user"] for row in read_traces(folder)}) == 1


def test_a_kill_between_the_last_two_steps_of_a_conversion_doubles_nothing(folder: Path) -> None:
    """Where a file lies in both forms its rows are read once, and the next start clears up."""
    kept(folder, finished())
    (parquet,) = folder.glob("*.parquet")
    lines = parquet.with_suffix(".jsonl")
    lines.write_bytes(orjson.dumps(next(read_traces(folder))) + b"\n")
    draft = folder / f".{parquet.name}.tmp"
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))
    assert len(list(read_traces(folder))) == 1
    TraceLog(folder, masked).close()
    assert (parquet.exists(), lines.exists(), draft.exists()) == (True, False, False)
    assert len(list(read_traces(folder))) == 1


def test_a_file_that_cannot_be_converted_stays(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged line keeps its file as JSON lines: the good rows stay readable, the bad one is counted."""
    rows = [orjson.dumps(row) for row in kept(folder, finished(id="good"))]
    (parquet,) = folder.glob("*.parquet")
    parquet.unlink()
    lines = parquet.with_suffix(".jsonl")
    lines.write_bytes(b"\x00\x00{nonsense\n" + rows[0] + b"\n[1]\n")
    TraceLog(folder, masked).close()
    skipped: Counter[str] = Counter()
    assert [row["id"] for row in read_traces(folder, skipped=skipped)] == ["good"]
    assert skipped == {"damaged": 2}
    assert "stays as it is" in caplog.text
    assert names(folder, ".parquet") == []


def test_damaged_parquet_is_named(folder: Path) -> None:
    """Parquet that the disk spoilt is an error that says which file to move away."""
    kept(folder, finished())
    (parquet,) = folder.glob("*.parquet")
    parquet.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SignoffError, match=parquet.name):
        list(read_traces(folder))


def test_old_files_are_removed_and_others_are_not(folder: Path) -> None:
    """Files whose last row is older than the days allowed go away at a start; recent and foreign ones stay."""
    kept(folder, finished(id="old"))
    (old,) = folder.glob("*.parquet")
    past = (datetime.now(UTC) - timedelta(days=8)).timestamp()
    os.utime(old, (past, past))
    (folder / "notes.jsonl").write_text("mine", encoding="utf-8")
    os.utime(folder / "notes.jsonl", (past, past))
    assert [row["id"] for row in kept(folder, finished(id="new"), days=7)] == ["new"]
    assert not old.exists()
    assert (folder / "notes.jsonl").read_text(encoding="utf-8") == "mine"


def test_converting_late_does_not_keep_rows_longer(folder: Path, lines_only: None) -> None:
    """Parquet keeps the time of the last row, so that the days are not counted from a restart."""
    kept(folder, finished())
    (lines,) = folder.glob("*.jsonl")
    past = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    os.utime(lines, (past, past))
    assert columns.to_parquet(lines).stat().st_mtime == pytest.approx(past)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_are_chosen_by_when_they_came(form: str, folder: Path) -> None:
    """``since`` is within the range and ``until`` is not; time zones are understood."""
    start = datetime(2024, 2, 29, 8, 0, tzinfo=UTC)
    log = TraceLog(folder, masked)
    for number in range(6):
        log.observe(finished(id=str(number), received=(start + timedelta(seconds=number)).timestamp()))
    assert log.flush()
    if form == "parquet":
        log.close()
    since = (start + timedelta(seconds=2)).astimezone(tz=None)
    found = [row["id"] for row in read_traces(folder, since, start + timedelta(seconds=4))]
    log.close()
    assert found == ["2", "3"]


def test_a_time_without_a_zone_is_refused(folder: Path) -> None:
    """A naive time would silently mean the reader's own zone."""
    with pytest.raises(ValueError, match="no time zone"):
        list(read_traces(folder, datetime(2024, 1, 1)))


def test_an_empty_or_missing_folder_has_no_rows(folder: Path) -> None:
    """Nothing logged yet is no error, and a server without requests leaves no file but the salt."""
    assert list(read_traces(folder)) == []
    assert kept(folder) == []
    assert [path.name for path in folder.iterdir()] == ["salt"]


def test_a_folder_that_is_removed_comes_back(folder: Path) -> None:
    """Somebody who deletes the folder of a running server loses the old rows only."""
    log = TraceLog(folder, masked)
    log.observe(finished(id="gone"))
    assert log.flush()
    shutil.rmtree(folder)
    log.observe(finished(id="kept"))
    log.close()
    assert [row["id"] for row in read_traces(folder)] == ["kept"]


def test_a_refusing_disk_costs_rows_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that stops half-way with ENOSPC leaves no half row; lost rows are counted, told once, and it recovers."""
    log = TraceLog(folder, masked)
    log.observe(finished(id="first", steps={}))
    assert log.flush()
    real, full = os.write, True

    def write(handle: int, data: Any) -> int:
        if not full or b"schema_version" not in bytes(data[:20]):
            return real(handle, data)
        if len(data) > 100:
            real(handle, data[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    for _ in range(3):
        log.observe(finished(steps={}))
        assert log.flush()
    full = False
    log.observe(finished(id="last", steps={}))
    log.close()
    skipped: Counter[str] = Counter()
    assert [row["id"] for row in read_traces(folder, skipped=skipped)] == ["first", "last"]
    assert (log.lost, skipped.total()) == (3, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "rows of the trace log are lost, 1 so far: the disk is full"
    ]
    assert len(list(folder.glob("traces-*"))) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, b"size=128k") != 0:
        pytest.skip("this user may not mount a file system")
    yield place
    libc.umount2(str(place).encode(), 2)


def test_a_full_disk_is_survived(small_disk: Path) -> None:
    """On a disk that is really full rows are lost and counted; every row that was kept is whole."""
    log = TraceLog(small_disk / "traces", masked)
    for number in range(40):
        log.observe(finished(id=str(number), input="x" * 8000, steps={}))
        assert log.flush()
    assert log.lost > 20
    skipped: Counter[str] = Counter()
    rows = [row["id"] for row in read_traces(log.folder, skipped=skipped)]
    assert len(rows) == 40 - log.lost
    assert not skipped
    log.close()
    assert len(list(read_traces(log.folder))) == len(rows)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2.5, True, None, 9999], [1, 2.5, True, None, 9999]),
        (0.123456789012, 0.123456789012),
        (4111111111111111, "<HIDDEN>"),
        (4111111111111111.0, "<HIDDEN>"),
        ({"n": {"jane@example.com": 12345}}, {"n": {"<HIDDEN>": 12345}}),
    ],
)
def test_only_telling_values_are_replaced(value: Any, expected: Any) -> None:
    """Scores and small numbers stay numbers; a card number is one also where it is a number."""
    assert Texts(masked).row(()).value(value) == expected


@pytest.mark.parametrize("value", [10**400, "\ud800 lone", {1: {2: "x"}}, [[[]]] * 3, float("nan"), object()])
def test_odd_values_make_a_text_or_none(value: Any) -> None:
    """Numbers beyond 64 bits, lone surrogates and strange keys never raise."""
    shown = Texts(masked).row(()).as_text(value)
    assert shown is None or shown.encode()


def test_a_bottomless_value_makes_no_text() -> None:
    """Nesting that would exhaust the stack is left out and counted."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    texts = Texts(masked)
    assert texts.row((deep,)).as_text(deep) is None
    assert texts.failed == 1


def test_every_field_is_documented() -> None:
    """docs/monitoring.md has a line for each field of a row and of its steps, and for no other."""
    text = DOCS.read_text(encoding="utf-8")
    for heading, fields in (("### A row", FIELDS), ("### A step", STEP_FIELDS)):
        part = text.split(f"\n{heading}\n")[1].split("\n#")[0]
        assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(fields)
