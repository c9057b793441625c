"""Run folders: whole or refused."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from harness.errors import UsageError
from harness.store import RunFolder, open_run
from tests.store.helpers import finish, killed_itself, sha256, start


def made(reports: Path, run_id: str | None = None) -> RunFolder:
    folder = RunFolder.create(reports, run_id)
    with folder.jsonl("measurements/regression.jsonl") as lines:
        lines.write(b"{}\n")
    (folder.artifacts("regression") / "log.txt").write_text("log")
    folder.finish({"run_id": folder.run_id, "profile": "pr"})
    return folder


def test_a_finished_run_is_found_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is opened by id, by 'latest' and by path, with the manifest it was finished with."""
    folder = made(tmp_path / "reports")
    monkeypatch.chdir(tmp_path)
    for name in (folder.run_id, "latest", str(folder.path), folder.path, f"reports/{folder.run_id}", Path("latest")):
        found = open_run(name, tmp_path / "reports")
        assert found.path == folder.path and found.manifest["profile"] == "pr" and found.manifest["complete"] is True


def test_the_places_of_a_stage(tmp_path: Path) -> None:
    """Rows and artifacts lie where the contract says, and their folders exist."""
    folder = RunFolder.create(tmp_path)
    assert (
        folder.measurements("load") == folder.path / "measurements/load.jsonl"
        and folder.measurements("load").parent.is_dir()
    )
    assert folder.artifacts("load") == folder.path / "artifacts/load" and folder.artifacts("load").is_dir()


def test_the_manifest_holds_every_digest(tmp_path: Path) -> None:
    """run.json names the sha256 of every file but itself, leaves out what a kill never named, and shows change."""
    folder = RunFolder.create(tmp_path)
    (folder.path / "sub").mkdir()
    (folder.path / "sub/a").write_bytes(b"a")
    (folder.path / "b").write_bytes(b"b")
    (folder.path / "sub/run.json").write_bytes(b"{}")
    (folder.path / ".b.0123abcd.tmp").write_bytes(b"half")
    folder.finish({})
    folder.finish({})
    run = open_run("latest", tmp_path)
    assert run.manifest["files"] == {"b": sha256(b"b"), "sub/a": sha256(b"a"), "sub/run.json": sha256(b"{}")}
    assert run.altered() == ()
    (folder.path / "b").write_bytes(b"c")
    (folder.path / "sub/a").unlink()
    (folder.path / "new").touch()
    assert run.altered() == ("b", "sub/a")


def test_names_sort_by_time_and_never_collide(tmp_path: Path) -> None:
    """Run folders made one after another have distinct names, in order of time to the millisecond."""
    names = [RunFolder.create(tmp_path).run_id for _ in range(30)]
    assert len(set(names)) == 30
    stamps = [name.split("-")[0] for name in names]
    assert stamps == sorted(stamps) and all(len(stamp) == len("20260101T000000000Z") for stamp in stamps)


@pytest.mark.parametrize("run_id", ["", "..", "a/b", "latest", ".hidden", "-x", "a b", "a\n"])
def test_odd_run_ids_are_refused(tmp_path: Path, run_id: str) -> None:
    """An id that could lead elsewhere or hide is a UsageError."""
    with pytest.raises(UsageError, match="run id"):
        RunFolder.create(tmp_path / "reports", run_id)
    assert not (tmp_path / "reports").exists()


