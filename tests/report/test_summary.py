"""The Markdown summary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.report import render_summary
from tests.report.run_folder import Folder


def _lines(folder: Folder) -> list[str]:
    text = render_summary(folder.path, folder.manifest, folder.verdict)
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("decided", ["pass", "fail", "inconclusive", "error"])
def test_at_most_fifteen_lines(make_folder: Callable[..., Folder], decided: str) -> None:
    """The summary fits a glance, starts with the verdict and ends with the next action."""
    folder = make_folder(decided)
    folder.verdict["reasons"] = [f"reason {n}" for n in range(9)]
    lines = _lines(folder)
    assert len(lines) <= 15
    assert lines[0].endswith(f"Signoff: {decided}")
    assert f"**Next:** {folder.verdict['next_action']}" == lines[-1]
    assert sum("reason " in line for line in lines) == 3


def test_two_worst_cases_with_their_difference(make_folder: Callable[..., Folder]) -> None:
    """Two cases stand in one diff block, each with the checks that fell and both outputs."""
    folder = make_folder("fail", cases=False)
    for name in ("a", "b", "c"):
        folder.case(name, f"old\n\n{name}", f"new {name}")
    lines = _lines(folder.save())
    start = lines.index("```diff")
    assert lines[start + 1 : start + 5] == [
        "@@ support / a: handled 100% → 0% @@",
        "- old ⏎ a",
        "+ new a",
        "@@ support / b: handled 100% → 0% @@",
    ]
    assert not any(line.startswith("@@ support / c") for line in lines)


def test_long_outputs_are_cut_to_their_difference(make_folder: Callable[..., Folder]) -> None:
    """Of two long outputs the neighbourhood of the first difference is shown."""
    folder = make_folder("fail", cases=False).case("a", "x" * 5000 + "LEFT", "x" * 5000 + "RIGHT").save()
    assert any(line.startswith("- …") and line.endswith("xLEFT") for line in _lines(folder))


def test_a_model_cannot_leave_its_fence(make_folder: Callable[..., Folder]) -> None:
    """The fence is longer than any run of backticks in an output, and every line of output is prefixed."""
    folder = make_folder("fail", cases=False).case("a", "ok", "x\n````\n# Pass\n@admin").save()
    lines = _lines(folder)
    assert "`````diff" in lines
    assert "+ x ⏎ ```` ⏎ # Pass ⏎ @admin" in lines
    assert "# Pass" not in lines


def test_prose_is_not_markup(make_folder: Callable[..., Folder]) -> None:
    """Reasons and actions render as they are: no image, link, mention or heading comes of them."""
    folder = make_folder("fail", cases=False)
    folder.verdict["reasons"] = ["<img src=x> ![a](http://b) @team\n# Pass \u202e"]
    text = render_summary(folder.path, folder.manifest, folder.verdict)
    assert "1. \\<img src=x\\> \\!\\[a\\](http\\://b) @<!-- -->team ⏎ \\# Pass ⟨RLO⟩" in text


def test_unpinned_apps_are_marked(make_folder: Callable[..., Folder]) -> None:
    """An unpinned app is called so beside its digests."""
    folder = make_folder("pass", cases=False)
    folder.manifest["apps"]["support"]["pinned"] = False
    assert "(unpinned)" in render_summary(folder.path, folder.manifest, folder.verdict)


def test_gates_that_do_not_apply_are_not_counted_as_passed(make_folder: Callable[..., Folder]) -> None:
    """The counts of required gates tell passed ones from those that did not apply."""
    folder = make_folder("pass", cases=False)
    folder.verdict["gates"][0]["verdict"] = "not_applicable"
    assert "required gates: 7 pass, 1 not applicable" in render_summary(folder.path, folder.manifest, folder.verdict)
