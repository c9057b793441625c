"""The engine ``openai`` against llama.cpp's Python server: much that it does not honour, and none of it passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.serve.protocol import ChoiceOutput, GenerationRequest, Message, RequestError
from harness.spec.models import Model
from harness.spec.yaml_file import load
from harness.store import fetch
from tests.conftest import USER_CACHE
from tests.peers import programs
from tests.peers.remote import asked, probed, remote, request, statuses, streamed
from tests.run.project import ROOT

pytestmark = pytest.mark.peer


@dataclass(frozen=True)
class Peer:
    """A running server."""

    url: str
    records: Path


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The server over the model that ships, in its own format."""
    folder = tmp_path_factory.mktemp("llama")
    file = ROOT / "models/smollm2-135m/model.yaml"
    model, problems = load(file, str(file), Model)
    assert model is not None and model.source is not None and model.sha256 is not None, problems
    gguf = fetch(model.source, model.sha256, cache=USER_CACHE, root=ROOT)
    port = programs.free_port()
    command = [
        str(programs.llama_cpp() / "bin" / "python"), "-m", "llama_cpp.server", "--model", str(gguf),
        "--model_alias", "smol", "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048",
        "--n_threads", "1", "--n_threads_batch", "1",
    ]  # fmt: skip
    with programs.serving(command, port, folder) as url:
        yield Peer(url, folder / "records")


def test_contract(peer: Peer) -> None:
    """What it says and does not do is found out, feature by feature."""
    contract = probed(peer.url, "smol", peer.records)
    assert statuses(contract) == {
        # What it kept of the last prompt changes the numbers, and a penalty of 1.1 is on unless it is switched off.
        "greedy": "ignored",
        "max_completion_tokens": "ignored",
        "n": "ignored",
        # Its checks of the body answer 500.
        "json_schema": "unknown",
        "error_shape": "ignored",
        "stream_usage": "ignored",
        # A new request breaks a running stream off.
        "parallel": "ignored",
        "batch_exact": "ignored",
        "unknown_field": "ignored",
        "key": "ignored",
    }


def test_greedy_answers_need_the_owners_word(peer: Peer) -> None:
    """They differ from call to call, so they are refused until model.yaml says that this is known."""
    question = request("Describe a walk through a forest on a rainy day.")
    with pytest.raises(RequestError, match=r"'greedy'.*tolerates") as raised:
        asked(remote(peer.url, "smol"), peer.records, question)
    assert raised.value.param == "temperature"
    (found,) = asked(remote(peer.url, "smol", tolerates=("greedy",)), peer.records, question)
    assert (found.finish_reason, found.completion_tokens) == ("length", 24)


def test_seeds_repeat(peer: Peer) -> None:
    """Drawn answers depend on the seed alone."""
    drawn = [request("Name a fruit.", temperature=1.0, seed=seed) for seed in (5, 5, 6)]
    for _ in range(2):
        first, again, _other = asked(remote(peer.url, "smol"), peer.records, *drawn)
        assert first.text == again.text


def test_streams_are_refused_or_come_in_one_piece(peer: Peer) -> None:
    """Its streams count no tokens."""
    question = request("Name a fruit.", temperature=1.0, seed=1, max_tokens=8)
    with pytest.raises(RequestError, match="'stream_usage'"):
        streamed(remote(peer.url, "smol"), peer.records, question)
    pieces, whole = streamed(remote(peer.url, "smol", tolerates=("stream",)), peer.records, question)
    assert pieces == [whole.text] and whole.completion_tokens > 0


def test_choice_is_refused(peer: Peer) -> None:
    """It cannot be held to a schema."""
    choice = GenerationRequest((Message("user", "Blue or red?"),), output=ChoiceOutput(("blue", "red")))
    with pytest.raises(RequestError) as raised:
        asked(remote(peer.url, "smol", tolerates=("greedy",)), peer.records, choice)
    assert raised.value.param == "response_format"