def test_a_taken_run_id_is_refused(tmp_path: Path) -> None:
    """A run never writes into the folder of another."""
    made(tmp_path, "mine")
    with pytest.raises(UsageError, match="exists already"):
        RunFolder.create(tmp_path, "mine")


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    """A folder without manifest, an empty reports folder and an unknown name are UsageErrors that say what to do."""
    folder = RunFolder.create(tmp_path)
    with pytest.raises(UsageError, match=r"has no run\.json: it was cut off; run signoff gate again"):
        open_run(folder.run_id, tmp_path)
    for name in ("latest", "nothing", ""):
        with pytest.raises(UsageError, match="no run"):
            open_run(name, tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"complete": tr', b"[]", b"{}", b'{"complete": false}', b"\xff\xfe"])
def test_a_manifest_that_is_not_whole_is_refused(tmp_path: Path, content: bytes) -> None:
    """A run.json that is cut, of another shape or does not say complete is a UsageError that names it."""
    folder = made(tmp_path)
    (folder.path / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json"):
        open_run("latest", tmp_path)


def test_a_run_killed_before_its_manifest_is_refused(tmp_path: Path) -> None:
    """Kill -9 at the moment the manifest would get its name leaves an unfinished run, and latest on the run before."""
    before = made(tmp_path)
    program = """
        import pathlib, signal
        from harness.store import RunFolder
        folder = RunFolder.create(pathlib.Path(sys.argv[1]), "killed")
        pathlib.Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
        folder.finish({})
    """
    killed_itself(start(program, tmp_path))
    with pytest.raises(UsageError, match="cut off"):
        open_run("killed", tmp_path)
    assert open_run("latest", tmp_path).path == before.path


def test_latest_moves_with_each_run(tmp_path: Path) -> None:
    """latest is a relative link to the run that finished last, so that a moved reports folder still works."""
    made(tmp_path / "reports")
    second = made(tmp_path / "reports")
    assert (tmp_path / "reports/latest").readlink() == Path(second.run_id)
    (tmp_path / "reports").rename(tmp_path / "moved")
    assert open_run("latest", tmp_path / "moved").run_id == second.run_id


def test_latest_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where symbolic links are impossible, latest is a text file that open_run reads, and a later link replaces it."""

    def refuse(self: Path, target: object) -> None:
        raise OSError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", refuse)
        made(tmp_path)
        second = made(tmp_path)
    assert (tmp_path / "latest").read_text() == f"{second.run_id}\n" and not (tmp_path / "latest").is_symlink()
    assert open_run("latest", tmp_path).path == second.path
    third = made(tmp_path)
    assert open_run("latest", tmp_path).path == third.path


def test_a_dangling_latest_is_named(tmp_path: Path) -> None:
    """latest that points to a deleted run is a UsageError, as link and as text."""
    (tmp_path / "latest").symlink_to("gone")
    with pytest.raises(UsageError, match="no run 'latest'"):
        open_run("latest", tmp_path)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").write_text("gone\n")
    with pytest.raises(UsageError, match="no run 'latest'"):
        open_run("latest", tmp_path)


def test_runs_that_finish_at_once_leave_one_latest(tmp_path: Path) -> None:
    """While processes finish runs at the same time, latest is a whole run at every moment."""
    program = """
        from pathlib import Path
        from harness.store import RunFolder
        for _ in range(20):
            folder = RunFolder.create(Path(sys.argv[1]))
            folder.finish({})
            print(folder.run_id)
    """
    made(tmp_path, "first")
    processes = [start(program, tmp_path) for _ in range(3)]
    while any(process.poll() is None for process in processes):
        open_run("latest", tmp_path)
    ids = {name for process in processes for name in finish(process).split()} | {"first"}
    assert len(ids) == 61 and open_run("latest", tmp_path).run_id in ids
    assert (tmp_path / "latest").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == ids | {"latest"}


def test_json_files_of_a_run(tmp_path: Path) -> None:
    """A JSON file is read as it was written; an absent or damaged one is a UsageError that names it."""
    folder = RunFolder.create(tmp_path)
    folder.write_json("verdict.json", {"a": [1, None], "path": Path("x")})
    assert folder.read_json("verdict.json") == {"a": [1, None], "path": "x"}
    assert orjson.loads((folder.path / "verdict.json").read_bytes())["a"] == [1, None]
    with pytest.raises(UsageError, match=rf"run {folder.run_id} has no other\.json"):
        folder.read_json("other.json")
    (folder.path / "verdict.json").write_bytes(b'{"a": [1')
    with pytest.raises(UsageError, match=r"verdict\.json is damaged"):
        folder.read_json("verdict.json")


def test_a_full_disk_stops_a_run_before_it_is_whole(small_disk: Path) -> None:
    """A manifest that does not fit is a UsageError, and the run stays unfinished."""
    folder = RunFolder.create(small_disk)
    (folder.path / "filler").write_bytes(bytes((1 << 20) - 16_384))
    with pytest.raises(UsageError, match="no space left"):
        folder.finish({"pad": "p" * 100_000})
    with pytest.raises(UsageError, match="cut off"):
        open_run(folder.run_id, small_disk)
