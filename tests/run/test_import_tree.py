"""A tree is written whole, into a folder that is new or empty, whoever else writes there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import SignoffError, UsageError
from harness.run.importing import tree
from harness.run.importing.tree import slug, to_yaml, unused, write_tree
from harness.spec.yaml_file import parse_yaml

FILES = {"a/b/c.yaml": "x: 1\n", "d.txt": "text", "e.bin": b"\xff\x00"}


def content(out: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["new", "deep/er/new", "empty"])
def test_new_and_empty_folders(tmp_path: Path, place: str) -> None:
    """The files are there, and nothing lies beside them."""
    (tmp_path / "empty").mkdir()
    write_tree(tmp_path / place, FILES)
    assert content(tmp_path / place) == {"a/b/c.yaml": b"x: 1\n", "d.txt": b"text", "e.bin": b"\xff\x00"}
    assert not list(tmp_path.rglob(".*"))


def test_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``.`` is filled and not replaced: whoever stands there still does."""
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_tree(Path(), FILES)
    assert Path("d.txt").read_text(encoding="utf-8") == "text" and Path.cwd().stat().st_ino == before


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two writers wins whole; the other is told, and leaves nothing."""
    gate, made = threading.Barrier(2), tree._move

    def together(beside: Path, out: Path) -> None:
        gate.wait(10)
        made(beside, out)

    monkeypatch.setattr(tree, "_move", together)
    told: list[Exception | None] = []

    def write(text: str) -> None:
        try:
            write_tree(tmp_path / "out", {f"{n}.txt": text for n in range(20)})
            told.append(None)
        except SignoffError as error:
            told.append(error)

    writers = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20)
    assert sorted(map(type, told), key=str) == [type(None), UsageError]
    assert len(set(content(tmp_path / "out").values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way leaves nothing behind."""
    real, left = Path.write_bytes, [2]

    def failing(self: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(SignoffError, match="No space left"):
        write_tree(tmp_path / "out", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_none(tmp_path: Path) -> None:
    """A folder below a file is a mistake of the command line."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be written"):
        write_tree(tmp_path / "file" / "out", FILES)


def test_yaml_comes_back(tmp_path: Path) -> None:
    """Whatever is written is read back the same by our own strict reader, texts that look like numbers included."""
    shared = ["no", "yes", "on", "2026-01-01", "1", "1.5", "null", "~", "a: b", "- x", "#", "{{ x }}", "", " ",
              "a\nb\n", "a\n\n b", "'", '"', "é", "&a", "*a", "!x", "%", "1e3", "0x1f", "1_000"]  # fmt: skip
    data = {
        "texts": shared,
        "again": shared,
        "more": {"n": 1, "f": 0.5, "t": True, "none": None, "key with: colon": "x"},
    }
    document, problems = parse_yaml(to_yaml(data), "x.yaml")
    assert document and not problems
    assert document.data == data


def test_names() -> None:
    """Names are safe for files, and never the same twice."""
    assert slug("Ünser  Shop-Bot!", "x") == "nser-shop-bot"
    assert slug("../../etc", "x") == "etc" and slug("***", "x") == "x"
    assert [unused("a", ["a", "a-2"]), unused("b", ["a"])] == ["a-3", "b"]
