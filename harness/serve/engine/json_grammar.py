"""Keeping generated text inside a JSON Schema: a mask over the vocabulary before every draw."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import SignoffError
from harness.serve.protocol import RequestError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from llguidance import LLMatcher, LLTokenizer

_KEPT = 64
# At most one blank between tokens: free whitespace lets a small model write blanks until it is cut off.
_OPTIONS = {"whitespace_pattern": " ?"}


class Lazy:
    """Grammars built by the first thread that needs them: most engines never do."""

    def __init__(self, build: Callable[[], JsonGrammars]) -> None:
        self._build, self._lock = build, threading.Lock()
        self._built: JsonGrammars | None = None

    def __call__(self) -> JsonGrammars:
        """The grammars, the same at every call."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built


class JsonGrammars:
    """Compiles schemas for one tokenizer and hands out one matcher per request; any thread may ask.

    The last 64 compiled schemas are kept. The compiler bounds its own work (llguidance's limits on the size of
    grammars and on the steps of one lexer), so that no schema can keep it busy for long.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        from llguidance.hf import from_tokenizer

        size = max(vocabulary, len(tokenizer))
        self._tokenizer: LLTokenizer = from_tokenizer(tokenizer, n_vocab=size, eos_token=list(ends))
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, schema: Mapping[str, Any] | None) -> JsonMatcher:
        """A fresh matcher; raises RequestError when the schema is invalid or uses what cannot be enforced."""
        import orjson

        try:
            text = orjson.dumps(dict(schema) if schema is not None else {"type": "object"}).decode()
        except TypeError as problem:
            raise RequestError(f"the JSON schema is not plain JSON: {problem}", "response_format") from None
        with self._lock:
            known = self._compiled.get(text)
        if known is None:
            known = self._compile(text)
        with self._lock:
            self._compiled[text] = known
            self._compiled.move_to_end(text)
            while len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
            return JsonMatcher(known.deep_copy(), self._tokenizer.vocab_size)

    def data_of(self, token: int) -> bytes:
        """The bytes of one token."""
        data: bytes = self._tokenizer.decode_bytes([token])
        return data

    def _compile(self, schema: str) -> LLMatcher:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if not matcher.is_error():
            # Some schemas compile and fail at their first token; others, like {"$ref": "#"}, allow no token at all.
            first = JsonMatcher(matcher.deep_copy(), self._tokenizer.vocab_size)
            if first.allows_something():
                return matcher
            raise RequestError("the JSON schema allows no value", "response_format")
        raise _refused(matcher)


class JsonMatcher:
    """How far one request's text has come in its grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        from llguidance.numpy import allocate_token_bitmask

        self._matcher = matcher
        self._bits: np.ndarray[Any, Any] = allocate_token_bitmask(1, vocabulary)

    def allows_something(self) -> bool:
        """Whether any token may come next; RequestError when the compiler gives up on the schema."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        if self._matcher.is_error() and not self._matcher.is_stopped():
            raise _refused(self._matcher)
        return bool(self._bits.any()) and not self._matcher.is_stopped()

    def restrict(self, logits: torch.Tensor) -> torch.Tensor:
        """``logits`` ``[vocabulary]`` with every token that would leave the grammar at minus infinity."""
        import numpy as np
        import torch
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        if self._matcher.is_error():
            raise _refused(self._matcher)
        allowed = np.unpackbits(self._bits[0].view(np.uint8), bitorder="little", count=logits.shape[0])
        return logits.masked_fill(torch.from_numpy(allowed == 0).to(logits.device), -torch.inf)

    def accept(self, token: int) -> bool:
        """Take the drawn token; True when the text is complete and nothing may follow."""
        if not self._matcher.consume_token(token):
            if self._matcher.is_error():
                raise _refused(self._matcher)
            raise SignoffError(f"token {token} left the JSON grammar: {self._matcher.get_error()}")
        complete: bool = self._matcher.is_stopped()
        return complete


def _refused(matcher: LLMatcher) -> RequestError:
    # The schema is the caller's; that it needs more steps than are allowed shows while text is written, too.
    reason = (matcher.get_error() or "no reason given").strip().splitlines()[0]
    return RequestError(f"the JSON schema cannot be enforced: {reason}", "response_format")
