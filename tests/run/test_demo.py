"""``signoff demo``: recorded answers, real decisions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.errors import SignoffError
from harness.run import demo as room
from harness.run.demo import RECORDING, SCENES, ReplayCaller, demo, play, record, request_key, write_tree
from harness.serve import ChoiceOutput, Decoding, GenerationRequest, Message
from harness.spec.models import Model
from harness.spec.repository import load_repository
from harness.store import open_run

_WITHOUT_TORCH = """
import sys
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "accelerate"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
from harness.run.demo import demo
code = demo(Path(sys.argv[1]), open_report=False, as_json=True)
assert not {"torch", "transformers"} & set(sys.modules), "torch was imported"
sys.exit(code)
"""


def _model(tmp_path: Path) -> Model:
    files = load_repository(write_tree(tmp_path / "model", "1.0.0"), with_suites=False).apps["letters"]
    return files.models["smollm2-135m"]


def _request(text: str) -> GenerationRequest:
    return GenerationRequest((Message("user", text),), Decoding(), ChoiceOutput(("food", "sport")))


def _told(capsys: pytest.CaptureFixture[str], cache: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    code = demo(cache, open_report=False, as_json=True, **more)
    return code, json.loads(capsys.readouterr().out)


def test_json_tells_three_verdicts_in_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scenes come out red, green and undecided, with reason, next action and report; the exit code is 0."""
    code, told = _told(capsys, tmp_path)
    assert (code, told["exit_code"], told["as_told"]) == (0, 0, True)
    assert ["fail", "pass", "inconclusive"] == told["verdicts"] == [scene["verdict"] for scene in told["scenes"]]
    assert [scene["exit_code"] for scene in told["scenes"]] == [1, 0, 2]
    assert [scene["cases"] for scene in told["scenes"]] == [120, 120, 8]
    for scene in told["scenes"]:
        assert scene["reason"] and scene["next_action"] and scene["change"]
        assert Path(scene["report"]).is_relative_to(tmp_path / "demo")
        assert "letters" in Path(scene["report"]).read_text(encoding="utf-8")


def test_next_actions_name_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Red says which prompt to revert, green says merge, undecided says how many cases to add."""
    red, green, open_ = (scene["next_action"] for scene in _told(capsys, tmp_path)[1]["scenes"])
    assert "revert" in red and "letters/topic/1.0.0 -> 1.2.0" in red
    assert green.startswith("merge")
    assert open_.startswith("add 44 cases")


def test_run_folders_are_whole_and_say_that_answers_are_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each scene leaves a run folder as the gate does: complete, unaltered, honest about the replay."""
    for scene in _told(capsys, tmp_path)[1]["scenes"]:
        run = open_run(scene["run"], tmp_path)
        assert run.altered() == ()
        assert (run.manifest["model_calls"], run.manifest["cached_calls"] > 0) == (0, True)
        assert "recorded on" in run.manifest["warnings"][0]
        assert run.read_json("verdict.json")["verdict"] == scene["verdict"]


