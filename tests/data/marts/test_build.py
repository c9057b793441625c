"""Building a mart: what is done again, what comes out, and that nothing breaks a mart that stands."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.data.marts import AuditError, build_mart, open_mart
from harness.errors import UsageError
from tests.data.marts.small import FIRST, MART, SECOND, build, contents, copy, lines, note, notes, ran, write
from tests.store.conftest import small_disk  # noqa: F401 -- a fixture

ROOT = Path(__file__).parents[3]
STEPS = ["load raw_notes", "sql/01_tidied.sql", "sql/02_notes.sql", "clean", "deduplicate and split", "review labels"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_rows_come_out_split(tmp_path: Path, cache: Path) -> None:
    """Every row stands in one split, in the order of its key, with its columns and without those of the machinery."""
    write(tmp_path, notes(60))
    built, said = build(tmp_path, cache)
    assert ran(said) == STEPS
    rows = {name: built.rows(name) for name in built.counts}
    assert {name: len(found) for name, found in rows.items()} == built.counts
    assert sorted(row["id"] for found in rows.values() for row in found) == list(range(60))
    for found in rows.values():
        assert [row["id"] for row in found] == sorted(row["id"] for row in found)
        assert all(list(row) == ["id", "author", "text", "mood"] for row in found)
    authors = [{row["author"] for row in found} for found in rows.values()]
    assert not authors[0] & authors[1]


def test_nothing_is_done_twice(tmp_path: Path, cache: Path) -> None:
    """A second build does no step and leaves every file as it was; its steps say since when."""
    folder = write(tmp_path, notes(40))
    first, said = build(tmp_path, cache)
    before = {path: path.stat().st_mtime_ns for path in (folder / "build").iterdir()}
    second, again = build(tmp_path, cache)
    assert ran(again) == []
    assert [(step.name, step.finished) for step in again] == [(step.name, step.finished) for step in said]
    assert {path: path.stat().st_mtime_ns for path in (folder / "build").iterdir()} == before
    assert second.digest == first.digest


@pytest.mark.parametrize(
    ("file", "old", "new", "again"),
    [
        ("sql/02_notes.sql", "draft%", "sketch%", STEPS[2:]),
        ("sql/01_tidied.sql", "trim(body)", "upper(trim(body))", STEPS[1:]),
        ("mart.yaml", "train: 0.7, test: 0.3", "train: 0.6, test: 0.4", STEPS[4:]),
        ("mart.yaml", "Short notes", "Shorter notes", []),
        ("raw/notes.jsonl", '"id":3,', '"id":300,', STEPS),
    ],
)
def test_only_what_changed_runs_again(
    tmp_path: Path, cache: Path, file: str, old: str, new: str, again: list[str]
) -> None:
    """A change runs its own step and those after it, and the result is that of a build from nothing."""
    folder = write(tmp_path, notes(40))
    build(tmp_path, cache)
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    # Whoever would learn from the old rows is told, except of what only people read.
    with pytest.raises(UsageError, match="signoff data build notes"):
        open_mart(tmp_path, "notes")
    built, said = build(tmp_path, cache)
    assert ran(said) == again
    cold, _ = build(copy(tmp_path, tmp_path / "cold"), tmp_path / "other")
    assert contents(built.folder) == contents(cold.folder)


def test_a_new_source_loads_alone(tmp_path: Path, cache: Path) -> None:
    """A changed source is loaded again, the others are not."""
    more = MART.replace("key: id", "  extra:\n    from: path:raw/extra.csv\n    format: csv\n"
                        "    columns: {a: VARCHAR}\n    licence: CC0-1.0\nkey: id")  # fmt: skip
    folder = write(tmp_path, notes(40), more, raw__extra_csv="a\nx\n")
    build(tmp_path, cache)
    (folder / "raw/notes.jsonl").write_bytes((folder / "raw/notes.jsonl").read_bytes().replace(b"river", b"brook"))
    assert "load extra" not in ran(build(tmp_path, cache)[1])


def test_a_removed_step_is_forgotten(tmp_path: Path, cache: Path) -> None:
    """What a step made that is gone is no longer there to be read."""
    folder = write(tmp_path, notes(40), sql__03_more_sql="CREATE TABLE more AS SELECT 1 AS x;")
    build(tmp_path, cache)
    (folder / "sql/03_more.sql").unlink()
    (folder / "sql/02_notes.sql").write_text(SECOND.replace("FROM tidied", "FROM tidied, more"))
    with pytest.raises(UsageError, match="more"):
        build(tmp_path, cache)


def test_a_step_sees_nothing_of_later_ones(tmp_path: Path, cache: Path) -> None:
    """A table that a later step made in the last build is not there: a build from nothing would not have it."""
    folder = write(tmp_path, notes(40))
    build(tmp_path, cache)
    (folder / "sql/01_tidied.sql").write_text(FIRST + "CREATE TABLE early AS SELECT * FROM notes;")
    with pytest.raises(UsageError, match=r"01_tidied.sql.*notes"):
        build(tmp_path, cache)


PROGRAM = """\
import os, sys
from pathlib import Path
from harness.data.marts import build_mart
built = build_mart(Path(sys.argv[1]), "notes", Path(sys.argv[2]), lambda step: print(step.name, step.skipped, flush=True))
print(built.digest)
"""
DEADLY = """\
import os, signal
from pathlib import Path

