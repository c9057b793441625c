"""The in-process engine: a causal language model of transformers, served with continuous batching."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import SignoffError
from harness.serve.engine import packed
from harness.serve.engine.kv_store import BLOCK, KvSlots, PrefixCache, block_keys
from harness.serve.engine.rows import Answer, ChoiceAnswer, Row, TextAnswer
from harness.serve.engine.step_plan import StepPlan, plan_step
from harness.serve.protocol import (
    ChoiceOutput,
    Delta,
    EngineIdentity,
    Event,
    GenerationRequest,
    JsonOutput,
    RequestError,
)

if TYPE_CHECKING:
    import torch

    from harness.serve.engine.json_grammar import JsonGrammars


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """``slots`` requests run at once; one step feeds about ``step_tokens`` prompt tokens, so that a long prompt
    delays running requests by one piece of it only; prompt beginnings of ``prefix_tokens`` tokens are kept.
    """

    slots: int = 32
    step_tokens: int = 256
    prefix_tokens: int = 4096


class TransformersEngine:
    """Serves one model; implements ``Engine``.

    Greedy answers are those of the model alone, whatever else runs: rows share a forward pass but no state, and
    a reused prompt beginning holds the very keys and values that computing it again would give, up to the
    rounding of floats.
    """

    def __init__(
        self, model: Any, tokenizer: Any, identity: EngineIdentity, limits: EngineLimits | None = None
    ) -> None:
        self._limits = limits or EngineLimits()
        self._model, self._tokenizer, self._identity = _prepared(model), tokenizer, identity
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._kv = KvSlots(config.num_hidden_layers, self._limits.slots, heads, size, model.dtype)
        self._prefixes = PrefixCache(self._limits.prefix_tokens)
        self._context = int(config.max_position_embeddings)
        self._vocabulary = int(config.vocab_size)
        self._ends = _ends_of_turn(model, tokenizer)
        self._tickets = itertools.count(1)
        self._waiting: deque[Row] = deque()
        self._running: list[Row] = []
        self._json: JsonGrammars | None = None
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
    def free_slots(self) -> int:
        """How many more requests could run now."""
        return self._limits.slots - len(self._running)

    def prepare(self, request: GenerationRequest) -> Row:
        """The request in tokens; any thread may call it. Raises RequestError if it can never be served."""
        if request.adapter is not None:
            raise RequestError(f"adapter {request.adapter!r} is not loaded; this engine serves the bare model", "model")
        prompt = self._encode_prompt(request)
        row = Row(request, prompt, block_keys(request.adapter, prompt), self._answer(request))
        row.tokens = list(prompt)
        if row.room > self._context:
            rest = row.room - len(prompt)
            raise RequestError(
                f"the prompt has {len(prompt)} tokens and the answer may have {rest}; "
                f"together they must fit the context of {self._context}",
                "max_tokens",
            )
        return row

    def admit(self, prepared: Row) -> int:
        """Queue a prepared request and return its ticket."""
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
        plan = plan_step(self._running, self._kv.data, self._limits.step_tokens)
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
            return [Event(row.ticket, Delta(delta))] if delta else []
        self._evict(row)
        return [Event(row.ticket, Delta(delta) if delta else None, generation=row.answer.result(row))]

    def _start_waiting(self) -> None:
        """Give slots to waiting requests, in order, but let those wait whose beginning is being computed."""
        computing = {key for row in self._running if row.fed < len(row.prompt) for key in row.keys[row.fed // BLOCK :]}
        still: deque[Row] = deque()
        while self._waiting:
            row = self._waiting.popleft()
            useful = row.keys[: (len(row.prompt) - 1) // BLOCK]
            missing = next((key for key in useful if key not in self._prefixes), None)
            shared = missing in computing and self._limits.prefix_tokens > 0
            slot = None if shared else self._kv.take(row.room)
            if slot is None:
                still.append(row)
                if not shared:
                    break
                continue
            row.slot = slot
            self._restore(row, useful)
            self._running.append(row)
            computing.update(row.keys[row.fed // BLOCK :])
        self._waiting = still + self._waiting

    def _restore(self, row: Row, keys: Sequence[bytes]) -> None:
        """Copy the known beginning of the prompt into the slot; the last token is always computed."""
        for block in self._prefixes.matching(keys):
            self._kv.data[:, :, row.slot, :, row.fed : row.fed + BLOCK] = block
            row.fed += BLOCK
        row.cached = row.fed

    def _remember(self, row: Row, before: int) -> None:
        """Keep the prompt blocks that this step completed."""
        for index in range(before // BLOCK, min(row.fed // BLOCK, len(row.keys))):
            part = slice(index * BLOCK, (index + 1) * BLOCK)
            self._prefixes.add(row.keys[index], self._kv.data[:, :, row.slot, :, part])

    def _evict(self, row: Row) -> None:
        self._running.remove(row)
        self._kv.give_back(row.slot)

    def _forward(self, plan: StepPlan) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            head = self._model.get_output_embeddings()
            # Only the places that are read go through the output layer, which is a fifth of a small model's work.
            hook = head.register_forward_pre_hook(lambda _, args: (args[0].index_select(0, plan.places), *args[1:]))
            try:
                found = self._model(
                    input_ids=plan.tokens, position_ids=plan.positions, use_cache=False, packed=plan.packed
                )
            finally:
                hook.remove()
            logits: torch.Tensor = found.logits[:, 0]
            return logits

    def _encode_prompt(self, request: GenerationRequest) -> list[int]:
        if not request.messages:
            raise RequestError("messages is empty; it needs at least one message", "messages")
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as problem:
            # A chat template is code that came with the model; it refuses with whatever exception it likes.
            raise RequestError(f"the chat template refuses these messages: {problem}", "messages") from problem
        return self._encode(text)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _answer(self, request: GenerationRequest) -> Answer:
        from harness.serve.engine.option_tree import option_tree
        from harness.serve.engine.sampling import Sampler
        from harness.serve.engine.text_stream import TextStream

        output, decoding = request.output, request.decoding
        if isinstance(output, ChoiceOutput):
            encoded = [self._encode(option) for option in output.options]
            return ChoiceAnswer(output.options, option_tree(output.options, encoded, self._ends[0]))
        if isinstance(output, JsonOutput) and decoding.stop:
            raise RequestError(f"stop is {list(decoding.stop)!r}, but the schema alone ends JSON output", "stop")
        matcher = self._grammars().matcher(output.schema) if isinstance(output, JsonOutput) else None
        stream = TextStream(self._decode, decoding.stop)
        return TextAnswer(Sampler(decoding), stream, self._ends, decoding.max_tokens, matcher)

    def _grammars(self) -> JsonGrammars:
        from harness.serve.engine.json_grammar import JsonGrammars

        if self._json is None:
            self._json = JsonGrammars(self._tokenizer, self._vocabulary, self._ends)
        return self._json

    def _verify(self) -> None:
        """Compare one forward pass with the model's own attention: an architecture that differs must not serve."""
        import torch

        tokens = [(7 * place + 3) % self._vocabulary for place in range(2 * BLOCK + 3)]
        probe = GenerationRequest(messages=())
        row = Row(probe, tokens, [], self._answer(probe), slot=0, tokens=list(tokens))
        plan = plan_step([row], self._kv.data, 2 * BLOCK)
        self._forward(plan)
        row.fed = 2 * BLOCK
        mine = self._forward(plan_step([row], self._kv.data, 2 * BLOCK))[-1].float()
        self._model.set_attn_implementation("sdpa")
        with torch.inference_mode():
            theirs = self._model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].float()
        self._model.set_attn_implementation(packed.NAME)
        loose = 1e-3 if self._model.dtype == torch.float32 else 5e-2
        if not torch.allclose(mine, theirs, rtol=loose, atol=loose * float(theirs.abs().max())):
            kind = self._model.config.model_type
            raise SignoffError(
                f"model type {kind!r} gives other logits under packed attention; serve it through a remote endpoint"
            )


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
