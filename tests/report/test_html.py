"""The HTML report: one file, safe, complete, the same every time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import SignoffError
from harness.report import page as page_module
from harness.report import render_html, tables, write_reports
from tests.report.parsed_page import parsed
from tests.report.run_folder import Folder


@pytest.mark.parametrize("decided", ["pass", "fail", "inconclusive", "error"])
def test_verdict_and_next_action_come_first(make_folder: Callable[..., Folder], decided: str) -> None:
    """The verdict's word and the next action stand before any reason, gate or case."""
    folder = make_folder(decided)
    words = parsed(folder)[1].words
    order = [words.index(decided.capitalize(), words.index("Signoff ·")), words.index(folder.verdict["next_action"])]
    order += [words.index(folder.verdict["reasons"][0]), words.index("What changed"), words.index("Required gates")]
    assert sorted(order) == order


def test_sections_stand_in_the_order_of_a_readers_questions(make_folder: Callable[..., Folder]) -> None:
    """What each stage found, why, what changed, gates, worse, better, lost, slices, all scores, identity, gaps."""
    _, page = parsed(make_folder("fail"))
    ids = [attrs["id"] for tag, attrs in page.tags if tag == "section" and "id" in attrs]
    assert ids == ["stages", "gates", "worse", "better", "lost", "slices", "scores-all", "identity", "gaps"]


def test_markup_is_well_formed(make_folder: Callable[..., Folder]) -> None:
    """Every tag closes in order, ids are unique, and every link points into the page."""
    _, page = parsed(make_folder("fail"))
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert (page.open, page.crossed) == ([], [])
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in page.attribute("a", "href")} <= set(ids)
    assert page.count("h1") == 1
    assert page.count("caption") == page.count("table")


def test_worst_cases_come_first_with_the_words_that_changed(make_folder: Callable[..., Folder]) -> None:
    """Cases are ordered by how far they fell on required gates, and the changed words are marked on each side."""
    folder = make_folder("fail", cases=False)
    folder.case("mild", "one two", "one three", value=0.5).case("grave", "all is well", "all is lost").save()
    text, page = parsed(folder)
    assert page.words.index("grave") < page.words.index("mild")
    assert "<del>well</del>" in text
    assert "<ins>lost</ins>" in text


def test_more_worse_cases_than_fit_are_counted(make_folder: Callable[..., Folder]) -> None:
    """Beyond the limit the page says how many cases are not shown and where they are."""
    folder = make_folder("fail", cases=False)
    for n in range(page_module.SHOWN_WORSE + 3):
        folder.case(f"case-{n}", "yes", "no")
    _, page = parsed(folder.save())
    assert page.attribute("details", "class").count("case") == page_module.SHOWN_WORSE
    assert "3 further cases got worse" in page.words


