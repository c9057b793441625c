"""Users are dealt evenly, the same everywhere and for good; a growing arm takes and never reshuffles."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from harness.errors import UsageError
from harness.serve.gateway.parts import Arm
from harness.serve.gateway.parts import Traffic as TrafficPart
from harness.serve.gateway.traffic import SplitTraffic, draw, traffic_trees
from harness.spec.repository import load_repository
from harness.spec.traffic import Traffic
from tests.run.project import REWORDED, Project, make_project

COUNT = 100_000
# A fair deal falls below this once in ten thousand times; the ids are fixed, so a test passes always or never.
LUCK = 1e-4
ROOT = Path(__file__).parents[2]
Shares = Sequence[tuple[str, float]]
RAMP: tuple[Shares, ...] = tuple(
    (("canary", share), ("blue", (100 - share) / 2), ("control", (100 - share) / 2)) for share in (1, 5, 25, 100)
)


def traffic(shares: Shares, experiment: str = "tone", **more: Any) -> Traffic:
    """A split that serves the candidate everywhere."""
    arms = [{"name": name, "share": share, "serves": "candidate"} for name, share in shares]
    return Traffic.model_validate({"experiment": experiment, "variants": arms, **more})


def split(shares: Shares, experiment: str = "tone", **more: Any) -> SplitTraffic:
    """The same for the app ``desk``, on the first day of 2027."""
    return SplitTraffic({"desk": traffic(shares, experiment, **more)}, lambda: datetime(2027, 1, 1, tzinfo=UTC))


def decided(part: TrafficPart, user: str, request: str = "") -> Arm:
    """The decision for a user of ``desk``."""
    arm = part.arm("desk", user, request)
    assert arm is not None
    return arm


def arms(part: TrafficPart, users: Sequence[str]) -> list[str]:
    """The name of each user's arm."""
    return [decided(part, user).name for user in users]


def random_ids() -> list[str]:
    """Ids as an authentication service would draw them."""
    source = random.Random(20270101)
    return [f"{source.getrandbits(128):032x}" for _ in range(COUNT)]


