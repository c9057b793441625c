"""The engine ``openai`` against vLLM: what it honours, and that our answers are the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SignoffError
from harness.serve.protocol import ChoiceOutput, Decoding, GenerationRequest, JsonOutput, Message
from harness.spec.models import Model
from tests.peers import programs
from tests.peers.remote import asked, probed, remote, request, statuses, streamed
from tests.peers.small_llama import save_adapter, save_model
from tests.serve.helpers import generated_alone
from tests.serve.served_repo import Served, write_repo

pytestmark = pytest.mark.peer
QUESTIONS = ("Where is my parcel?", "I want my money back.", "Is it true that you sell rope?")
TONE, SAME = "tone/1.0.0", "same/1.0.0"
ADAPTERS = {TONE: "tone-v1", SAME: "same-v1"}


@dataclass(frozen=True)
class Peer:
    """A running vLLM with the models that it serves, as transformers knows them."""

    url: str
    records: Path
    base: Any
    tuned: Any

    @property
    def model(self) -> Model:
        """The base with its adapters."""
        return remote(self.url, "small", adapters=ADAPTERS)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """vLLM over the small Llama, one adapter with an effect and one without."""
    folder = tmp_path_factory.mktemp("vllm")
    base = save_model(folder / "base")
    tuned = save_adapter(folder / "base", folder / "tone", effect=True)
    save_adapter(folder / "base", folder / "same", effect=False)
    port = programs.free_port()
    command = [
        str(programs.vllm() / "bin" / "vllm"), "serve", str(folder / "base"), "--served-model-name", "small",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "512",
        "--max-num-seqs", "8", "--enforce-eager", "--enable-lora", "--max-lora-rank", "8",
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
        "--lora-modules", f"tone-v1={folder / 'tone'}", f"same-v1={folder / 'same'}",
    ]  # fmt: skip
    kernel = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with programs.serving(command, port, folder, **kernel) as url:
        yield Peer(url, folder / "records", base, tuned)


def test_contract(peer: Peer) -> None:
    """It honours everything but that unknown fields and keys that nobody asked for pass in silence."""
    contract = probed(peer.url, "small", peer.records)
    assert statuses(contract) == {"unknown_field": "ignored", "key": "ignored"}
    assert contract.reported["version"].startswith(programs.VLLM)


def test_answers_are_the_models_own(peer: Peer) -> None:
    """Asked all at once, whole or in pieces, greedy answers are token for token those of transformers."""
    from harness.serve.engine.tiny import tiny_tokenizer

    wanted = [request(text) for text in QUESTIONS]
    alone = [_visible(generated_alone(peer.base, tiny_tokenizer(), each)) for each in wanted]
    found = asked(peer.model, peer.records, *wanted)
    assert [_visible(each.text) for each in found] == alone
    pieces, whole = streamed(peer.model, peer.records, wanted[0])
    assert "".join(pieces) == whole.text == found[0].text
    assert (whole.prompt_tokens, whole.completion_tokens) == (found[0].prompt_tokens, found[0].completion_tokens)


def _visible(text: str) -> str:
    # Bytes that are no character are shown by one stand-in here and by several there.
    return text.replace("\ufffd", "")


def test_adapters_are_mixed_up_and_kept_apart(peer: Peer) -> None:
    """In one batch with an adapter vLLM's CPU kernels answer for the base with it; asked by us, each is right."""
    from harness.serve.engine.tiny import tiny_tokenizer

    wanted = [request(text, adapter=adapter) for text in QUESTIONS for adapter in (None, TONE)]
    found = [_visible(each.text) for each in asked(peer.model, peer.records, *wanted)]
    alone = [
        _visible(generated_alone(peer.tuned if each.adapter else peer.base, tiny_tokenizer(), each)) for each in wanted
    ]
    assert found == alone
    assert found[0] != found[1]
    record = probed(peer.url, "tone-v1", peer.records, base="small")
    assert (record.status("chat"), record.status("batch_exact")) == ("honoured", "ignored")


def test_adapter_without_effect_is_refused(peer: Peer) -> None:
    """It is served without a complaint, as the bare model under another name; we find out."""
    with pytest.raises(SignoffError, match="it changes nothing: 4 answers equal those of small"):
        asked(peer.model, peer.records, request("Hello?", adapter=SAME))


def test_decoding_comes_through(peer: Peer) -> None:
    """Seeds repeat, stop strings cut, log-probabilities and forms come as asked for."""
    drawn = [request("Hello?", temperature=1.0, seed=seed) for seed in (5, 5, 6)]
    first, again, other = (each.text for each in asked(peer.model, peer.records, *drawn))
    assert first == again != other
    schema = {"type": "object", "properties": {"warm": {"type": "boolean"}}, "required": ["warm"],
              "additionalProperties": False}  # fmt: skip
    message = (Message("user", "Hello?"),)
    chosen, formed, counted = asked(
        peer.model,
        peer.records,
        GenerationRequest(message, Decoding(max_tokens=60), ChoiceOutput(("refund", "exchange"))),
        GenerationRequest(message, Decoding(max_tokens=60), JsonOutput(schema)),
        GenerationRequest(message, Decoding(max_tokens=6), logprobs=2),
    )
    assert chosen.text in ("refund", "exchange")
    assert formed.text.replace(" ", "") in ('{"warm":true}', '{"warm":false}')
    assert counted.logprobs is not None and len(counted.logprobs) == 6
    assert all(len(token.top) == 2 and token.top[0][2] >= token.top[1][2] for token in counted.logprobs)


APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: reply
    kind: llm
    prompt: desk/reply/1.0.0
    model: far
    adapter: tone/1.0.0
    inputs: {message: inputs.message}
    decoding: {max_tokens: 24}
"""


def test_behind_our_gateway(peer: Peer, tmp_path: Path) -> None:
    """``signoff serve`` answers with a model and an adapter of vLLM's, as an app and bare, whole and in pieces."""
    import openai

    spec = f"""\
    name: far
    engine: openai
    base_url: {peer.url}
    model_id: small
    adapters: {{tone/1.0.0: tone-v1}}
    licence: MIT
    context: 512
    """.replace("\n    ", "\n").lstrip()
    files = {"models/far/model.yaml": spec, "suites/desk/app.yaml": APP}
    root = write_repo(tmp_path / "repo", tmp_path / "cache", **files)
    served = Served(root, tmp_path / "cache", "--app", "desk")
    try:
        served.wait_until_ready()
        client = openai.OpenAI(base_url=served.url, api_key="none", max_retries=0)
        ask: Any = {"messages": [{"role": "user", "content": QUESTIONS[0]}]}
        direct = asked(peer.model, peer.records, request(QUESTIONS[0], adapter=TONE), request(QUESTIONS[0]))
        ask |= {"max_tokens": 24, "temperature": 0}
        said = [client.chat.completions.create(model=name, **ask) for name in ("far", TONE)]
        assert [each.choices[0].message.content for each in said] == [direct[1].text, direct[0].text]
        of_app = client.chat.completions.create(model="desk", messages=ask["messages"])
        assert of_app.choices[0].message.content == direct[0].text
        fresh = {"x-signoff-cache": "bypass"}
        stream = client.chat.completions.create(model="far", stream=True, extra_headers=fresh, **ask)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert "".join(pieces) == direct[1].text and len([piece for piece in pieces if piece]) > 5
    finally:
        assert served.stop() == 0
