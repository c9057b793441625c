"""Another question of a judge: the old judge is asked beside the new one."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.evals.judges.endpoint import judging
from tests.evals.judges.test_stage import NICE, NO_WORSE, ROWS, likes_refunds, project_with
from tests.run.project import ALWAYS_OTHER

JUDGE = "suites/desk/judges/nice"


def test_the_old_judge_is_asked_as_well(tmp_path: Path) -> None:
    """The rows of both stand apart, each with the digest of its judge, and the old gates are decided by the old one."""
    with judging(likes_refunds) as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "60"), NO_WORSE % "false")
        project.branch()
        text = (project.root / JUDGE / "1.0.0.prompty").read_text(encoding="utf-8")
        project.write({f"{JUDGE}/1.1.0.prompty": text.replace("1.0.0", "1.1.0") + "\nBe quick.\n"})
        project.edit(f"{JUDGE}/judge.yaml", "1.0.0", "1.1.0")
        project.write({"suites/desk/desk.py": ALWAYS_OTHER})
        project.run("gate")
    verdict = project.file("verdict.json")
    assert [(move["kind"], move["effect"]) for move in verdict["yardstick_moved"]] == [("judge", "changed")]
    (gate,) = [one for one in verdict["old_yardstick"] if one["id"] == "nice-no-worse"]
    assert (gate["verdict"], gate["now"], gate["n"]) == ("fail", "fail", 60)
    old = [
        orjson.loads(line)
        for line in (project.runs[-1] / f"artifacts/evals/old-yardstick/{ROWS}").read_bytes().splitlines()
    ]
    new = project.rows(ROWS)
    digests = [{row["judge_digest"] for row in rows} for rows in (old, new)]
    assert len(old) == len(new)
    assert len(digests[0]) == len(digests[1]) == 1
    assert digests[0] != digests[1]
