"""Log-probabilities in OpenAI's two shapes: that of chats and that of completions."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from harness.serve.protocol import TokenLogprob

# JSON has no infinity; this is what OpenAI writes for a token that cannot come.
_NEVER = -9999.0


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """``choices[].logprobs`` of a chat completion."""
    content = [
        {
            **_entry(token.text, token.data, token.logprob),
            "top_logprobs": [_entry(text, data, logprob) for text, data, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _entry(text: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(data), "logprob": max(logprob, _NEVER)}


class CompletionLogprobs:
    """``choices[].logprobs`` of one choice of a completion, piece by piece: offsets count from its first character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def shape(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The next tokens."""
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            # A character may be cut between tokens: it counts when its last byte is there.
            self._offset += len(self._decoder.decode(token.data))
        return {
            "tokens": [_name(token.text, token.data) for token in tokens],
            "token_logprobs": [max(token.logprob, _NEVER) for token in tokens],
            "top_logprobs": [{_name(text, data): max(each, _NEVER) for text, data, each in t.top} for t in tokens],
            "text_offset": offsets,
        }


def _name(text: str, data: bytes) -> str:
    # Tokens that are part of a character all read alike; named by their bytes they do not hide each other.
    return text if "\ufffd" not in text else "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
