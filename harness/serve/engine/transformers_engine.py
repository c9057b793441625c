"""The in-process engine: a causal language model of transformers, served with continuous batching."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import SignoffError, UsageError
from harness.serve.engine import packed
from harness.serve.engine.adapters import AdapterBank
from harness.serve.engine.chat_text import ChatText
from harness.serve.engine.json_grammar import JsonGrammars, Lazy
from harness.serve.engine.kv_store import BLOCK, KvPool, KvShape, PrefixCache, block_keys
from harness.serve.engine.logprobs import LogprobTeller
from harness.serve.engine.option_tree import option_tree
from harness.serve.engine.rows import Answer, ChoiceAnswer, Row, TextAnswer
from harness.serve.engine.sampling import Sampler
from harness.serve.engine.step_plan import StepPlan, plan_step
from harness.serve.engine.text_stream import TextStream
from harness.serve.protocol import (
    ChoiceOutput,
    EngineIdentity,
    EngineStats,
    Event,
    GenerationRequest,
    JsonOutput,
    OverloadedError,
    RequestError,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much one engine takes on.

    ``slots`` requests run at once; one step feeds about ``step_tokens`` prompt tokens, so that a long prompt
    delays running requests by one piece of it only; prompt beginnings of ``prefix_tokens`` tokens are kept; keys
    and values of running requests take memory for ``kv_tokens`` tokens at most; ``queue`` requests may wait.
    """

    slots: int = 32
    step_tokens: int = 256
    prefix_tokens: int = 4096
    kv_tokens: int = 32_768
    queue: int = 256


