"""What the generator measures is what the server did, whatever goes wrong on the way."""

from __future__ import annotations

import os
import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from harness.load import LoadPlan, Sample
from tests.load.plans import generate, plan
from tests.load.streaming import DIGEST, Script, Sent, Streaming, streaming

# Importing locust here would replace parts of this process's library by gevent's.
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install 'signoff[load]'")
SLACK_S = 0.15
"""How long after the server wrote a byte it is usually read, at most."""


def by_message(service: Streaming) -> dict[str, Sent]:
    """What the server sent, by the case that it was asked."""
    return {sent.body["inputs"]["message"]: sent for sent in service.sent}


def answers(given: LoadPlan, samples: dict[int, Sample], service: Streaming) -> list[tuple[Sample, Sent]]:
    """Each sample beside what the server wrote down of it."""
    sent, cases = by_message(service), given.schedule.cases
    return [
        (samples[shot.number], sent[cases[shot.question].inputs["message"]]) for _, shot in given.schedule.measured()
    ]


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "unchunked"])
def test_times_are_those_of_the_server(tmp_path: Path, chunked: bool) -> None:
    """First token, end and time per token agree with what the server wrote down; the role frame is no token."""
    with streaming(Script(first_s=0.2, gap_s=0.05, tokens=6, chunked=chunked)) as service:
        given = plan(tmp_path, service.url)
        found = generate(tmp_path, given)
    assert found.broken == ""
    assert len(found.samples) == 6
    pairs = answers(given, dict(found.samples), service)
    for sample, sent in pairs:
        assert sample.failure == ""
        assert sample.first is not None and sample.ended is not None and sent.done is not None
        assert sent.role is not None and sent.role < sent.tokens[0] <= sample.first
        assert sample.ended >= sent.done
        assert (sample.tokens, sample.cached_tokens, sample.finish_reason) == (6, 4, "stop")
    # One request may be read late on a busy machine, most are not.
    assert median([sample.first - sent.tokens[0] for sample, sent in pairs]) < SLACK_S
    assert median([sample.ended - sent.done for sample, sent in pairs]) < SLACK_S
    measured, real = zip(*((sample.tpot_s, (sent.done - sent.tokens[0]) / 5) for sample, sent in pairs), strict=True)
    assert median(measured) == pytest.approx(median(real), abs=SLACK_S / 5)


def test_latency_counts_from_the_intended_time(tmp_path: Path) -> None:
    """Requests go out on time while earlier ones wait, and the gaps are those of the schedule."""
    with streaming(Script(first_s=0.5)) as service:
        given = plan(tmp_path, service.url, rate=40, block_requests=8)
        found = generate(tmp_path, given)
    samples = found.samples
    for block in given.schedule.blocks:
        first = samples[block.shots[0].number]
        for shot in block.shots:
            sample = samples[shot.number]
            offset = shot.offset_s - block.shots[0].offset_s
            assert sample.intended - first.intended == pytest.approx(offset, abs=1e-6)
            assert sample.ttft_s == pytest.approx((sample.first or 0) - sample.intended)
            assert sample.lag_s >= 0
    came = sorted(sent.came for sent in service.sent[:8])
    # Nobody waits for an answer: the server has several requests before it has ended its first.
    assert sum(at < min(sent.done or 0 for sent in service.sent[:8]) for at in came) >= 3


def test_arms_take_turns_and_are_asked_the_same(tmp_path: Path) -> None:
    """A block begins when the one before it is answered, and both blocks of a pair ask the same cases."""
    with streaming(Script(first_s=0.05)) as service:
        given = plan(tmp_path, service.url, ("baseline", "candidate"), blocks=4)
        found = generate(tmp_path, given)
    asked = [(sent.model, sent.body["inputs"]["message"]) for sent in service.sent]
    assert len(asked) == 24
    blocks = [asked[start : start + 3] for start in range(0, 24, 3)]
    for one, other in zip(blocks[::2], blocks[1::2], strict=True):
        assert {len({model for model, _ in block}) for block in (one, other)} == {1}
        assert {one[0][0], other[0][0]} == {"desk", "desk@baseline"}
        assert [text for _, text in one] == [text for _, text in other]
    ends = {block.number: max(found.samples[shot.number].ended or 0 for shot in block.shots)
            for block in given.schedule.blocks}  # fmt: skip
    for block in given.schedule.blocks[1:]:
        assert found.samples[block.shots[0].number].sent > ends[block.number - 1]