def test_the_full_table_says_what_it_leaves_out(
    make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows beyond the limit are counted, and the page names the folder that holds them."""
    monkeypatch.setattr(tables, "ROWS", 100)
    _, page = parsed(make_folder("fail"))
    assert "1,300 rows are left out" in page.words
    assert "measurements/" in page.words


def test_every_gate_has_a_whisker_and_a_word(make_folder: Callable[..., Folder]) -> None:
    """Each gate's verdict is a word beside an icon, and its picture has a text of its own."""
    _, page = parsed(make_folder("fail"))
    pictures = [a for t, a in page.tags if t == "svg" and (a.get("class") or "").startswith("whisker")]
    assert len(pictures) == 10
    assert all("needed" in (a["aria-label"] or "") for a in pictures)
    assert page.words.count("Inconclusive") == 1


def test_nothing_changed_is_said(make_folder: Callable[..., Folder]) -> None:
    """With one arm measured the page says so and draws no case as worse."""
    folder = make_folder("pass")
    folder.rows = [row for row in folder.rows if row.variant == "candidate"]
    for found in (folder.verdict["apps"]["support"], folder.manifest["apps"]["support"]):
        found["baseline"] = found["candidate"]
    for path in (folder.path / "measurements").iterdir():
        path.unlink()
    _, page = parsed(folder.save())
    assert "Nothing changed" in page.words
    assert "got worse" not in page.words


def test_a_new_app_is_no_error(make_folder: Callable[..., Folder]) -> None:
    """An app without a baseline has a report that says that it has none."""
    folder = make_folder("pass", cases=False)
    folder.verdict["apps"]["support"]["baseline"] = folder.manifest["apps"]["support"]["baseline"] = None
    assert "App support has no baseline" in parsed(folder)[1].words


def test_a_bare_run_has_a_report(tmp_path: Path) -> None:
    """A run that broke before it measured anything still has a page with its verdict."""
    text = render_html(tmp_path, {}, {"verdict": "error", "next_action": "Start again.", "gates": []})
    assert "Start again." in text
    assert "This run left no measurements." in text


def test_a_broken_measurement_file_is_a_warning(make_folder: Callable[..., Folder]) -> None:
    """A file that ends in the middle of a row is named in the report, which holds the rows before it."""
    folder = make_folder("error", cases=False).case("c1", "a", "b").save()
    with (folder.path / "measurements" / "regression.jsonl").open("ab") as stream:
        stream.write(b'{"stage": "regr')
    _, page = parsed(folder)
    assert "regression.jsonl:3: not a measurement row" in page.words
    assert str(folder.path) not in page.words
    assert "c1" in page.words


def test_missing_verdict_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A folder without its verdict has no report."""
    with pytest.raises(SignoffError, match=r"verdict\.json: cannot be read"):
        render_html(tmp_path, {})


def test_unpinned_apps_are_said_beside_the_verdict(make_folder: Callable[..., Folder]) -> None:
    """An app whose digest nobody vouches for is called unpinned before the first section."""
    folder = make_folder("pass")
    folder.manifest["apps"]["support"]["pinned"] = False
    words = parsed(folder)[1].words
    assert words.index("support is unpinned") < words.index("What changed")


def test_what_is_not_covered_is_said(make_folder: Callable[..., Folder]) -> None:
    """The page lists the manifest's own gaps, stages that did not run, small slices and metrics without a gate."""
    folder = make_folder("fail")
    folder.verdict["gates"] = [g for g in folder.verdict["gates"] if g["metric"] != "intent"]
    words = parsed(folder)[1].words
    for gap in (
        "Answers in languages other than English.",
        "Stage safety was skipped: not in profile pr.",
        "Gate handled-typos on slice typos: 24 cases can prove what lies 11.0 pts from the threshold",
        "Slice typos of support has 24 cases",
        "Metrics of support that no gate of this run judges: intent.",
    ):
        assert gap in words


def test_the_same_folder_gives_the_same_bytes(
    make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports read no clock and no randomness, and do not depend on where the folder lies."""
    first, second = make_folder("fail", name="first"), make_folder("fail", name="other")
    made = {path.name: path.read_bytes() for path in write_reports(first.path)}
    monkeypatch.setattr(time, "time", lambda: pytest.fail("a report read the clock"))
    monkeypatch.setattr(random, "random", lambda: pytest.fail("a report drew a random number"))
    assert made == {
        path.name: path.read_bytes() for path in write_reports(second.path, second.manifest, second.verdict)
    }
    assert made == {path.name: path.read_bytes() for path in write_reports(first.path)}


def test_reports_are_all_written_or_none(make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that cannot be made leaves the earlier ones as they were, and no temporary file."""
    folder = make_folder("pass")
    before = {path.name: path.read_bytes() for path in write_reports(folder.path)}
    (folder.path / "verdict.json").write_text(json.dumps(folder.verdict | {"next_action": "Other."}))
    monkeypatch.setattr("harness.report.write.junit", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_reports(folder.path)
    files = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    assert before == {name: files[name] for name in before}
    assert {*before, "run.json", "verdict.json"} == set(files)


def test_an_approval_is_said_with_its_name_and_its_end(make_folder: Callable[..., Folder]) -> None:
    """An approved inconclusive run is called approved, by whom and until when, and stays inconclusive."""
    folder = make_folder("inconclusive", cases=False)
    folder.verdict["approval"] = {"name": "Ada Example", "expires": "2026-10-01", "gates": ["support/handled"]}
    _, page = parsed(folder)
    head = page.words[: page.words.index("What changed")]
    assert "Inconclusiveapproved" in head
    assert all(text in head for text in ("Ada Example", "2026-10-01", "support/handled"))
    assert "blocks like a failure" not in head


def test_stages_that_are_absent_are_named(make_folder: Callable[..., Folder]) -> None:
    """A stage that the run does not know at all is listed as not part of it."""
    folder = make_folder("pass", cases=False)
    folder.manifest["stages"] = folder.manifest["stages"][:1]
    assert "Stages that are not part of this run: data, evals, load, safety, promptfoo." in parsed(folder)[1].words
