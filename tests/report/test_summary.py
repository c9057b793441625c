"""The Markdown summary."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.errors import SignoffError
from harness.report import render_summary
from harness.report.comment import brief, checked, markdown
from harness.report.folder import read_run
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


def _staged(folder: Folder, name: str = "load") -> None:
    gate = folder.verdict["gates"][0]
    gate |= {"stage": name, "verdict": "fail", "required": True}
    folder.manifest["stages"] = [
        {"name": "regression", "status": "ok", "reason": "", "seconds": 1, "rows": 1, "calls": 1, "found": ["r"]},
        {"name": name, "status": "ok", "reason": "", "seconds": 1, "rows": 1, "calls": 1, "found": ["slow", "b", "c"]},
    ]


MOVE = {"app": "support", "kind": "gate", "what": "gate x: threshold 0.8 -> 0.7", "effect": "looser", "approval": True}


def test_a_stage_that_stands_against_the_run_has_its_line(make_folder: Callable[..., Folder]) -> None:
    """What load, safety or judges found is said where a gate of theirs fails and no reason names it, else not."""
    folder = make_folder("fail", cases=False)
    _staged(folder)
    assert "**Stages:** load: slow; b" in _lines(folder)
    folder.verdict["gates"][0]["required"] = False
    assert "**Stages:** load: slow; b" in _lines(folder)
    gate = folder.verdict["gates"][0]
    folder.verdict["reasons"] = [f"gate {gate['app']}/{gate['id']} failed: too slow"]
    assert not any(line.startswith("**Stages") for line in _lines(folder))
    folder.verdict["reasons"] = []
    folder.verdict["gates"][0]["verdict"] = "pass"
    assert not any(line.startswith("**Stages") for line in _lines(folder))


def test_drifted_traffic_has_its_line(make_folder: Callable[..., Folder]) -> None:
    """What the last look at the running app found is said although no gate hangs on it."""
    folder = make_folder("pass", cases=False)
    watched = {"name": "monitor", "status": "ok", "reason": "", "seconds": 0, "rows": 9, "calls": 0}
    folder.manifest["stages"] = [{**watched, "found": ["support: traffic drifted: language"]}]
    assert "**Stages:** monitor: support: traffic drifted: language" in _lines(folder)


def test_a_moved_yardstick_has_its_line(make_folder: Callable[..., Folder]) -> None:
    """How many moves make it looser, and what waits for an approval."""
    folder = make_folder("inconclusive", cases=False)
    folder.verdict["yardstick_moved"] = [MOVE, MOVE | {"effect": "harder", "approval": False}]
    folder.verdict["needs_approval"] = [f"support: {MOVE['what']}"]
    assert (
        "**Yardstick moved:** 1 looser, 1 harder; needs an approval: support: gate x: threshold 0.8 -\\> 0.7"
        in _lines(folder)
    )


def test_everything_at_once_is_not_more_than_fifteen_lines(make_folder: Callable[..., Folder]) -> None:
    """With three reasons, two stages and a moved yardstick the second case has to go, and nothing else."""
    folder = make_folder("fail", cases=False)
    _staged(folder)
    second = dict(folder.verdict["gates"][1]) | {"stage": "safety", "verdict": "fail", "required": True}
    folder.verdict["gates"][1] = second
    folder.manifest["stages"].append(dict(folder.manifest["stages"][1]) | {"name": "safety"})
    folder.verdict["yardstick_moved"], folder.verdict["needs_approval"] = [MOVE], ["support: x"]
    folder.verdict["reasons"] = ["one", "two", "three", "four"]
    for name in ("a", "b"):
        folder.case(name, "old", f"new {name}")
    lines = _lines(folder.save())
    assert len(lines) == 14
    assert sum(line.startswith("@@") for line in lines) == 1
    assert lines[-1].startswith("**Next:**")


def test_the_comment_is_made_of_checked_data(make_folder: Callable[..., Folder]) -> None:
    """What another job wrote is rendered only in the shape that this one writes."""
    told = brief(read_run(make_folder("fail").save().path))
    assert checked(json.loads(json.dumps(told))) == told
    assert markdown(told, "https://example.com/1").splitlines()[-1].endswith(" · [report](https://example.com/1)")


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "great"},
        {"verdict": ["pass"]},
        {"reasons": ["a", "b", "c", "d"]},
        {"reasons": "abc"},
        {"facts": "x" * 401},
        {"next_action": None},
        {"schema": 2},
        {"approved": "yes"},
        {"cases": [{"title": "x", "before": "a", "after": "b", "html": "<b>"}]},
        {"cases": [{"title": "x" * 161, "before": "a", "after": "b"}]},
        {"cases": [{"title": "x", "before": 3, "after": "b"}]},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_strangers_data_of_another_shape_is_refused(
    make_folder: Callable[..., Folder], change: dict[str, object]
) -> None:
    """Too long, too many, another kind, another key: none of it reaches a comment."""
    told = brief(read_run(make_folder("fail").save().path))
    with pytest.raises(SignoffError, match=r"comment\.json"):
        checked({**told, **change})


def test_a_strangers_texts_stay_texts(make_folder: Callable[..., Folder]) -> None:
    """Line ends, fences, markers and mentions in checked data come out as text, on fifteen lines."""
    told = brief(read_run(make_folder("fail", cases=False).save().path))
    evil = "x\n```\n# Pass\n<!-- signoff --> @team [a](http://b)"
    case = {"title": evil, "before": evil, "after": evil + "!"}
    shown = markdown(checked(told | {"reasons": [evil], "cases": [case, case], "yardstick": evil}))
    assert len([line for line in shown.splitlines() if line.strip()]) <= 15
    assert "\n# Pass" not in shown
    outside = shown.split("````")[0]
    assert "@team" not in outside
    assert "<!-- signoff -->" not in outside