def deadly(text: str, name: str) -> str:
    if Path(os.environ.get("KILL_AT", "/nowhere")).name == name and Path(os.environ["KILL_AT"]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return text
"""


def program(root: Path, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """A build in a process of its own."""
    import os

    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(cache)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("at", ["first", "second", "audit"])
def test_a_killed_build_goes_on(tmp_path: Path, cache: Path, at: str) -> None:
    """Killed with -9 inside a step, the next build does that step and not those before; the bytes are the same."""
    mart = MART + "functions: [deadly.py]\n"
    files = {
        "deadly_py": DEADLY,
        "sql__audits__none_sql": "SELECT id FROM final WHERE deadly(text, 'audit') IS NULL",
    }
    folder = write(tmp_path, notes(40), mart, **files)
    (folder / "sql/01_tidied.sql").write_text(FIRST.replace("trim(body)", "deadly(trim(body), 'first')"))
    (folder / "sql/02_notes.sql").write_text(SECOND.replace("text, mood", "deadly(text, 'second') AS text, mood"))
    marker = tmp_path / at
    marker.touch()
    process = program(tmp_path, cache, KILL_AT=str(marker))
    out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, err
    before = [line.rsplit(" ", 1)[0] for line in out.splitlines()]
    assert not (folder / "build").exists()
    with pytest.raises(UsageError):
        open_mart(tmp_path, "notes")
    marker.unlink()
    built, said = build(tmp_path, cache)
    assert [step.name for step in said if step.skipped] == before
    cold, _ = build(copy(tmp_path, tmp_path / "cold"), tmp_path / "other")
    assert contents(built.folder) == contents(cold.folder)


def test_two_at_once(tmp_path: Path, cache: Path) -> None:
    """Of two builds at once one does the steps and the other finds them done."""
    write(tmp_path, notes(400))
    outs = [process.communicate(timeout=120) for process in [program(tmp_path, cache) for _ in range(2)]]
    assert [err for _, err in outs] == ["", ""]
    digests = {out.splitlines()[-1] for out, _ in outs}
    assert len(digests) == 1
    skipped = sorted(sum(line.endswith("True") for line in out.splitlines()) for out, _ in outs)
    assert skipped == [0, len(STEPS)]


def test_the_same_bytes_on_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and four, each from nothing, give the same files."""
    write(tmp_path, notes(3000))
    made = []
    for threads in ("1", "4"):
        monkeypatch.setenv("SIGNOFF_THREADS", threads)
        built, _ = build(copy(tmp_path, tmp_path / threads), tmp_path / f"cache{threads}")
        made.append(contents(built.folder))
    assert made[0] == made[1]
    assert b'"counts"' in made[0]["manifest.json"]


def test_line_ends_of_sql_do_not_count(tmp_path: Path, cache: Path) -> None:
    """A checkout with other line ends is the same mart."""
    folder = write(tmp_path, notes(40))
    build(tmp_path, cache)
    (folder / "sql/02_notes.sql").write_bytes(SECOND.replace("\n", "\r\n").encode())
    assert ran(build(tmp_path, cache)[1]) == []


def test_a_failing_audit_names_its_rows(tmp_path: Path, cache: Path) -> None:
    """The rows are named, the exit code is 1, and the mart that stood is untouched."""
    folder = write(tmp_path, notes(40))
    before = contents(build(tmp_path, cache)[0].folder)
    (folder / "sql/audits").mkdir()
    (folder / "sql/audits/low.sql").write_text("SELECT id, split FROM final WHERE id >= 30 ORDER BY id")
    with pytest.raises(AuditError, match=r"low\.sql must return no row and returned 10:\n  {'id': 30") as caught:
        build(tmp_path, cache)
    assert (caught.value.exit_code, caught.value.count) == (1, 10)
    assert contents(folder / "build") == before
    (folder / "sql/audits/low.sql").write_text("SELECT id FROM final WHERE id >= 90")
    assert ran(build(tmp_path, cache)[1]) == ["audit low", "review labels"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("CREATE TABLE x AS SELEC 1", "03_more.sql: Parser Error"),
        ("CREATE TABLE x AS SELECT nobody FROM tidied", '03_more.sql: Binder Error: Referenced column "nobody"'),
        ("INSERT INTO tidied SELECT * FROM tidied", "statement 1 is 'INSERT INTO'"),
        ("UPDATE tidied SET text = ''", "statement 1 is 'UPDATE tidied'"),
        ("COPY tidied TO '/tmp/marts_leak.csv'", "statement 1 is 'COPY tidied'"),
        ("CREATE TEMP TABLE x AS SELECT 1 AS y", "statement 1 is 'CREATE TEMP'"),
        ("CREATE TABLE x AS SELECT 1 AS y; /* more */ CREATE PERSISTENT SECRET s (TYPE s3)", "is 'CREATE PERSISTENT'"),
        ("CREATE TABLE x AS SELECT now() AS x", "now gives another value each time"),
        ("CREATE TABLE x AS SELECT random() AS r", "random gives another value"),
        ("CREATE TABLE x AS SELECT CURRENT_DATE AS d", "CURRENT_DATE gives another value"),
        ("CREATE TABLE x AS SELECT * FROM read_csv('/etc/passwd')", "Permission Error"),
        ("-- nothing", "holds no statement"),
        ("CREATE OR REPLACE TABLE tidied AS SELECT 1 AS id", "replaces TABLE \"tidied\""),
    ],
)  # fmt: skip
def test_sql_that_is_refused(tmp_path: Path, cache: Path, sql: str, said: str) -> None:
    """A mistake in SQL, and SQL that would not do the same again, is named with its file; nothing is built."""
    folder = write(tmp_path, notes(40))
    before = contents(build(tmp_path, cache)[0].folder)
    (folder / "sql/03_more.sql").write_text(sql)
    with pytest.raises(UsageError) as caught:
        build(tmp_path, cache)
    assert said in str(caught.value)
    assert contents(folder / "build") == before


