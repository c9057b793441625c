"""The JUnit report."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

from harness.report import render_junit
from tests.report.example_gates import gate
from tests.report.run_folder import Folder


def _suites(folder: Folder) -> dict[str, ET.Element]:
    root = ET.fromstring(render_junit(folder.path, folder.manifest, folder.verdict))
    return {suite.get("name", ""): suite for suite in root}


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    found = [c for c in suite if c.get("classname") == classname and c.get("name") == name]
    assert len(found) == 1, f"{classname} / {name}"
    return found[0]


def _properties(case: ET.Element) -> dict[str, str]:
    return {p.get("name", ""): p.get("value", "") for p in case.iter("property")}


def test_one_suite_per_app_and_one_for_the_gates(make_folder: Callable[..., Folder]) -> None:
    """Cases and checks of an app form one suite, gates another, and the counts add up."""
    folder = make_folder("fail")
    root = ET.fromstring(render_junit(folder.path))
    assert [suite.get("name") for suite in root] == ["support", "gates"]
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert root.get(name) == str(len(list(root.iter(tag))))
    assert root.get("tests") == "1010"


def test_names_are_unique_and_stable(make_folder: Callable[..., Folder]) -> None:
    """A testcase is named by app, stage, step, check and case, never by an index."""
    folder = make_folder("fail")
    whole = {(c.get("classname"), c.get("name")) for c in _suites(folder)["support"]}
    assert len(whole) == 1000
    assert ("support.regression.triage.intent", "refund-015") in whole


def test_a_failed_check_carries_its_reason_and_numbers(make_folder: Callable[..., Folder]) -> None:
    """A share of 0 is a failure with the check's own reason; score and baseline are properties."""
    case = _case(_suites(make_folder("fail"))["support"], "support.regression.handled", "refund-015")
    failure = case.find("failure")
    assert failure is not None
    assert "expected the step 'refund'" in (failure.text or "")
    assert {"score": "0.0", "baseline": "1.0", "unit": "share"}.items() <= _properties(case).items()


def test_zero_is_good_where_lower_is_better(make_folder: Callable[..., Folder]) -> None:
    """A share whose gate wants it low fails at 1 and not at 0."""
    cases = [c for c in _suites(make_folder("pass"))["support"] if c.get("classname") == "support.regression.escalated"]
    failed = {_properties(c)["score"]: c.find("failure") is not None for c in cases}
    assert failed == {"0.0": False, "1.0": True}


def test_errors_and_unscored_rows_are_no_failures(make_folder: Callable[..., Folder]) -> None:
    """A judge that timed out is an error, an answer without a grade is skipped; neither is a failure."""
    suite = _suites(make_folder("pass"))["support"]
    error = _case(suite, "support.regression.tone", "return-009").find("skipped")
    timed_out = _case(suite, "support.regression.tone", "account-017").find("error")
    assert error is not None
    assert "no grade in" in error.get("message", "")
    assert timed_out is not None
    assert timed_out.text == "judge timed out after 30 s"


def test_gates_fail_by_kind(make_folder: Callable[..., Folder]) -> None:
    """Failed and undecided gates are failures of those types; one that does not apply is skipped."""
    folder = make_folder("inconclusive")
    folder.verdict["gates"].append(gate(id="skip", verdict="not_applicable", reason="nothing changed", estimate=None))
    suite = _suites(folder)["gates"]
    undecided = _case(suite, "support.gates", "handled")
    failure = undecided.find("failure")
    assert failure is not None
    assert failure.get("type") == "inconclusive"
    assert "(got −1.2 pts [−3.1, +0.7], wanted ≥ −2.0 pts)" in (failure.text or "")
    assert {"score": "-0.012", "low": "-0.031", "high": "0.007", "n": "200"}.items() <= _properties(undecided).items()
    advisory = _case(suite, "support.gates", "refund-better").find("failure")
    assert advisory is not None
    assert (advisory.get("type"), (advisory.text or "").startswith("advisory: ")) == ("fail", True)
    assert _case(suite, "support.gates", "skip").find("skipped") is not None
    assert _case(suite, "support.gates", "json-valid").find("failure") is None


def test_characters_that_xml_cannot_hold_are_named(make_folder: Callable[..., Folder]) -> None:
    """Control characters of an output's reason or of a case's name leave the document well formed and readable."""
    folder = make_folder("fail", cases=False).case("c\x0b1", "a", "b", reason="]]> <x> \x00\x1b\uffff").save()
    failure = _case(_suites(folder)["support"], "support.regression.handled", "c⟨VT⟩1").find("failure")
    assert failure is not None
    assert (failure.text or "").startswith("]]> <x> ⟨NUL⟩⟨ESC⟩⟨U+FFFF⟩")


def test_a_run_without_measurements_has_its_gates(make_folder: Callable[..., Folder]) -> None:
    """With nothing measured the document is well formed and holds the gates alone."""
    assert list(_suites(make_folder("error", cases=False))) == ["gates"]
