"""What is asked of a model and what comes back: the records shared by every engine, and the engine's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.errors import SignoffError, UsageError

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


class RequestError(UsageError):
    """A request that cannot be served as asked; ``param`` names the field to mend."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class OverloadedError(SignoffError):
    """There is no room for another request now; ``retry_after_s`` is when asking again makes sense."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 switch the cuts off.

    ``seed`` fixes the draw of this request alone: it does not depend on what else is in the batch.
    ``stop`` are strings that end the text and are not part of it. ``logit_bias`` adds to the logits of token ids.
    ``ignore_eos`` goes on after the end of the turn until ``max_tokens``: for measuring speed.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        """Refuse values outside their range, naming the field."""
        for name, ok, right in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0.0 <= self.temperature <= 2.0, "between 0 and 2"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("seed", -(2**63) <= self.seed < 2**63, "a 64-bit integer"),
            ("stop", all(self.stop), "without empty strings"),
            ("logit_bias", all(-100 <= bias <= 100 for _, bias in self.logit_bias), "between -100 and 100 each"),
        ):
            if not ok:
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be {right}", name)


@dataclass(frozen=True, slots=True)
class TextOutput:
    """Free text."""

    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class ChoiceOutput:
    """One of ``options``: each is scored by its total log-probability and the best is the answer.

    The end-of-turn token is part of every option, so that an option which begins another one is compared
    fairly; it is left out when every option is one single token, because it then decides nothing.
    """

    options: tuple[str, ...]
    kind: Literal["choice"] = "choice"

    def __post_init__(self) -> None:
        """Refuse fewer than two options, empty ones and duplicates."""
        if len(self.options) < 2:
            raise RequestError(f"a choice needs at least two options, got {list(self.options)!r}", "options")
        if not all(self.options):
            raise RequestError("an option is the empty string; every option needs text", "options")
        twice = sorted({option for option in self.options if self.options.count(option) > 1})
        if twice:
            raise RequestError(f"options occur more than once: {twice!r}", "options")


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """JSON that obeys ``schema`` (a JSON Schema), or any JSON object when it is None.

    Valid by construction unless the text was cut by ``max_tokens``: look at ``finish_reason``.
    """

    schema: Mapping[str, Any] | None = None
    kind: Literal["json"] = "json"


Output = TextOutput | ChoiceOutput | JsonOutput


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One call of a model. ``adapter`` is the digest of a LoRA adapter, or None for the bare model.

    ``prompt`` is raw text to continue, without a chat template; ``messages`` are empty then. ``logprobs`` asks for
    the log-probability of every token drawn, with that many alternatives (0 to 20); None asks for none.
    """

    messages: tuple[Message, ...]
    decoding: Decoding = field(default_factory=Decoding)
    output: Output = field(default_factory=TextOutput)
    adapter: str | None = None
    prompt: str | None = None
    logprobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse alternatives outside 0 to 20, and a raw prompt beside messages."""
        if self.logprobs is not None and not 0 <= self.logprobs <= 20:
            raise RequestError(f"logprobs is {self.logprobs!r}; it must be between 0 and 20", "top_logprobs")
        if self.prompt is not None and self.messages:
            raise RequestError("prompt and messages were both given; send one of them", "prompt")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token drawn: its text, its bytes and its log-probability under the whole vocabulary, before any cut.

    ``top`` are the likeliest tokens at its place, best first, as (text, bytes, log-probability).
    """

    text: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer while it is written: new text, and the tokens behind it if they were asked for.

    The text may be empty while a character or a possible stop string is unfinished. ``prompt_tokens`` were read and
    ``completion_tokens`` drawn so far; both are 0 where the engine counts at the end only.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = field(default=0, compare=False)
    completion_tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model answered.

    ``scores`` holds one log-probability per option, normalised over the options (their exponentials sum to 1);
    None for text and JSON. ``completion_tokens`` counts every token drawn, the end-of-turn token included.
    ``latency_ms`` runs from admission to the last token; ``queue_ms`` of it passed before the request had a slot.
    ``cached_prompt_tokens`` were not computed again.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    scores: Mapping[str, float] | None = None
    latency_ms: float = 0.0
    cached_prompt_tokens: int = 0
    queue_ms: float = 0.0
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """All that decides what an engine computes beyond the model's bytes: a part of every generation's cache key."""

    engine: str
    version: str
    dtype: str
    cpu_capability: str
    tokenizer_digest: str

    def as_dict(self) -> dict[str, str]:
        """The identity as plain data, in the order of the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EngineStats:
    """How busy an engine is: requests with a slot and without one, and tokens of key/value memory.

    ``prompt_tokens`` and ``reused_tokens`` count since the start: prompt tokens read, and those of them whose state
    was found among the kept prompt beginnings.
    """

    running: int = 0
    waiting: int = 0
    kv_tokens_used: int = 0
    kv_tokens_budget: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a step produced for one ticket: new text, the finished generation, or what went wrong."""

    ticket: int
    delta: Delta | None = None
    generation: Generation | None = None
    error: Exception | None = None


class Engine(Protocol):
    """Serves many requests at once, one step at a time. Not thread-safe: one thread owns it."""

    @property
    def identity(self) -> EngineIdentity:
        """What this engine is."""
        ...

    @property
    def busy(self) -> bool:
        """True while an admitted request is unfinished."""
        ...

    @property
    def stats(self) -> EngineStats:
        """How full this engine is now."""
        ...

    def load_adapter(self, digest: str, folder: Path) -> None:
        """Serve the adapter in ``folder`` under ``digest``; raises UsageError if it does not fit or does nothing."""
        ...

    def prepare(self, request: GenerationRequest) -> Any:
        """Do what may take long (tokens, grammars); any thread may call it. RequestError if it can never be served."""
        ...

    def admit(self, prepared: Any) -> int:
        """Queue a prepared request and return its ticket; raises OverloadedError when the queue is full."""
        ...

    def step(self) -> list[Event]:
        """Advance every running request by one forward pass; an empty list when there is nothing to do."""
        ...

    def cancel(self, ticket: int) -> None:
        """Forget a request and free its row at once; unknown or finished tickets are ignored."""
        ...
