"""traffic.yaml: strict, every mistake at once with its line, and no part of what is reviewed."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml

from harness.errors import UsageError
from harness.spec.git import find_baseline
from harness.spec.repository import load_repository
from harness.spec.schemas import schemas
from harness.spec.traffic import Traffic, load_traffic, read_traffic
from tests.run.project import Project, make_project

ROOT = Path(__file__).parents[2]
PATH = "suites/desk/traffic.yaml"
GOOD = """\
experiment: tone
variants:
  - {name: canary, share: 5, serves: candidate}
  - {name: control, share: 95, release: v1.0.0}
"""


def read(tmp_path: Path, text: str) -> tuple[Traffic | None, list[str]]:
    """The traffic of a file with ``text``, and each problem as "line: message"."""
    (tmp_path / "traffic.yaml").write_text(text, encoding="utf-8")
    traffic, problems = read_traffic(tmp_path, PATH)
    assert all(problem.path == PATH for problem in problems)
    return traffic, [f"{problem.line}: {problem.message}" for problem in problems]


def test_a_file_becomes_arms(tmp_path: Path) -> None:
    """The arms come in the order of the file, each with its share and what it serves."""
    traffic, problems = read(tmp_path, GOOD)
    assert traffic is not None and not problems
    assert [(arm.name, arm.percent, arm.source) for arm in traffic.variants] == [
        ("canary", 5, ("serves", "candidate")),
        ("control", 95, ("release", "v1.0.0")),
    ]
    assert (traffic.sticky, traffic.shadow, traffic.start, traffic.minimum_sample) == ("user", (), None, None)


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    """The file that docs/files.md shows is read without a complaint."""
    section = (ROOT / "docs/files.md").read_text(encoding="utf-8").split("\n## traffic\n")[1]
    traffic, problems = read(tmp_path, section.split("```yaml\n")[1].split("```")[0])
    assert problems == [] and traffic is not None
    assert traffic.start == datetime(2027, 2, 1, 8, tzinfo=UTC)


def test_no_file_is_no_traffic(tmp_path: Path) -> None:
    """An app without the file is not split."""
    assert read_traffic(tmp_path, PATH) == (None, [])
    assert load_traffic(tmp_path, ["desk"]) == {}


def test_every_mistake_comes_at_once_with_its_line(tmp_path: Path) -> None:
    """Mistakes in single keys and between keys are told together, each with the line to mend."""
    _, problems = read(
        tmp_path,
        """\
experiment: tone
sticky: request
variants:
  - {name: new, share: 5, serves: candidate, relase: v1}
  - {name: old, share: "95", release: -x}
  - {name: new, share: 3, ref: main, release: v2}
  - {name: baseline, share: .nan, ref: main}
shadow:
  - {name: next, share: 0, serves: candidate}
  - {name: bare, share: 5}
allow:
  nwe: [anna]
  old: [1001, anna, "sha256:abc"]