class TransformersEngine:
    """Serves one model and its LoRA adapters; implements ``Engine``.

    Greedy answers are those of the request alone, whatever else runs: rows share a forward pass but no state, and
    a reused prompt beginning holds the very keys and values that computing it again would give, up to the
    rounding of floats.
    """

    def __init__(
        self, model: Any, tokenizer: Any, identity: EngineIdentity, limits: EngineLimits | None = None
    ) -> None:
        self._limits = limits or EngineLimits()
        self._model, self._tokenizer, self._identity = _prepared(model), tokenizer, identity
        self._chat = ChatText(tokenizer)
        self._context = int(model.config.get_text_config().max_position_embeddings)
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._kv = KvPool(_kv_shape(model), self._limits.slots, self._limits.kv_tokens, self._context)
        self._prefixes = PrefixCache(self._limits.prefix_tokens)
        self._adapters = AdapterBank(model)
        self._ends = _ends_of_turn(model, tokenizer)
        self._tickets = itertools.count(1)
        self._waiting: deque[Row] = deque()
        self._running: list[Row] = []
        self._grammars = Lazy(lambda: JsonGrammars(self._tokenizer, self._vocabulary, self._ends))
        self._prompt_tokens = self._reused_tokens = 0
        self._verify()

    @property
    def identity(self) -> EngineIdentity:
        """What this engine is."""
        return self._identity

    @property
    def busy(self) -> bool:
        """True while an admitted request is unfinished."""
        return bool(self._waiting or self._running)

    @property
    def capacity(self) -> int:
        """How many requests may be in the engine at once, running or waiting."""
        return self._limits.slots + self._limits.queue

    @property
    def stats(self) -> EngineStats:
        """How full the engine is now."""
        return EngineStats(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_tokens_used=self._kv.held,
            kv_tokens_budget=self._kv.budget,
            prompt_tokens=self._prompt_tokens,
            reused_tokens=self._reused_tokens,
        )

    def load_adapter(self, digest: str, folder: Path) -> None:
        """Serve the PEFT adapter in ``folder`` under ``digest``; a known digest is not read again.

        Raises UsageError for an adapter that does not fit the model, and for one that changes nothing.
        """
        if digest in self._adapters:
            return
        self._adapters.add(self._adapters.read(digest, folder))
        if not self._alive(digest):
            self._adapters.remove(digest)
            raise UsageError(f"adapter {folder} changes no output of the model; build it again")

    def prepare(self, request: GenerationRequest) -> Row:
        """The request in tokens; any thread may call it. Raises RequestError if it can never be served."""
        if request.adapter is not None and request.adapter not in self._adapters:
            raise RequestError(f"adapter {request.adapter!r} is not loaded into this engine", "model")
        unknown = [token for token, _ in request.decoding.logit_bias if not 0 <= token < self._vocabulary]
        if unknown:
            raise RequestError(
                f"logit_bias names token {unknown[0]}; the vocabulary has {self._vocabulary}", "logit_bias"
            )
        prompt = self._prompt(request)
        answer = self._answer(request)
        if isinstance(answer, TextAnswer):
            answer.read = len(prompt)
        row = Row(request, prompt, block_keys(request.adapter, prompt), answer)
        row.tokens = list(prompt)
        room = min(self._context, self._kv.budget)
        if row.room > room:
            rest = row.room - len(prompt)
            raise RequestError(
                f"the prompt has {len(prompt)} tokens and the answer may have {rest}; "
                f"together they must fit the context of {room}",
                "max_tokens" if len(prompt) < room else "messages" if request.prompt is None else "prompt",
            )
        return row

    def admit(self, prepared: Row) -> int:
        """Queue a prepared request and return its ticket; OverloadedError when too many wait already."""
        if len(self._waiting) >= self._limits.queue:
            raise OverloadedError(f"{len(self._waiting)} requests wait already; try again later", 1.0)
        prepared.ticket = next(self._tickets)
        self._waiting.append(prepared)
        return prepared.ticket

    def cancel(self, ticket: int) -> None:
        """Forget a request and free its slot at once; unknown or finished tickets are ignored."""
        self._waiting = deque(row for row in self._waiting if row.ticket != ticket)
        for row in [row for row in self._running if row.ticket == ticket]:
            self._evict(row)

    def step(self) -> list[Event]:
        """Advance the running requests by one forward pass; an empty list when there is nothing to do."""
        self._start_waiting()
        if not self._running:
            return []
        plan = plan_step(self._running, self._limits.step_tokens, self._model.device)
        logits = self._forward(plan)
        events: list[Event] = []
        for row, fed in plan.feeds:
            before, row.fed = row.fed, row.fed + fed
            self._remember(row, before)
        for row, places in plan.reads:
            events.extend(self._advance(row, logits[places]))
        return events

    def _advance(self, row: Row, logits: torch.Tensor) -> list[Event]:
        try:
            delta, token = row.answer.take(logits)
        except SignoffError as problem:
            self._evict(row)
            return [Event(row.ticket, error=problem)]
        if token is not None:
            row.tokens.append(token)
            return [Event(row.ticket, delta)] if delta else []
        self._evict(row)
        return [Event(row.ticket, delta, generation=row.answer.result(row))]

    def _start_waiting(self) -> None:
        """Give slots to waiting requests, in order, but let those wait whose beginning is being computed."""
        computing = {key for row in self._running if row.fed < len(row.prompt) for key in row.keys[row.fed // BLOCK :]}
        still: deque[Row] = deque()
        while self._waiting and len(self._running) < self._limits.slots:
            row = self._waiting.popleft()
            useful = row.keys[: (len(row.prompt) - 1) // BLOCK]
            missing = next((key for key in useful if key not in self._prefixes), None)
            shared = missing in computing and self._limits.prefix_tokens > 0
            place = None if shared else self._kv.take(row.room)
            if place is None:
                still.append(row)
                if not shared:
                    break
                continue
            row.placed, row.running = place, time.perf_counter()
            self._restore(row, useful)
            self._running.append(row)
            computing.update(row.keys[row.fed // BLOCK :])
        self._waiting = still + self._waiting

    def _restore(self, row: Row, keys: Sequence[bytes]) -> None:
        """Copy the known beginning of the prompt into the slot; the last token is always computed."""
        for block in self._prefixes.matching(keys):
            row.place.data[:, :, :, row.fed : row.fed + BLOCK] = block
            row.fed += BLOCK
        row.cached = row.fed
        self._prompt_tokens += len(row.prompt)
        self._reused_tokens += row.cached

    def _remember(self, row: Row, before: int) -> None:
        """Keep the prompt blocks that this step completed."""
        for index in range(before // BLOCK, min(row.fed // BLOCK, len(row.keys))):
            part = slice(index * BLOCK, (index + 1) * BLOCK)
            self._prefixes.add(row.keys[index], row.place.data[:, :, :, part])

    def _evict(self, row: Row) -> None:
        self._running.remove(row)
        self._kv.give_back(row.place)

    def _forward(self, plan: StepPlan) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            head = self._model.get_output_embeddings()
            # Only the places that are read go through the output layer, which is a fifth of a small model's work.
            hook = head.register_forward_pre_hook(lambda _, args: (args[0].index_select(0, plan.places), *args[1:]))
            self._adapters.routing = self._adapters.route(plan.adapters)
            try:
                found = self._model(
                    input_ids=plan.tokens, position_ids=plan.positions, use_cache=False, packed=plan.packed
                )
            finally:
                hook.remove()
                self._adapters.routing = None
            logits: torch.Tensor = found.logits[:, 0]
            return logits

    def _prompt(self, request: GenerationRequest) -> list[int]:
        if request.prompt is None:
            return self._chat.prompt(request.messages)
        tokens = self._chat.encode(request.prompt)
        if not tokens:
            raise RequestError("prompt is empty; it needs at least one token", "prompt")
        return tokens

    def _answer(self, request: GenerationRequest) -> Answer:
        output, decoding = request.output, request.decoding
        if isinstance(output, ChoiceOutput):
            if request.logprobs is not None:
                raise RequestError("a choice scores its options already; logprobs are for text", "logprobs")
            encoded = [self._chat.encode(option) for option in output.options]
            return ChoiceAnswer(output.options, option_tree(output.options, encoded, self._ends[0]))
        if isinstance(output, JsonOutput) and decoding.stop:
            raise RequestError(f"stop is {list(decoding.stop)!r}, but the schema alone ends JSON output", "stop")
        stream = TextStream(self._chat.decode, decoding.stop)
        ends = () if decoding.ignore_eos else self._ends
        answer = TextAnswer(Sampler(decoding), stream, ends, decoding.max_tokens)
        if isinstance(output, JsonOutput):
            answer.matcher = self._grammars().matcher(output.schema)
        if request.logprobs is not None:
            answer.teller = LogprobTeller(self._grammars().data_of, request.logprobs)
        return answer

    def _probe(self, adapter: str | None) -> torch.Tensor:
        """The logits of a fixed text fed in two pieces through the slots, ``[vocabulary]``."""
        tokens = [(7 * place + 3) % self._vocabulary for place in range(2 * BLOCK + 3)]
        request = GenerationRequest(messages=(), adapter=adapter)
        row = Row(request, tokens, [], self._answer(request), tokens=list(tokens), placed=self._kv.take(len(tokens)))
        if row.placed is None:
            raise OverloadedError("no slot is free to try an adapter", 1.0)
        try:
            self._forward(plan_step([row], 2 * BLOCK, self._model.device))
            row.fed = 2 * BLOCK
            return self._forward(plan_step([row], 2 * BLOCK, self._model.device))[-1].float()
        finally:
            self._kv.give_back(row.place)

    def _alive(self, digest: str) -> bool:
        """Whether an adapter changes the logits: one that does nothing has been loaded wrongly, or never trained."""
        bare = self._probe(None)
        return bool((self._probe(digest) - bare).abs().max() > 1e-5 * bare.abs().max())

    def _verify(self) -> None:
        """Compare one forward pass with the model's own attention: an architecture that differs must not serve."""
        import torch

        mine = self._probe(None)
        tokens = [(7 * place + 3) % self._vocabulary for place in range(2 * BLOCK + 3)]
        self._model.set_attn_implementation("sdpa")
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self._model.device)
            theirs = self._model(input_ids=ids, use_cache=False).logits[0, -1].float()
        self._model.set_attn_implementation(packed.NAME)
        loose = 1e-3 if self._model.dtype == torch.float32 else 5e-2
        if not torch.allclose(mine, theirs, rtol=loose, atol=loose * float(theirs.abs().max())):
            kind = self._model.config.model_type
            raise SignoffError(
                f"model type {kind!r} gives other logits under packed attention; serve it through a remote endpoint"
            )


def _kv_shape(model: Any) -> KvShape:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return KvShape(config.num_hidden_layers, heads, size, model.dtype, model.device)


def _prepared(model: Any) -> Any:
    """The model in evaluation mode with packed attention; raises SignoffError for unsupported attention."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if kinds != {"full_attention"} or (window and not getattr(config, "layer_types", None)):
        raise SignoffError(
            f"model type {config.model_type!r} uses attention of kind {sorted(kinds)} with window {window}; "
            "the in-process engine serves full attention only: serve it through a remote endpoint"
        )
    packed.register()
    model.set_attn_implementation(packed.NAME)
    return model.eval()


def _ends_of_turn(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer, the generation config's first: a tokenizer out of a GGUF file may err."""
    named = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends: list[int] = [named] if isinstance(named, int) else list(named or [])
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    if not ends:
        raise SignoffError("neither the tokenizer nor the generation config names an end-of-turn token")
    return tuple(ends)
