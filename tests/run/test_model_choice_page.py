"""The page: nothing in it runs, and what a file says is text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from harness.report.model_choice import COLUMNS, conclusion, model_page, notes, table_row
from harness.report.pareto import HEIGHT, WIDTH, plot

EVIL = '</td><script>alert(1)</script><img src="http://evil.example/x" onerror=x>\x1b[2J'


def record(name: str, estimate: float, ms: float | None, **more: Any) -> dict[str, Any]:
    """One candidate of ``models.json``."""
    level = {"estimate": estimate, "low": estimate - 0.1, "high": min(1.0, estimate + 0.1), "n": 40, "errors": 0}
    level |= {"unscored": 0, "method": "Wilson score"}
    latency = None if ms is None else {"median_ms": ms, "p95_ms": 2 * ms, "n": 5, "errors": 0}
    plain = {
        "id": name, "description": "", "group": 1, "frontier": True, "quality": level, "slices": {"hard": level},
        "difference": None, "latency": latency, "latency_reason": "", "memory_bytes": 6 * 10**8, "memory_of": "",
        "tokens_in": 40.4, "tokens_out": 6.0, "cost": None, "method": "not tuned", "build_seconds": 0.0,
        "adapter_bytes": 0, "model": "tiny", "endpoint": False, "adapter": "", "prompt": "a/b/1.0.0",
        "output": "choice", "licence": "MIT", "parameters": 135_000_000, "base_bytes": 10**8, "context": 10,
        "benchmarks": [], "training_data": [], "limits": [], "digest": "0" * 64, "model_calls": 0, "cached_calls": 0,
    }  # fmt: skip
    return plain | more


def data(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    """``models.json``."""
    plain = {
        "app": "desk", "step": "sort", "metric": "right", "unit": "share", "better": "higher", "confidence": 0.95,
        "cases": 40, "slices": ["hard"], "reference": records[0]["id"], "candidates": list(records),
        "not_measured": [], "proposals": [], "machine_load": [], "interleaved": True, "latency_cases": 5,
    }  # fmt: skip
    return plain | more


RUN = {"commit": "abc", "dirty": False, "started": "2026-11-27T10:00:00+00:00", "wall_s": 3.0, "model_calls": 9,
       "cached_calls": 0}  # fmt: skip


class Tags(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_texts_of_files_stay_texts() -> None:
    """Whatever names, descriptions, licences, sources and reasons hold, the page has no script and loads nothing."""
    evil = record(EVIL, 0.5, 3.0, description=EVIL, prompt=EVIL, licence=EVIL, model=EVIL, adapter=EVIL,
                  latency_reason=EVIL, training_data=[EVIL], limits=[EVIL], method=EVIL,
                  benchmarks=[{"name": EVIL, "value": 1.0, "source": EVIL}],
                  cost={"per_1000_cases": 1.0, "currency": EVIL})  # fmt: skip
    lost = [{"id": EVIL, "reason": EVIL, "broken": True}]
    page = model_page(data(evil, record("b", 0.6, 4.0), not_measured=lost, proposals=[EVIL], app=EVIL, step=EVIL), RUN)
    found = Tags(page).found
    assert not {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in found}
    assert not [attrs for _, attrs in found if any(name.startswith("on") or name == "src" for name in attrs)]
    assert "\x1b" not in page
    assert page.count("alert(1)") > 10


def test_page_is_a_function_of_its_data() -> None:
    """The same data give the same bytes, and the policy allows nothing from elsewhere."""
    found = data(record("a", 0.5, 3.0), record("b", 0.6, 4.0))
    assert model_page(found, RUN) == model_page(found, RUN)
    (policy,) = [attrs["content"] for _, attrs in Tags(model_page(found, RUN)).found if "http-equiv" in attrs]
    assert policy is not None and policy.startswith("default-src 'none'")


@pytest.mark.parametrize("times", [(3.0, 4.0, 5.0), (3.0, 300.0, 9000.0), (3.0, 3.0, 3.0)])
def test_points_lie_inside_the_drawing(times: tuple[float, ...]) -> None:
    """Points, intervals and ticks stay inside, faster is further left, better is higher, numbers are the table's."""
    found = plot([record(f"c{n}", 0.3 + 0.2 * n, ms) for n, ms in enumerate(times)], "share")
    assert found is not None
    assert [point.number for point in found.points] == [1, 2, 3]
    for point in found.points:
        assert found.left <= point.x <= found.right <= WIDTH
        assert found.top <= point.high <= point.y <= point.low <= found.bottom <= HEIGHT
    xs, ys = [point.x for point in found.points], [point.y for point in found.points]
    assert xs == sorted(xs) and ys == sorted(ys, reverse=True)
    assert all(found.left <= x <= found.right for x, _ in found.across) and 3 <= len(found.up) <= 10
    assert found.logarithmic == (times[-1] > 1000)


def test_numbers_do_not_cover_each_other() -> None:
    """Candidates at one place have their numbers one above the other."""
    found = plot([record(f"c{n}", 0.5, 3.0) for n in range(3)], "share")
    assert found is not None
    labels = sorted(point.label for point in found.points)
    assert all(later - one >= 12 for one, later in pairwise(labels)) and labels[0] > 0


def test_nothing_timed_nothing_drawn() -> None:
    """Candidates without a time are left out of the drawing, all of them leave no drawing."""
    assert plot([record("a", 0.5, None)], "share") is None
    found = plot([record("a", 0.5, None), record("b", 0.5, 2.0)], "share")
    assert found is not None and [point.number for point in found.points] == [2]


def test_no_winner_that_the_intervals_do_not_show() -> None:
    """One sentence for each state: nobody told apart, some, one."""
    a, b, c = record("a", 0.5, 3.0), record("b", 0.6, 2.0), record("c", 0.1, 1.0)
    (first, second) = conclusion(data(a, b))
    assert "a, b are not told apart" in first and "best" not in first
    assert second == "Of them b answered fastest: 2.0 ms in the median."
    assert conclusion(data(a, b, c | {"group": 2}))[0] == (
        "The best in right is among a, b (95 % confidence); these are not told apart."
    )
    (only,) = conclusion(data(a, b | {"group": 2}))
    assert only == "a is the best of these in right: told apart from 1 other candidate with 95 % confidence."


def test_notes_say_when_times_say_little() -> None:
    """A busy machine, candidates that were timed apart, and endpoints are named."""
    busy = {"stolen": 0.02, "busy": 0.4, "load_average": 3.0, "seconds": 9.0}
    said = " ".join(notes(data(record("a", 0.5, 3.0, endpoint=True), machine_load=[busy, busy], interleaved=False)))
    assert "other programs took 40 % of its time" in said
    assert "other virtual machines" not in said
    assert "timed one after the other" in said and "Of an endpoint nobody here knows" in said


def test_row_has_a_cell_for_each_column() -> None:
    """Unknown is told as unknown and not as nothing."""
    found = record("a", 0.5, None, adapter_bytes=None, build_seconds=None, method="adapter x/1.0.0", parameters=None,
                   memory_bytes=None)  # fmt: skip
    row = dict(zip(COLUMNS, table_row(found, data(found)), strict=True))
    assert (row["trained bytes"], row["build"], row["memory"]) == ("unknown", "unknown (adapter x/1.0.0)", "–")
    assert re.match(r"tiny \(size unknown, 100\.0 MB, MIT\)", row["base"])
