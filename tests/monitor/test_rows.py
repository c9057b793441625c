"""What indicators, inputs, histograms and samples make of rows, one by one."""

from __future__ import annotations

import random
import string
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.monitor import TraceWindow, gather, make_input, measured, said, sampled, shown_text, step_value
from harness.monitor.features import OTHER, Histogram, histogram, letters
from harness.run.plan import unmonitored
from harness.serve.gateway.telemetry.trace_row import FIELDS
from harness.spec.monitor import Drift, DriftFeature, Indicator, Monitor, span
from harness.spec.repository import load_repository
from harness.spec.yaml_file import parse_yaml, validate
from tests.monitor.traffic import MONITOR, NOW, labelled, rated, row, traffic, watched_project, write_log
from tests.run.project import ROOT

ADAPTER: TypeAdapter[Any] = TypeAdapter(Indicator)


def indicator(**keys: Any) -> Any:
    """An indicator of the file."""
    return ADAPTER.validate_python({"id": "x", "at_least": 0.9, **keys})


@pytest.mark.parametrize(
    ("outcome", "available", "in_time"),
    [("ok", 1.0, 1.0), ("failed", 0.0, 0.0), ("timeout", 0.0, 0.0), ("refused", None, None), ("limited", None, None),
     ("cancelled", None, None)],
)  # fmt: skip
def test_outcomes_that_count(outcome: str, available: float | None, in_time: float | None) -> None:
    """Failures and timeouts are the server's; refusals, limits and callers who left say nothing."""
    one = row(1, NOW, outcome=outcome)
    for keys, wanted in (({"kind": "availability"}, available), ({"kind": "latency", "within_s": 1}, in_time)):
        found = said(indicator(**keys), one, None)
        assert (None if found is None else found.value) == wanted


@pytest.mark.parametrize(("seconds", "wanted"), [(0.5, 1.0), (1.0, 1.0), (1.01, 0.0), (None, None)])
def test_latency_of_the_first_piece(seconds: float | None, wanted: float | None) -> None:
    """The threshold itself is in time; whole answers have no first piece and say nothing."""
    found = said(indicator(kind="latency", of="first_s", within_s=1), row(1, NOW, first_s=seconds), None)
    assert (None if found is None else found.value) == wanted


def test_a_row_without_its_duration_is_unscored() -> None:
    """A damaged row is never counted as quick."""
    found = said(indicator(kind="latency", within_s=1), row(1, NOW, total_s=None), None)
    assert found is not None and found.value is None and "no total_s" in found.reason


@pytest.mark.parametrize(
    ("keys", "given", "wanted"),
    [
        ({"outcome": "thumb"}, {"thumb": "up"}, 1.0),
        ({"outcome": "thumb"}, {"thumb": "down"}, 0.0),
        ({"outcome": "thumb"}, {"rating": 5}, None),
        ({"outcome": "resolved"}, {"resolved": False}, 0.0),
        ({"outcome": "rating"}, {"rating": 4}, 1.0),
        ({"outcome": "rating", "rating_from": 5}, {"rating": 4}, 0.0),
        ({"outcome": "edited"}, {"thumb": "up"}, 0.0),
        ({"outcome": "edited"}, {"edited_text": ""}, 1.0),
        ({"outcome": "thumb"}, None, None),
    ],
)
def test_feedback(keys: dict[str, Any], given: dict[str, Any] | None, wanted: float | None) -> None:
    """An answer that nobody rated in this way says nothing."""
    found = said(indicator(kind="feedback", **keys), row(1, NOW), given)
    assert (None if found is None else found.value) == wanted