def test_requests_ask_for_what_is_measured(tmp_path: Path) -> None:
    """Each asks for a stream with usage, for the steps, and to bypass caches of answers; the key is in no file."""
    with streaming(Script()) as service:
        generate(tmp_path, plan(tmp_path, service.url))
    for sent in service.sent:
        assert sent.body["stream"] is True
        assert sent.body["stream_options"] == {"include_usage": True}
        assert sent.body["signoff"] == {"trace": True}
        assert sent.headers["x-signoff-cache"] == "bypass"
        assert "authorization" not in sent.headers


def test_a_first_token_of_any_channel_counts(tmp_path: Path) -> None:
    """Reasoning and tool calls are output as well."""
    channels = iter(["reasoning_content", "tool_calls"] * 3)
    with streaming(lambda _: Script(first_s=0.05, gap_s=0.1, channel=next(channels))) as service:
        given = plan(tmp_path, service.url)
        found = generate(tmp_path, given)
    late = [(sample.first or 0) - sent.tokens[0] for sample, sent in answers(given, dict(found.samples), service)]
    assert min(late) >= 0
    assert median(late) < 0.1


WRONG = {
    "status": (Script(status=503), ["status"], "HTTP 503: no room"),
    "cut": (Script(cut=1), ["stream", "transport"], ""),
    "cut at once": (Script(cut=0, role_first=False), ["stream", "transport"], ""),
    "cut without chunks": (Script(cut=1, chunked=False), ["stream"], "ended before [DONE]"),
    "error event": (Script(error=1), ["stream"], "out of memory"),
    "empty": (Script(tokens=0), ["stream"], "the answer is empty"),
}