default: gone
start: 20270131
end: 2027-01-01
minimum_sample: 0
""",
    )
    for expected in (
        "2: sticky: Input should be 'user'",
        "4: unknown key 'variants.0.relase'",
        "5: variants.1.release: String should match",
        "5: variants.1.share: Input should be a valid number, found '95'",
        "6: arm 'new' needs exactly one of serves, release, ref; it has release and ref",
        "6: arm 'new' stands twice",
        "7: an arm called 'baseline' must have 'serves: baseline'",
        "7: variants.3.share",
        "9: a shadow with share 0 is never called",
        "10: arm 'bare' needs exactly one of serves, release, ref; it has none",
        "12: no variant 'nwe'; there are: new, old, baseline",
        "13: allow.old.0: Input should be a valid string, found 1001",
        "13: this user stands under 'nwe' already",
        "13: after 'sha256:' come the 64",
        "14: default: no variant 'gone'",
        "15: 20270131 is no date and time with a zone",
        "16: '2027-01-01' is no date and time with a zone",
        "17: minimum_sample: Input should be greater than or equal to 1",
    ):
        assert any(problem.startswith(expected) for problem in problems), (expected, problems)


@pytest.mark.parametrize(
    ("shares", "total"),
    [
        ([5, 95], None),
        ([0.1, 99.9], None),
        ([33.3, 33.3, 33.4], None),
        ([0, 100], None),
        ([100], None),
        ([5, 94.9], "99.9"),
        ([50, 50, 0.0001], "100.0001"),
        ([33.33, 33.33, 33.33], "99.99"),
    ],
)
def test_shares_add_up_exactly(tmp_path: Path, shares: list[float], total: str | None) -> None:
    """Shares are added as they are written, in decimals: a binary sum would invent differences."""
    arms = "".join(f"  - {{name: arm{n}, share: {share!r}, serves: candidate}}\n" for n, share in enumerate(shares))
    traffic, problems = read(tmp_path, f"experiment: tone\nvariants:\n{arms}")
    if total is None:
        assert traffic is not None and sum(arm.percent for arm in traffic.variants) == Fraction(100)
    else:
        assert problems == [f"2: the shares of the variants add up to {total}; make it 100"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("start: 2027-01-31T09:00:00\ndefault: control\n", "5: '2027-01-31T09:00:00' is no date and time with a zone"),
        ("start: 2027-01-31T09:00:00Z\n", "5: 'start' needs 'default'"),
        ("default: canary\nstart: 2027-02-01T00:00:00Z\nend: 2027-02-01T00:30:00+01:00\n", "7: the end "),
        ("start: 2027-01-31T09:00:00Z\nend: 2027-02-01T09:00:00Z\ndefault: control\n", None),
    ],
)
def test_times_have_a_zone_an_order_and_a_default(tmp_path: Path, more: str, said: str | None) -> None:
    """A time without its zone, an end before the start and times without a default arm are refused."""
    _, problems = read(tmp_path, GOOD + more)
    assert [problem.startswith(said) for problem in problems] == [True] if said else problems == []


@pytest.mark.parametrize("ref", ["-x", "--upload-pack=x", "a b", "a;b", "a\n", ""])
def test_a_revision_cannot_be_an_option(tmp_path: Path, ref: str) -> None:
    """What git would take for an option, or what is no name at all, is refused before git sees it."""
    traffic, problems = read(tmp_path, GOOD.replace("release: v1.0.0", f"ref: {ref!r}"))
    assert traffic is None and problems


@pytest.mark.parametrize("text", ["", "[]", "experiment: tone", "variants: 3", "a: [", "variants: [1, [2]]"])
def test_a_file_of_another_shape_is_a_problem(tmp_path: Path, text: str) -> None:
    """Anything that is not the mapping that it should be is named, and never an exception."""
    traffic, problems = read(tmp_path, text)
    assert traffic is None and problems


def test_every_app_is_told_at_once(tmp_path: Path) -> None:
    """Loading several apps raises one error with the problems of all files."""
    for app in ("desk", "shop"):
        (tmp_path / "suites" / app).mkdir(parents=True)
        (tmp_path / "suites" / app / "traffic.yaml").write_text("experiment: tone\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_traffic(tmp_path, ["desk", "shop"])
    assert [problem.path for problem in caught.value.problems] == [PATH, "suites/shop/traffic.yaml"]


@pytest.mark.parametrize(
    ("old", "new"), [("share: 5,", "share: 500,"), ("candidate", "candidat"), ("experiment", "experimen"), ("5,", "x,")]
)
def test_editors_see_the_mistake(old: str, new: str) -> None:
    """The JSON Schema accepts the good file and underlines one mistake in it."""
    validator = jsonschema.Draft202012Validator(schemas()["traffic"])
    assert list(validator.iter_errors(yaml.safe_load(GOOD))) == []
    assert list(validator.iter_errors(yaml.safe_load(GOOD.replace(old, new, 1)))) != []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An app of one function step."""
    return make_project(tmp_path, count=4)


def test_traffic_is_no_part_of_app_or_suite(project: Project) -> None:
    """Adding and changing the split moves neither the app's digest nor that of its suite."""
    before = load_repository(project.root)
    for text in (GOOD, GOOD.replace("share: 5,", "share: 25,").replace("95", "75")):
        project.write({PATH: text})
        after = load_repository(project.root)
        assert after.apps["desk"].digest == before.apps["desk"].digest
        assert after.apps["desk"].parts == before.apps["desk"].parts
        assert after.suites["desk"].digest == before.suites["desk"].digest


def test_ramping_does_not_move_the_baseline(project: Project) -> None:
    """Editing the split on the default branch leaves the baseline where it was: it is no edit of an app."""
    project.edit("suites/desk/desk.py", "other", "else")
    project.commit()
    before = find_baseline(project.root)
    project.write({PATH: GOOD})
    assert find_baseline(project.root) == before


def test_check_names_mistakes_of_the_split(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``signoff check`` reads the file, and a tree without suites (a baseline) is not held up by it."""
    project.write({PATH: GOOD.replace("95", "90")})
    assert project.run("check") == 64
    assert f"{PATH}:2: the shares of the variants add up to 95; make it 100" in capsys.readouterr().err
    assert "desk" in load_repository(project.root, with_suites=False).apps