def test_words_in_texts_and_comments_are_no_functions(tmp_path: Path, cache: Path) -> None:
    """The name of a refused function in a comment or a text is allowed."""
    write(tmp_path, notes(40), sql__03_more_sql="-- not now()\nCREATE TABLE x AS SELECT 'random()' AS said;")
    build(tmp_path, cache)


def test_functions_of_python(tmp_path: Path, cache: Path) -> None:
    """SQL calls a function of the mart's folder; changing it makes another mart, and what it raises is named."""
    code = "def shout(text: str) -> str:\n    return text.upper()\n"
    folder = write(tmp_path, notes(40), MART + "functions: [voice.py]\n", voice_py=code)
    (folder / "sql/01_tidied.sql").write_text(FIRST.replace("trim(body)", "shout(body)"))
    built, _ = build(tmp_path, cache)
    assert built.rows("train")[0]["text"].isupper()
    assert not list(folder.rglob("__pycache__"))
    (folder / "voice.py").write_text(code.replace("upper", "title"))
    assert build(tmp_path, cache)[0].rows("train")[0]["text"].istitle()
    (folder / "voice.py").write_text("def shout(text: str) -> str:\n    raise ValueError('hoarse')\n")
    with pytest.raises(UsageError, match=r"01_tidied\.sql: .*ValueError: hoarse"):
        build(tmp_path, cache)