def test_baseline_is_a_working_app(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded model is good at the task, so that red comes from the change and not from chance."""
    red, green, _ = _told(capsys, tmp_path)[1]["scenes"]
    assert red["baseline"] == green["baseline"] > 0.85
    assert red["candidate"] < 0.7


def test_story_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal shows title, change, verdict, reason, next action and report of each scene, then commands to try."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.delenv("CI", raising=False)
    assert demo(tmp_path, open_report=True, as_json=False) == 0
    text = capsys.readouterr().out
    for scene in SCENES:
        assert scene.title in text and scene.expected.upper() in text
    for label in ("change", "measured", "verdict", "reason", "next", "report"):
        assert text.count(f"   {label:<10}") == 3
    assert "signoff check --root" in text and "signoff gate --baseline" in text
    assert len(opened) == 1 and "1-examples-dropped" in opened[0] and opened[0].startswith("file://")


@pytest.mark.parametrize(
    ("open_report", "environment"),
    [(False, {"DISPLAY": ":9"}), (True, {"DISPLAY": ":9", "CI": "true"}), (True, {})],
    ids=["--no-open", "CI", "no display"],
)
def test_browser_stays_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_report: bool, environment: dict[str, str]
) -> None:
    """No browser is started where nobody asked for one or nobody would see it."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    demo(tmp_path, open_report=open_report, as_json=False)
    assert opened == []


def test_needs_neither_torch_nor_git(tmp_path: Path) -> None:
    """The demo runs in the base install: torch cannot be imported and no git is on the path."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"] == ["fail", "pass", "inconclusive"]


def test_missing_answer_is_named(tmp_path: Path) -> None:
    """A request that was never recorded is refused with its text, its key and the way out."""
    model = _model(tmp_path)
    with pytest.raises(SignoffError, match=r"recording\.jsonl holds no answer.*'unheard of'.*reinstall") as caught:
        asyncio.run(ReplayCaller().ask(model, _request("unheard of"), 0))
    assert request_key(model, _request("unheard of"))[:12] in str(caught.value)
    assert caught.value.exit_code == 3


def test_incomplete_recording_stops_the_demo(tmp_path: Path) -> None:
    """One lost line is an error of the installation, never a worse score."""
    lines = RECORDING.read_bytes().splitlines(keepends=True)
    lost = tmp_path / "recording.jsonl"
    lost.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(SignoffError, match="holds no answer"):
        demo(tmp_path, open_report=False, as_json=True, recording=lost)


@pytest.mark.parametrize("content", [None, b"", b'{"key": "x"}\n'], ids=["absent", "empty", "headless"])
def test_unusable_recording_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A recording that does not say what was recorded is not replayed."""
    path = tmp_path / "recording.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SignoffError, match="reinstall signoff"):
        ReplayCaller(path)


def test_verdicts_follow_the_answers(tmp_path: Path) -> None:
    """With every recorded answer forced to one topic, the harmless rewording is no longer green."""
    head, *rows = [orjson.loads(line) for line in RECORDING.read_bytes().splitlines()]
    for row in rows:
        # An empty letter has no liking, so that calibration changes nothing.
        food = 0.0 if "Letter: N/A" in row["asked"] else 5.0
        row["generation"]["scores"] = {"food": food, "sport": 0.0, "music": 0.0, "travel": 0.0}
    path = tmp_path / "recording.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in (head, *rows)))
    told = play(SCENES[1], tmp_path, ReplayCaller(path))
    assert (told["candidate"], told["verdict"]) == (0.25, "fail")


def test_story_that_comes_out_otherwise_exits_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that differs from the one announced is reported and is a failure of the demo."""
    monkeypatch.setattr(room, "SCENES", (*SCENES[:2], replace(SCENES[2], expected="pass")))
    assert demo(tmp_path, open_report=False, as_json=False) == 3
    assert "should have come out as pass" in capsys.readouterr().out


def test_key_tells_requests_apart(tmp_path: Path) -> None:
    """Model, text, options and length limit decide the key; the seed of a greedy request does not."""
    model, plain = _model(tmp_path), _request("a")
    key = request_key(model, plain)
    assert key == request_key(model, replace(plain, decoding=Decoding(seed=5)))
    others = [
        (model, _request("b")),
        (model, replace(plain, output=ChoiceOutput(("food", "music")))),
        (model, replace(plain, decoding=Decoding(max_tokens=3))),
        (Model.model_validate(model.model_dump() | {"dtype": "bfloat16"}), plain),
    ]
    assert len({key, *(request_key(*other) for other in others)}) == 5
    with pytest.raises(SignoffError, match=r"temperature is 0\.7"):
        request_key(model, replace(plain, decoding=Decoding(temperature=0.7)))


def test_recording_is_that_of_the_pinned_model(tmp_path: Path) -> None:
    """The recording names the bytes of the demo's model, which are those of the repository's own model."""
    own = Path(__file__).parents[2] / "models" / "smollm2-135m" / "model.yaml"
    about, model = ReplayCaller().about, _model(tmp_path)
    assert about["sha256"] == model.sha256
    assert f"sha256: {model.sha256}" in own.read_text(encoding="utf-8")


def test_recording_again_gives_a_recording_that_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``record`` asks every request that the demo makes; another model's answers tell another story."""
    pytest.importorskip("torch")
    from harness.serve.engine.tiny import save_tiny

    # Twelve letters keep the test short: three prompts, each also asked about the empty letter.
    tree = write_tree(tmp_path / "files" / "tree", "1.0.0", cases=12)
    monkeypatch.setattr(room, "FILES", tree.parent)
    path = tmp_path / "recording.jsonl"
    count = record(tmp_path, model_folder=save_tiny(tmp_path / "tiny"), into=path)
    assert count == len(path.read_bytes().splitlines()) - 1 == 3 * (12 + 1)
    assert demo(tmp_path, open_report=False, as_json=True, recording=path) == 3
