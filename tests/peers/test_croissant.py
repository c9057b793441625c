"""The dataset card of a mart, read by the format's own library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.data.marts.small import build, notes, write
from tests.peers.programs import environment, python_with

pytestmark = [pytest.mark.peer, pytest.mark.network]
MLCROISSANT = "1.1.1"
READ = """\
import sys, mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = dataset.metadata.issues
assert not issues.errors, issues.report()
# Both are recommended, and neither can be known from a mart.
known = ("croissant/citeAs", "schema.org/datePublished")
assert all(any(name in warning for name in known) for warning in issues.warnings), issues.report()
print(str(dataset.metadata.conforms_to))
for split in sys.argv[2:]:
    rows = list(dataset.records(record_set=split))
    print(split, len(rows), sorted(rows[0]))
"""


def test_mlcroissant_reads_it(tmp_path: Path) -> None:
    """mlcroissant finds nothing wrong with the card, checks the files' sha256 and reads every row of every split."""
    write(tmp_path, notes(60))
    built, _ = build(tmp_path, tmp_path / "cache")
    python = python_with("croissant", [f"mlcroissant[parquet]=={MLCROISSANT}"]) / "bin/python"
    done = subprocess.run(
        [str(python), "-c", READ, str(built.folder / "croissant.json"), *built.counts],
        capture_output=True, text=True, check=False, env=environment(tmp_path / "home"), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "croissant/1.1" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [[name, str(count)] for name, count in built.counts.items()]
    assert "text" in lines[1]
