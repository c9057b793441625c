"""From messages to tokens: the model's chat template, in which no message can forge a turn."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from harness.serve.protocol import Message, RequestError

_PRIVATE_USE = range(0xE000, 0xF8FF)


class ChatText:
    """Encodes for one tokenizer. Any thread may use it: nothing changes after construction."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._core = tokenizer.backend_tokenizer
        special = sorted({str(token) for token in tokenizer.added_tokens_decoder.values()}, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special))) if special else None
        plain = copy.deepcopy(self._core)
        plain.encode_special_tokens = True
        self._spelled = {text: list(plain.encode(text, add_special_tokens=False).ids) for text in special}

    def encode(self, text: str) -> list[int]:
        """The tokens of ``text`` as it stands; control tokens in it are control tokens."""
        ids: list[int] = self._core.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens`` without control tokens."""
        text: str = self._core.decode(list(tokens), skip_special_tokens=True)
        return text

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation, up to where the answer begins; raises RequestError if there is none.

        A control token that a message spells out (``<|im_end|>``) is read as the letters it is made of: otherwise
        whoever writes a message could end it and speak as somebody else.
        """
        if not messages:
            raise RequestError("messages is empty; it needs at least one message", "messages")
        if self._special is None or not any(self._special.search(message.content) for message in messages):
            return self.encode(self._render(messages))
        return self._spelled_out(messages)

    def _spelled_out(self, messages: Sequence[Message]) -> list[int]:
        assert self._special is not None
        taken = set().union(*(message.content for message in messages))
        mark = next(chr(code) for code in _PRIVATE_USE if chr(code) not in taken)
        found = [match for message in messages for match in self._special.findall(message.content)]
        marked = [Message(message.role, self._special.sub(mark, message.content)) for message in messages]
        first, *rest = self._render(marked).split(mark)
        tokens = self.encode(first)
        for text, part in zip(found, rest, strict=True):
            tokens += self._spelled[text] + self.encode(part)
        return tokens

    def _render(self, messages: Sequence[Message]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as problem:
            # A chat template is code that came with the model; it refuses with whatever exception it likes.
            raise RequestError(f"the chat template refuses these messages: {problem}", "messages") from problem
        return text
