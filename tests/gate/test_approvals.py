import json
from datetime import date

import pytest

from harness.errors import SignoffError, UsageError
from harness.gate import apply_approval, approve, read_approvals

from .builders import gate, rows

TODAY, LATER = date(2026, 3, 1), date(2026, 3, 31)
YARDSTICK = {"suites/support": "d" * 64}


@pytest.fixture
def run_dir(tmp_path, decided):
    """A run folder with an inconclusive verdict."""
    verdict = decided(rows([1] * 20, [1] * 20), gate()).as_dict() | {"run_id": "r1"}
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    (tmp_path / "run.json").write_text(json.dumps({"yardstick": YARDSTICK}))
    return tmp_path


@pytest.fixture
def verdict(run_dir):
    """The verdict in that folder."""
    return json.loads((run_dir / "verdict.json").read_text())


@pytest.fixture
def approvals(run_dir):
    """Ann's approval, written and read back."""
    path = run_dir / "store" / "approvals.jsonl"
    approve(run_dir, path, name="Ann Lee", note="typo fix, seen by hand", expires=LATER, today=TODAY)
    return read_approvals(path)


def test_an_approval_lets_an_inconclusive_verdict_through(verdict, approvals):
    """The verdict stays inconclusive, with the approval beside it and exit code 0."""
    result = apply_approval(verdict, approvals, LATER, yardstick=YARDSTICK)
    assert (result["verdict"], result["exit_code"], result["approval"]["name"]) == ("inconclusive", 0, "Ann Lee")
    assert result["reasons"][-1].startswith("approved by Ann Lee on 2026-03-01, until 2026-03-31")
    assert json.loads(json.dumps(result)) == result


def changed(verdict, **fields):
    return verdict | fields


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"apps": {"support": {"candidate": "e" * 64, "baseline": "b" * 64}}}, "other digests of support"),
        ({"gates": [{"app": "support", "id": "new", "required": True, "verdict": "inconclusive"}]}, "support/new"),
    ],
)
def test_an_approval_of_something_else_does_nothing(verdict, approvals, change, why):
    """Other digests or a gate that was not approved leave the exit code, and a reason says why."""
    result = apply_approval(verdict | change, approvals, TODAY, yardstick=YARDSTICK)
    assert (result["exit_code"], result["approval"]) == (2, None)
    assert why in result["reasons"][-1]


def test_an_expired_approval_does_nothing(verdict, approvals):
    """The day after its last one it no longer counts."""
    result = apply_approval(verdict, approvals, date(2026, 4, 1), yardstick=YARDSTICK)
    assert result["exit_code"] == 2
    assert result["reasons"][-1].endswith("it expired on 2026-03-31")


@pytest.mark.parametrize("yardstick", [None, {"suites/support": "f" * 64}])
def test_an_approval_measured_otherwise_does_nothing(verdict, approvals, yardstick):
    """A changed suite, or one that the caller does not name, is not what was approved."""
    result = apply_approval(verdict, approvals, TODAY, yardstick=yardstick)
    assert result["exit_code"] == 2
    assert "what measures has changed" in result["reasons"][-1]


@pytest.mark.parametrize(("outcome", "code"), [("fail", 1), ("error", 3), ("pass", 0)])
def test_other_verdicts_are_never_touched(verdict, approvals, outcome, code):
    """A fail stays a fail and an error an error."""
    given = verdict | {"verdict": outcome, "exit_code": code}
    assert apply_approval(given, approvals, TODAY, yardstick=YARDSTICK) == given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, "name of a person"),
        ({"note": ""}, "name of a person"),
        ({"expires": date(2026, 2, 28)}, "2026-02-28 is in the past"),
    ],
)
def test_an_approval_needs_a_name_a_reason_and_a_future(run_dir, change, message):
    """Each missing part is named, and nothing is written."""
    path = run_dir / "approvals.jsonl"
    fields = {"name": "Ann", "note": "seen", "expires": LATER, "today": TODAY} | change
    with pytest.raises(UsageError, match=message):
        approve(run_dir, path, **fields)
    assert not path.exists()


def test_only_an_inconclusive_run_is_approved(run_dir, verdict):
    """A failed run is refused by name."""
    (run_dir / "verdict.json").write_text(json.dumps(verdict | {"verdict": "fail"}))
    with pytest.raises(UsageError, match="run r1 is fail"):
        approve(run_dir, run_dir / "a.jsonl", name="Ann", note="seen", expires=LATER, today=TODAY)


def test_a_run_without_a_verdict_is_an_error(tmp_path):
    """The missing file is named."""
    with pytest.raises(SignoffError, match=r"verdict\.json"):
        approve(tmp_path, tmp_path / "a.jsonl", name="Ann", note="seen", expires=LATER, today=TODAY)


def test_a_damaged_line_is_named(tmp_path):
    """A line that is no approval is reported with its number; no file means no approvals."""
    path = tmp_path / "approvals.jsonl"
    assert read_approvals(path) == ()
    path.write_text('{"name": "Ann"}\n')
    with pytest.raises(UsageError, match=r"approvals\.jsonl:1"):
        read_approvals(path)