def test_shares_of_fields_and_steps() -> None:
    """A field of the row, a step's text, a dotted field of its JSON; what is absent is unscored with its reason."""
    one = row(1, NOW, finish_reason="length", steps=labelled('{"a": {"escalate": true}}'))
    assert said(indicator(kind="share", field="finish_reason", values=["length"]), one, None).value == 1.0  # type: ignore[union-attr]
    nested = indicator(kind="share", step="sort", field="a.escalate", values=[True])
    assert said(nested, one, None).value == 1.0  # type: ignore[union-attr]
    assert said(nested, row(1, NOW), None).reason == "step sort has no output in the log of requests"  # type: ignore[union-attr]
    assert step_value(one, "sort", "a.b") == (None, "the output of step sort has no field a.b")
    assert step_value(row(1, NOW, steps=labelled("{")), "sort", "a") == (None, "the output of step sort is no JSON")
    assert said(indicator(kind="share", field="nothing", values=[1]), one, None).value is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "line", "said_of_it"),
    [
        ("at_least: 0.95", 2, "needs exactly one of at_least and at_most"),
        ("kind: availability", 2, "kind"),
        ("within_s: 2", 3, "missing field"),
        ("minimum: 20", 5, "unknown key"),
    ],
)
def test_mistakes_in_the_file_have_their_line(text: str, line: int, said_of_it: str) -> None:
    """What is wrong with one indicator is said at its line."""
    spoilt = MONITOR.replace(text, "smallest: 20" if "minimum" in text else "why: x", 1)
    document, _ = parse_yaml(spoilt, "monitor.yaml")
    assert document is not None
    found, problems = validate(document, Monitor)
    assert found is None
    assert (problems[0].line, said_of_it in problems[0].message) == (line, True), problems


@pytest.mark.parametrize(
    ("old", "new", "said_of_it"),
    [
        ("id: quick", "id: available", "id 'available' stands twice"),
        (
            "{id: language, kind: language}",
            "{id: language, kind: language, step: sort}",
            "'step' is given exactly when",
        ),
        ("{id: wording, kind: text}", "{id: wording, kind: text, threshold: 0.4}", "an AUC between 0.5 and 1"),
        ("horizon: 1h", "horizon: soon", "horizon"),
        ("indicator: liked", "indicator: loved", "no indicator 'loved'; there are: available, quick, refunds, liked"),
        ("values: [refund]", "values: []", "values"),
        ("at_most: 0.8", "at_most: 1.8", "at_most"),
    ],
)
def test_files_that_contradict_themselves(old: str, new: str, said_of_it: str) -> None:
    """Every contradiction is refused with a sentence that says what would be right."""
    assert old in MONITOR
    document, _ = parse_yaml(MONITOR.replace(old, new), "monitor.yaml")
    assert document is not None
    found, problems = validate(document, Monitor)
    assert found is None and any(said_of_it in problem.message for problem in problems), problems


def test_spans() -> None:
    """Minutes, hours, days, weeks."""
    assert [span(each) for each in ("30m", "6h", "1d", "2w")] == [
        timedelta(minutes=30), timedelta(hours=6), timedelta(days=1), timedelta(weeks=2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("logged", "shown"),
    [
        ("hello", "hello"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "inputs": {}}', "b"),
        ('{"messages": [], "inputs": {"tier": "gold", "article": "a long text", "n": 3}}', "a long text"),
        ('{"messages": [{"content": "cut o', '{"messages": [{"content": "cut o'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)  # fmt: skip
def test_the_users_words(logged: str, shown: str) -> None:
    """The last message of a dialogue, or the longest of the inputs; anything else is taken as it is."""
    assert shown_text(logged) == shown


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_compared(text: str) -> None:
    """No text that a caller can send breaks what is computed of it."""
    assert isinstance(shown_text(text), str)
    assert np.isfinite(letters([text])).all()
    assert shown_text('{"messages": ' + text + ', "inputs": {}}') is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(set(FIELDS) - {"received"})), JSON, max_size=4), given=JSON)