def test_what_goes_wrong_is_a_failed_request(tmp_path: Path) -> None:
    """A failed request keeps its kind and reason, has no latency, and is not sent again."""
    names: dict[str, str] = {}

    def script(body: Any) -> Script:
        return WRONG[names.setdefault(body["inputs"]["message"], list(WRONG)[len(names)])][0]

    with streaming(script) as service:
        given = plan(tmp_path, service.url, block_requests=len(WRONG) // 2)
        found = generate(tmp_path, given)
        assert len(service.sent) == len(WRONG)
    assert found.broken == ""
    for sample, sent in answers(given, dict(found.samples), service):
        _, kinds, said = WRONG[names[sent.body["inputs"]["message"]]]
        assert sample.failure in kinds
        assert sample.reason
        assert said in sample.reason
        assert sample.e2e_s is None


def test_a_body_that_stays_open_is_no_slow_answer(tmp_path: Path) -> None:
    """``[DONE]`` ends the answer; a server that leaves the connection open after it holds nothing up."""
    with streaming(Script(linger=True)) as service:
        found = generate(tmp_path, plan(tmp_path, service.url, timeout_s=5))
        ended = [sent.done for sent in service.sent]
    assert {sample.failure for sample in found.samples.values()} == {""}
    assert median([(sample.ended or 0) - sample.intended for sample in found.samples.values()]) < 2
    assert max(at or 0 for at in ended) - min(at or 0 for at in ended) < 4


def test_connections_are_kept(tmp_path: Path) -> None:
    """One after the other, requests take the same connection, as a real client's do."""
    with streaming(Script()) as service:
        generate(tmp_path, plan(tmp_path, service.url, blocks=6, block_requests=1))
    assert len(service.sent) == 6
    assert len({sent.port for sent in service.sent}) == 1


def test_no_usage_leaves_the_time_per_token_open(tmp_path: Path) -> None:
    """Tokens are never guessed from pieces."""
    with streaming(Script(usage=False)) as service:
        found = generate(tmp_path, plan(tmp_path, service.url))
    for sample in found.samples.values():
        assert (sample.failure, sample.tokens, sample.tpot_s) == ("", None, None)
        assert "did not count tokens" in sample.no_tpot


def test_a_server_that_hangs_ends_the_run(tmp_path: Path) -> None:
    """Each request ends at its timeout; after eight in a row nothing more is sent."""
    with streaming(Script(hang=1)) as service:
        found = generate(tmp_path, plan(tmp_path, service.url, timeout_s=0.4, block_requests=10))
    assert "8 requests in a row got no answer" in found.broken
    assert "no whole answer within 0.4 s" in found.broken
    assert len(found.samples) < 20
    assert {sample.failure for sample in found.samples.values()} == {"timeout"}


def test_a_server_that_dies_in_mid_run(tmp_path: Path) -> None:
    """What was answered before stays; then the run ends, with the transport's own words."""
    count = threading.Semaphore(0)

    def answer(_: object) -> Script:
        count.release()
        return Script(first_s=0.02)

    with streaming(answer) as service:
        stopper = threading.Thread(target=lambda: ([count.acquire() for _ in range(4)], service.stop()))
        stopper.start()
        found = generate(tmp_path, plan(tmp_path, service.url, block_requests=20))
        stopper.join()
    assert "8 requests in a row got no answer" in found.broken
    assert any(not sample.failure for sample in found.samples.values())
    assert {sample.failure for sample in found.samples.values() if sample.failure} <= {"transport", "stream"}


def test_kill_of_the_generator_keeps_what_was_measured(tmp_path: Path) -> None:
    """After kill -9 of Locust the samples so far are read back, and the reason names the signal."""
    killed: list[int] = []
    given_samples = tmp_path / "samples.jsonl"

    def watch(pid: int) -> None:
        if given_samples.read_bytes().count(b"\n") >= 3 and not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with streaming(Script()) as service:
        given = plan(tmp_path, service.url, rate=10, block_requests=30)
        found = generate(tmp_path, given, watch=watch)
    assert killed
    assert "signal 9" in found.broken
    assert 3 <= len(found.samples) < 60


def test_the_generator_ends_with_its_parent(tmp_path: Path) -> None:
    """Nobody is left sending when the run is killed."""
    import subprocess
    import sys
    import time

    from tests.run.project import ROOT, wait_for

    with streaming(Script()) as service:
        given = plan(tmp_path, service.url, rate=5, block_requests=500)
        given.write(tmp_path / "given.json")
        code = (
            "import sys; from pathlib import Path; from harness.load import Generator, LoadPlan\n"
            "f = Path(sys.argv[1])\n"
            "Generator(LoadPlan.read(f / 'given.json'), f, lambda p: (f / 'pid').write_text(str(p))).run()"
        )
        parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
        wait_for(lambda: len(service.sent) > 2)
        parent.kill()
        parent.wait()
        child = int((tmp_path / "pid").read_text())
        wait_for(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes())
        time.sleep(0.3)
        before = len(service.sent)
        time.sleep(0.7)
        assert len(service.sent) == before


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(digest="e2" * 32), "is served with digest e2e2e2e2e2e2, under review is d1d1d1d1d1d1"),
        (Script(digest=""), "is served with no digest"),
        (Script(cache="hit"), "answered from it"),
        (
            Script(steps={"reply": {"status": "ok", "kind": "llm", "cached": True, "tokens_in": 9}}),
            "step reply was answered from a cache of generations",
        ),
    ],
    ids=["another digest", "no digest", "cache of answers", "cache of generations"],
)
def test_answers_of_something_else_end_the_run(tmp_path: Path, script: Script, said: str) -> None:
    """The first answer that is not of the app under review, or not fresh, is told, and no further block is sent."""
    with streaming(script) as service:
        found = generate(tmp_path, plan(tmp_path, service.url, blocks=5, digest=DIGEST))
    assert any(said in sample.foreign for sample in found.samples.values())
    assert len(service.sent) <= 3


def test_a_step_that_asked_nobody_is_no_cache(tmp_path: Path) -> None:
    """Functions, skipped steps and a choice with one option call themselves cached and are not."""
    steps = {
        "read": {"status": "ok", "kind": "function", "cached": True, "tokens_in": 0},
        "reply": {"status": "ok", "kind": "llm", "cached": True, "tokens_in": 0},
        "more": {"status": "skipped", "kind": "llm", "cached": True, "tokens_in": 0},
    }
    with streaming(Script(steps=steps)) as service:
        found = generate(tmp_path, plan(tmp_path, service.url))
    assert {sample.foreign for sample in found.samples.values()} == {""}


def test_settings_of_the_users_own_load_tests_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables and files that configure Locust elsewhere are not read."""
    monkeypatch.setenv("LOCUST_RUN_TIME", "1s")
    monkeypatch.setenv("LOCUST_USERS", "50")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.locust.conf").write_text("run-time = 1s\n")
    with streaming(Script()) as service:
        found = generate(tmp_path, plan(tmp_path, service.url))
        assert len(service.sent) == 6
    assert found.broken == ""