IDS: dict[str, Callable[[], list[str]]] = {
    "random": random_ids,
    "sequential": lambda: [str(number) for number in range(COUNT)],
    "padded": lambda: [f"customer-{number:08}" for number in range(COUNT)],
    "mail": lambda: [f"user{number}@example.com" for number in range(COUNT)],
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_draws_are_even(ids: Callable[[], list[str]]) -> None:
    """The draws of 100,000 users fill 1,000 equal parts of the line evenly, however alike the ids are."""
    counts = Counter(draw("tone", "desk", "canary", user) * 1000 >> 64 for user in ids())
    assert chisquare([counts[part] for part in range(1000)]).pvalue > LUCK


@pytest.mark.parametrize("shares", [RAMP[0], RAMP[1], RAMP[2], (("a", 12.5), ("b", 0), ("c", 0.1), ("d", 87.4))])
@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_arms_get_their_shares(ids: Callable[[], list[str]], shares: Shares) -> None:
    """Of 100,000 users each arm gets its share, an arm with share 0 nobody."""
    counts = Counter(arms(split(shares), ids()))
    wanted = {name: share for name, share in shares if share}
    assert set(counts) == set(wanted)
    expected = [share * COUNT / 100 for share in wanted.values()]
    assert chisquare([counts[name] for name in wanted], expected).pvalue > LUCK


@pytest.mark.parametrize(
    "other",
    [
        SplitTraffic({"desk": traffic(RAMP[2], "greeting")}),
        SplitTraffic({"desk": traffic([("canary", 25), ("left", 25), ("right", 50)], "tone2")}),
    ],
    ids=["same arms", "other arms"],
)
def test_experiments_are_independent(other: SplitTraffic) -> None:
    """Knowing a user's arm in one experiment says nothing about the arm in another one."""
    users = IDS["sequential"]()
    assert independent(arms(split(RAMP[2]), users), arms(other, users))


def test_apps_are_independent() -> None:
    """One experiment's name used for two apps deals their users independently."""
    both = SplitTraffic({"desk": traffic(RAMP[2]), "shop": traffic(RAMP[2])})
    users = IDS["sequential"]()
    assert independent(arms(both, users), [found.name for user in users if (found := both.arm("shop", user))])


def independent(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two ways to sort the same users are unrelated."""
    counts = Counter(zip(left, right, strict=True))
    table = [[counts[row, column] for column in sorted(set(right))] for row in sorted(set(left))]
    return bool(chi2_contingency(table).pvalue > LUCK)


def moves(before: Shares, after: Shares, users: Sequence[str]) -> set[tuple[str, str]]:
    """From where to where users go when the shares change."""
    pairs = zip(arms(split(before), users), arms(split(after), users), strict=True)
    return {(was, becomes) for was, becomes in pairs if was != becomes}


def test_ramping_up_only_moves_users_into_the_canary() -> None:
    """From 1 to 5, 25 and 100 percent users come to the canary; nobody leaves it or changes between the others."""
    users = IDS["sequential"]()[:20_000]
    for before, after in itertools.pairwise(RAMP):
        assert moves(before, after, users) == {("blue", "canary"), ("control", "canary")}


def test_ramping_down_is_the_way_back() -> None:
    """A canary that shrinks gives its users back to the arms they came from."""
    users = IDS["sequential"]()[:20_000]
    assert moves(RAMP[1], RAMP[0], users) == {("canary", "blue"), ("canary", "control")}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((("control", 99), ("canary", 1)), (("control", 75), ("canary", 25))),
        ((("blue", 50), ("canary", 1), ("control", 49)), (("blue", 50), ("canary", 25), ("control", 25))),
    ],
    ids=["listed last", "before the arm that gives"],
)
def test_an_arm_takes_from_those_listed_after_it(before: Shares, after: Shares) -> None:
    """Where one arm alone gives what another one gains, only users of that one move."""
    assert moves(before, after, IDS["sequential"]()[:20_000]) == {("control", "canary")}


def test_a_new_arm_takes_from_the_others_and_a_removed_one_gives_back() -> None:
    """A canary put before a running comparison takes from both arms, reshuffles neither, and leaves no trace."""
    running: Shares = (("blue", 50), ("control", 50))
    joined: Shares = (("canary", 20), ("blue", 40), ("control", 40))
    users = IDS["sequential"]()[:20_000]
    assert moves(running, joined, users) == {("blue", "canary"), ("control", "canary")}
    assert moves(joined, running, users) == {("canary", "blue"), ("canary", "control")}


def steps() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(lambda pair: (min(pair), max(pair)))


@given(steps(), st.lists(st.integers(1, 50), min_size=1, max_size=5), st.lists(st.text(min_size=1), max_size=30))
def test_any_ramp_of_the_first_arm_only_takes(step: tuple[int, int], rest: list[int], users: list[str]) -> None:
    """Whatever the shares, the users and the number of arms: growing the first arm moves users into it only."""

    def shares(tenths: int) -> Shares:
        others = [(f"arm{n}", (1000 - tenths) / 10 * weight / sum(rest)) for n, weight in enumerate(rest)]
        return (("canary", tenths / 10), *others)

    assert {becomes for _, becomes in moves(shares(step[0]), shares(step[1]), users)} <= {"canary"}


# The first draw of each, by: printf 'tone\0desk\0canary\0anna' | sha256sum | cut -c-16
VECTORS = [
    ("1", 0xA055DEA7A9F58B28, "blue"),
    ("2", 0x6B0DDC0AE96D3CBE, "blue"),
    ("anna", 0x1C50B1D85C1E1203, "blue"),
    ("Zoë", 0xC220983634E618D4, "blue"),
    ("user-17", 0xF12C7E45A412FC6C, "control"),
    ("用户", 0xB3BB2C770DA51170, "blue"),
    ("a\0b", None, None),
    ("\ud800", None, None),
]


@pytest.mark.parametrize(("user", "first", "arm"), VECTORS, ids=[ascii(user) for user, *_ in VECTORS])
def test_decisions_are_fixed_for_good(user: str, first: int | None, arm: str | None) -> None:
    """Draws and arms of these users are written down: no release may deal users anew. No user's name is an error."""
    found = decided(split([("canary", 5), ("blue", 47.5), ("control", 47.5)]), user)
    if first is not None:
        assert (draw("tone", "desk", "canary", user), found.name) == (first, arm)
        content = b"\0".join(part.encode() for part in ("tone", "desk", "canary", user))
        assert int(hashlib.sha256(content).hexdigest()[:16], 16) == first


def test_every_process_decides_the_same() -> None:
    """Processes with other seeds of Python's own hash give each user the same arm."""
    program = """
from harness.serve.gateway.traffic import SplitTraffic
from harness.spec.traffic import Traffic
shares = (("canary", 25), ("blue", 37.5), ("control", 37.5))
arms = [{"name": name, "share": share, "serves": "candidate"} for name, share in shares]
part = SplitTraffic({"desk": Traffic.model_validate({"experiment": "tone", "variants": arms})})
print(*(part.arm("desk", str(n)).name for n in range(500)))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, two = (process.communicate(timeout=60)[0].split() for process in processes)
    assert one == two == arms(split(RAMP[2]), [str(n) for n in range(500)])


def test_without_a_user_the_request_decides_and_says_so() -> None:
    """A request that names no user is dealt by its id, evenly, and the decision says that it will not stick."""
    part = split(RAMP[2])
    found = [decided(part, "", f"req-{number}") for number in range(5_000)]
    counts = Counter(arm.name for arm in found)
    assert chisquare([counts[name] for name, _ in RAMP[2]], [share * 50 for _, share in RAMP[2]]).pvalue > LUCK
    assert {arm.by for arm in found} == {"request"}
    assert decided(part, "anna", "req-1").by == "user"
    assert {decided(part, "anna", f"req-{number}").name for number in range(50)} == {decided(part, "anna").name}


def test_an_app_without_the_file_is_not_split() -> None:
    """An app that has no traffic has no arm."""
    assert split(RAMP[2]).arm("shop", "anna") is None


def test_testers_get_their_arm_plain_or_hashed() -> None:
    """Users whom the file allows an arm get it, also one with share 0 and also outside the experiment's time."""
    hashed = "sha256:" + hashlib.sha256(b"ben").hexdigest()
    part = split(
        [("canary", 0), ("control", 100)],
        allow={"canary": ["anna", hashed]},
        default="control",
        end="2026-01-01T00:00:00Z",
    )
    for user in ("anna", "ben"):
        assert (decided(part, user).name, decided(part, user).by) == ("canary", "allowed")
    for user in ("carl", "Anna", hashed.removeprefix("sha256:"), ""):
        assert (decided(part, user, "r").name, decided(part, user, "r").by) == ("control", "default")


def test_outside_its_time_the_default_answers() -> None:
    """Before the start and from the end on everybody gets the default arm, and nothing is shadowed."""
    start, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
    now = start
    shadow = [{"name": "next", "share": 100, "ref": "main"}]
    timed = traffic([("canary", 100), ("control", 0)], default="control", start=start, end=end, shadow=shadow)
    part = SplitTraffic({"desk": timed}, lambda: now)
    for moment, name, by, shadows in (
        (start - timedelta(microseconds=1), "control", "default", ()),
        (start, "canary", "user", ("desk@next",)),
        (end - timedelta(microseconds=1), "canary", "user", ("desk@next",)),
        (end, "control", "default", ()),
    ):
        now = moment
        assert decided(part, "anna") == Arm(name, f"desk@{name}", shadows, by)  # type: ignore[arg-type]


def test_shadows_are_sampled_by_request() -> None:
    """A shadow sees its share of the requests, whoever sends them, whatever answers, and each request the same way."""
    shadow = [{"name": "next", "share": 20, "ref": "main"}, {"name": "all", "share": 100, "ref": "main~1"}]
    part = split([("canary", 50), ("control", 50)], shadow=shadow)
    found = [decided(part, "anna", f"req-{number}") for number in range(10_000)]
    assert all("desk@all" in arm.shadows for arm in found)
    sampled = ["desk@next" in arm.shadows for arm in found]
    assert chisquare([sum(sampled), 10_000 - sum(sampled)], [2_000, 8_000]).pvalue > LUCK
    assert found[:100] == [decided(part, "anna", f"req-{number}") for number in range(100)]
    users = IDS["sequential"]()[:10_000]
    both = [decided(part, user) for user in users]
    assert independent([arm.name for arm in both], [str("desk@next" in arm.shadows) for arm in both])


def test_what_answers_is_not_shadowed_by_itself() -> None:
    """A shadow that serves the same as the answering arm is left out: it would compute the same twice."""
    shadow = [{"name": "next", "share": 100, "serves": "candidate"}]
    timed = Traffic.model_validate(
        {
            "experiment": "tone",
            "variants": [
                {"name": "new", "share": 50, "serves": "candidate"},
                {"name": "old", "share": 50, "release": "v1"},
            ],
            "shadow": shadow,
        }
    )
    part = SplitTraffic({"desk": timed})
    found = {decided(part, str(number)) for number in range(100)}
    assert found == {Arm("new", "desk@new"), Arm("old", "desk@old", ("desk@next",))}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository with a release, a later commit without the app, and an edited working tree."""
    project = make_project(tmp_path, count=3)
    project.git("tag", "v1.0.0")
    project.write({"suites/desk/desk.py": REWORDED})
    project.commit()
    project.edit("suites/desk/desk.py", "other", "else")
    return project


def trees(project: Project, cache: Path, *sources: dict[str, str], **more: Any) -> dict[str, Path]:
    """The trees of arms a, b, c… of which the last is a shadow."""
    arms = [{"name": name, "share": 100 if name == "a" else 0, **source} for name, source in zip("abcdef", sources)]
    found = Traffic.model_validate({"experiment": "tone", "variants": arms[:-1] or arms, "shadow": arms[-1:]})
    return traffic_trees(project.root, "desk", found, cache, **more)


def test_each_arm_is_served_from_its_tree(project: Project, tmp_path: Path) -> None:
    """The candidate is the working tree; a release, a ref and the baseline are taken out of git, each once."""
    cache = tmp_path / "cache"
    sources = ({"serves": "candidate"}, {"release": "v1.0.0"}, {"ref": "HEAD"}, {"serves": "baseline"})
    found = trees(project, cache, *sources)
    assert found["a"] == project.root and found["c"] == found["d"]
    digests = {arm: load_repository(tree, with_suites=False).apps["desk"].digest for arm, tree in found.items()}
    assert len({digests[arm] for arm in "abc"}) == 3
    again = trees(project, cache, *sources)
    assert again == found and len(list((cache / "built").iterdir())) == 2


def test_the_servers_own_baseline_is_used(project: Project, tmp_path: Path) -> None:
    """An arm that serves the baseline gets the tree that the server calls so."""
    own = tmp_path / "own"
    (own / "suites/desk").mkdir(parents=True)
    (own / "suites/desk/app.yaml").write_text("x", encoding="utf-8")
    assert trees(project, tmp_path, {"serves": "baseline"}, baseline=own)["a"] == own


def test_arms_that_cannot_be_served_are_named_together(project: Project, tmp_path: Path) -> None:
    """A tag that is not there, a branch given as a release and a commit without the app are told at once."""
    project.git("checkout", "--quiet", "--force", "--orphan", "island")
    project.git("rm", "-r", "--quiet", "--force", "suites")
    project.write({"suites/other/app.yaml": "x"})
    project.commit()
    project.git("checkout", "--quiet", "main")
    sources = ({"release": "v9.9.9"}, {"release": "main"}, {"ref": "nowhere"}, {"ref": "island"}, {"ref": "main~7"})
    with pytest.raises(UsageError) as caught:
        trees(project, tmp_path, *sources)
    assert [problem.message.split(";")[0] for problem in caught.value.problems] == [
        "arm 'a': no tag 'v9.9.9' in this repository",
        "arm 'b': no tag 'main' in this repository",
        "arm 'c': no commit 'nowhere' in this repository",
        "arm 'd': ref 'island' has no app 'desk'",
        "arm 'e': no commit 'main~7' in this repository",
    ]
    assert {problem.path for problem in caught.value.problems} == {"suites/desk/traffic.yaml"}


def test_a_folder_without_git_can_serve_its_working_tree_only(tmp_path: Path) -> None:
    """Without a repository there is neither a baseline nor a tag, and the message says so."""
    (tmp_path / "suites/desk").mkdir(parents=True)
    (tmp_path / "suites/desk/app.yaml").write_text("x", encoding="utf-8")
    plain = Project(tmp_path)
    assert trees(plain, tmp_path / "cache", {"serves": "candidate"})["a"] == tmp_path
    for source, said in (({"serves": "baseline"}, "there is no baseline"), ({"release": "v1"}, "no tag 'v1'")):
        with pytest.raises(UsageError, match=said):
            trees(plain, tmp_path / "cache", source)