def test_any_row_can_be_read(tmp_path: Path, changes: dict[str, Any], given: Any) -> None:
    """Whatever a damaged writer put into a row, it is counted, unscored or left out, and never ends the look."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    one = {**row(1, NOW - timedelta(minutes=30), arm="a", assigned="user", steps=labelled("x")), **changes}
    feedback = {**rated(1, NOW - timedelta(minutes=20)), "thumb": given, "rating": given, "edited_text": given}
    write_log(folder, [one, feedback, row(2, NOW - timedelta(minutes=20)), {**one, "received": "2026-11-20Tlate"}])
    document, _ = parse_yaml(MONITOR, "monitor.yaml")
    assert document is not None
    monitor = Monitor.model_validate(document.data)
    window = TraceWindow(folder, "desk", NOW - timedelta(hours=2), NOW)
    notes = window.read()
    assert notes.foreign >= 1
    more = [
        indicator(kind="feedback", outcome="rating", id="r"),
        indicator(kind="share", field="cache", values=["hit"]),
    ]
    rows = list(measured(monitor.model_copy(update={"indicators": (*monitor.indicators, *more)}), window))
    assert all((each.value in (0.0, 1.0)) == (each.status == "scored") for each in rows)
    assert monitor.drift is not None
    assert all(isinstance(each.text, str) for each in sampled(window.requests(), monitor.drift, None))
    gather(window, ["a"], list(monitor.indicators), timedelta(hours=1))


def test_letters_tell_texts_apart() -> None:
    """Equal texts but for case and blanks are equal; a mix-up of the letters is not."""
    same, spaced, mixed = letters(["Where is it?", "  where   IS it? ", "ti si erehW?"])
    assert np.array_equal(same, spaced) and not np.array_equal(same, mixed)


def test_bins_are_fixed_by_the_reference() -> None:
    """Values below, above and between fall into the reference's bins; unknown names are (other); nothing is lost."""
    feature = DriftFeature(id="length", kind="length")
    inputs = [make_input("x" * size) for size in range(1, 401)]
    fixed = histogram(feature, inputs)
    assert sum(fixed.counts) == 400 and max(fixed.counts) - min(fixed.counts) <= 2 and len(fixed.counts) == 8
    assert sum(fixed.of([0, 10**6, 50])) == 3 and fixed.of([0])[0] == 1 and fixed.of([10**6])[-1] == 1
    assert len(fixed.labels()) == len(fixed.counts)
    labels = Histogram((1, 0), names=("a", OTHER))
    assert labels.of(["a", "b", "c"]) == (1, 2)


def test_many_labels_stay_bounded() -> None:
    """A step that returns free text gives no more bins than a person can read."""
    draw = random.Random(1)
    feature = DriftFeature(id="free", kind="step", step="s")
    inputs = [make_input("x", {"free": draw.choice(string.ascii_letters)}) for _ in range(500)]
    assert len(histogram(feature, inputs).names) == 13


def _drift(sample: int = 100) -> Drift:
    return Drift(features=(DriftFeature(id="intent", kind="step", step="sort"),), sample=sample)


def test_the_sample_is_bounded_even_and_the_same_in_any_order() -> None:
    """One input a user, at most as many as asked for, early and late rows alike."""
    rows = [{**each, "input": f"text {number}"} for number, each in enumerate(traffic(5000, seed=4))]
    found = sampled(iter(rows), _drift(), None)
    shuffled = rows[:]
    random.Random(2).shuffle(shuffled)
    again = sampled(iter(shuffled), _drift(), None)
    assert len(found) == 100
    assert sorted(each.text for each in found) == sorted(each.text for each in again)
    texts = {each["input"] for each in rows[:2500]}
    assert 30 < sum(each.text in texts for each in found) < 75


def test_one_user_is_one_input() -> None:
    """Whoever writes a thousand times is in the sample once."""
    rows = [{**each, "user": "loud"} for each in traffic(1000, seed=5)] + list(traffic(20, seed=6))
    assert len(sampled(iter(rows), _drift(), None)) == 21


def test_labels_of_another_version_are_not_taken() -> None:
    """Texts count whoever answered, labels only of the reference's version."""
    found = sampled(traffic(50, seed=7), _drift(), "e" * 64)
    assert len(found) == 50 and not any(each.labels for each in found)


def test_steps_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt step is found by ``signoff check``: its rows would be unscored for ever."""
    project = watched_project(tmp_path, MONITOR.replace("step: sort", "step: sorts"))
    assert project.run("check") == 64
    said = capsys.readouterr().err
    assert "indicator 'refunds': no step 'sorts'; the app has sort" in said
    assert "feature 'intent': no step 'sorts'" in said


@pytest.mark.parametrize("app", ["support", "publishing"])
def test_the_apps_that_ship_are_watched(app: str) -> None:
    """Their monitor.yaml fits its schema and the app's steps, and the profile release accepts them."""
    path = ROOT / "suites" / app / "monitor.yaml"
    schema = orjson.loads((ROOT / "docs/schemas/monitor.json").read_bytes())
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(data)) == []
    repository = load_repository(ROOT, only=(app,))
    assert unmonitored(repository) == [] and repository.suites[app].monitor is not None