@pytest.mark.parametrize(
    ("code", "said"),
    [("def f(", "cannot be loaded: SyntaxError"), ("1 / 0", "ZeroDivisionError"),
     ("def shout(text):\n    return text", "shout cannot be a function of SQL")],
)  # fmt: skip
def test_functions_that_cannot_be_used(tmp_path: Path, cache: Path, code: str, said: str) -> None:
    """A file that cannot be loaded and a function without annotations are named."""
    write(tmp_path, notes(40), MART + "functions: [voice.py]\n", voice_py=code)
    with pytest.raises(UsageError, match=said):
        build(tmp_path, cache)


def test_what_is_left_out_is_listed(tmp_path: Path, cache: Path) -> None:
    """Rows left out by SQL, copies, and rows that cannot be used stand in their lists with the reason."""
    rows = [
        *notes(40),
        note(40, body="draft of a thing that will not be"),
        note(41, body=note(7)["body"].upper() + " !"),
        note(42, body=note(9)["body"] + " indeed"),
        note(43, mood="angry"),
        note(44, body="   "),
        note(45, stamp="31.11.2026"),
        note(46),
    ]
    del rows[-1]["author"]
    write(tmp_path, rows, MART + "deduplicate: {near: 0.6, words: 2}\n")
    built, _ = build(tmp_path, cache)
    dropped = {row["id"]: row for row in lines(built, "dropped.jsonl")}
    assert {number: row["reason"] for number, row in dropped.items()} == {
        40: "draft", 41: "duplicate", 42: "near duplicate",
    }  # fmt: skip
    assert (dropped[41]["copy_of"], dropped[42]["copy_of"]) == ({"id": "7"}, {"id": "9"})
    assert dropped[42]["similarity"] == 0.875
    aside = lines(built, "set_aside.jsonl")
    assert [(row["source"], row["line"], row["reason"]) for row in aside] == [
        ("raw_notes", 46, "stamp is no TIMESTAMP"),
        ("raw_notes", 47, "author is absent"),
        ("notes", None, "mood is outside its values"),
        ("notes", None, "text is empty"),
    ]
    assert '"stamp":"31.11.2026"' in aside[0]["raw"] and '"mood":"angry"' in aside[2]["raw"]
    assert built.manifest["drops"] == {"draft": 1, "duplicate": 1, "near duplicate": 1}
    assert sum(built.counts.values()) == 40
    assert "| draft | 1 |" in (built.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SELECT id, author", "SELECT 1 AS id, author", "40 rows have id=1; the key must tell rows apart"),
        ("SELECT id, author", "SELECT NULL::INTEGER AS id, author", "40 rows have no whole key"),
        ("id, author, text", "id, author, text AS words", "no column 'text'; it has id, author, words"),
        ("TABLE notes", "TABLE note", "no step makes a table 'notes'"),
        ("text, mood", "length(text) AS text, mood", "column 'text' is BIGINT; it must be VARCHAR"),
        ("text, mood", "text, mood, 1 AS split", "has a column 'split'"),
        ("LIKE 'draft%'", "IS NOT NULL", "split 'train' is empty: no row is left of the sources (left out: 40 draft)"),
        (
            "text LIKE 'draft%'",
            "author <> 'author-3'",
            "split 'train' is empty: with a share of 0.7, none of the 1 groups",
        ),
    ],
)
def test_tables_that_are_no_mart(tmp_path: Path, cache: Path, old: str, new: str, said: str) -> None:
    """What the last step's table lacks is said, and an empty split says which and why."""
    folder = write(tmp_path, notes(40))
    (folder / "sql/02_notes.sql").write_text(SECOND.replace(old, new))
    with pytest.raises(UsageError) as caught:
        build(tmp_path, cache)
    assert said in str(caught.value)
    assert not (folder / "build").exists()


def test_a_full_disk(tmp_path: Path, small_disk: Path, cache: Path) -> None:  # noqa: F811
    """On a full disk the build says so and the mart that stood is untouched."""
    folder = write(small_disk, notes(40))
    before = contents(build(small_disk, cache)[0].folder)
    (folder / "raw/notes.jsonl").write_bytes((folder / "raw/notes.jsonl").read_bytes().replace(b"river", b"brook"))
    filler = small_disk / "filler"
    try:
        with filler.open("wb") as out:
            while out.write(b"x" * 4096) and not out.flush():
                pass
    except OSError:
        pass
    with pytest.raises(UsageError, match="no space left"):
        build(small_disk, cache)
    assert contents(folder / "build") == before
    filler.unlink()
    assert build(small_disk, cache)[0].digest != ""


