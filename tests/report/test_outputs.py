"""Outputs stay on disk and are read one by one."""

from __future__ import annotations

import json
from pathlib import Path

from harness.report.lost import EXAMPLES, Losses
from harness.report.outputs import Outputs


def line(case: str, **more: object) -> str:
    return json.dumps({"app": "desk", "variant": "candidate", "case": case, "repeat": 0, **more}) + "\n"


def test_each_row_is_found_at_its_place(tmp_path: Path) -> None:
    """Rows of different lengths, in any alphabet, are read back by their key; an unknown key gives None."""
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(line(f"c{n}", output="ü" * n) for n in range(20)), encoding="utf-8")
    outputs = Outputs(path, [], lambda *_: None)
    for n in (19, 0, 7):
        found = outputs.get(("desk", "candidate", f"c{n}", 0))
        assert found is not None
        assert found["output"] == "ü" * n
    assert outputs.get(("desk", "baseline", "c0", 0)) is None


def test_rows_around_a_broken_line_are_kept(tmp_path: Path) -> None:
    """A line that is no JSON is named with its number, half a character is no such line."""
    path, problems = tmp_path / "outputs.jsonl", []
    path.write_text(line("a") + "{torn\n" + line("b", output="\ud800"), encoding="utf-8")
    outputs = Outputs(path, problems, lambda *_: None)
    assert len(problems) == 1
    assert ":2:" in problems[0]
    found = outputs.get(("desk", "candidate", "b", 0))
    assert found is not None
    assert found["output"] == "\ud800"


def test_losses_count_every_row_and_keep_the_first_cases_by_name() -> None:
    """A reason that a thousand cases share costs no more memory than one that four share."""
    losses = Losses()
    for n in reversed(range(1000)):
        losses.output("desk", "candidate", f"case-{n:04}", {"status": "error", "reason": "no answer"})
    losses.output("desk", "candidate", "fine", {"status": "ok"})
    (group,) = losses.groups.values()
    assert group.count == 1000
    assert group.examples == [f"case-{n:04}" for n in range(EXAMPLES)]