def test_a_cache_without_room(tmp_path: Path, small_disk: Path) -> None:  # noqa: F811
    """A cache whose disk is full is said to be so, and how to mend it; with room the build goes on."""
    folder = write(tmp_path, notes(4000))
    with pytest.raises(UsageError, match=r"no space left while writing .*SIGNOFF_CACHE|no space left"):
        build(tmp_path, small_disk / "cache")
    assert not (folder / "build").exists() and not list(folder.glob(".build*"))
    assert sum(build(tmp_path, tmp_path / "cache")[0].counts.values()) == 4000


def test_a_new_row_moves_no_other(tmp_path: Path, cache: Path) -> None:
    """Rows that come later, of old and of new groups, leave every other row in its split."""
    write(tmp_path, notes(60))
    before = {name: {row["id"] for row in build(tmp_path, cache)[0].rows(name)} for name in ("train", "test")}
    write(tmp_path, [*notes(60), *(note(number, author=f"new-{number % 7}") for number in range(60, 90)), note(95)])
    built, _ = build(tmp_path, cache)
    for name, numbers in before.items():
        assert numbers <= {row["id"] for row in built.rows(name)}


@pytest.mark.parametrize("file", ["train.parquet", "manifest.json", "README.md"])
def test_a_damaged_build_is_noticed(tmp_path: Path, cache: Path, file: str) -> None:
    """A file of the build that was changed or lost is no mart; building makes the same again from the ledger."""
    folder = write(tmp_path, notes(40))
    built, _ = build(tmp_path, cache)
    before = contents(built.folder)
    (folder / "build" / file).write_bytes(b"{}")
    with pytest.raises(UsageError, match="not built"):
        open_mart(tmp_path, "notes")
    again, said = build(tmp_path, cache)
    assert ran(said) == [] and contents(again.folder) == before
    (folder / "build" / file).unlink()
    with pytest.raises(UsageError, match="not built"):
        open_mart(tmp_path, "notes")


def test_killed_between_the_two_names(tmp_path: Path, cache: Path) -> None:
    """Killed after the old folder was moved away and before the new one came: the next build brings it back."""
    folder = write(tmp_path, notes(40))
    before = contents(build(tmp_path, cache)[0].folder)
    (folder / "build").rename(folder / ".build.old")
    (folder / ".build").mkdir()
    _, said = build(tmp_path, cache)
    assert ran(said) == [] and contents(folder / "build") == before
    assert sorted(path.name for path in folder.iterdir()) == ["build", "mart.yaml", "raw", "sql"]


def test_a_damaged_ledger_starts_anew(tmp_path: Path, cache: Path) -> None:
    """A database that cannot be read costs work and nothing else."""
    folder = write(tmp_path, notes(40))
    before = contents(build(tmp_path, cache)[0].folder)
    (database,) = cache.glob("marts/*/mart.duckdb")
    database.write_bytes(b"no database" * 1000)
    (folder / "build/README.md").unlink()
    built, said = build(tmp_path, cache)
    assert ran(said) == STEPS and contents(built.folder) == before


def test_one_process_of_threads(tmp_path: Path, cache: Path) -> None:
    """Builds from two threads of one process do not disturb each other."""
    write(tmp_path, notes(40))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(build(tmp_path, cache)[0].digest)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1


def test_there_is_no_such_mart(tmp_path: Path, cache: Path) -> None:
    """A wrong name lists those that there are."""
    write(tmp_path, notes(4))
    with pytest.raises(UsageError, match=r"no mart 'note'.*there are: notes"):
        build_mart(tmp_path, "note", cache)


def test_a_missing_source(tmp_path: Path, cache: Path) -> None:
    """A source that is gone is named, and the build that stood remains."""
    folder = write(tmp_path, notes(40))
    build(tmp_path, cache)
    (folder / "raw/notes.jsonl").unlink()
    with pytest.raises(UsageError, match=r"there is no file .*notes\.jsonl"):
        build(tmp_path, cache)
    assert (folder / "build/manifest.json").is_file()
    with pytest.raises(UsageError, match="signoff data build notes"):
        open_mart(tmp_path, "notes")
