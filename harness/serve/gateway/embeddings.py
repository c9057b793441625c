"""Embeddings: the body of the route, and the vectors in OpenAI's shape."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import orjson
from pydantic import Field

from harness.serve.gateway.api_errors import ApiError, invalid
from harness.serve.gateway.fields import Closed
from harness.serve.gateway.sampled import ModelName, User
from harness.spec.serving import Limits

# OpenAI's own bound on the texts of one request.
MOST_TEXTS = 2048
# Fewer characters than this make a token nowhere; the embedder counts exactly.
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Embedded:
    """One text as a vector of length 1 (float32), and how many tokens it had."""

    vector: Any
    tokens: int


class Embedder(Protocol):
    """Turns texts into vectors. May be called from any thread."""

    @property
    def sizes(self) -> Sequence[int]:
        """How many numbers a vector may have, the largest last."""
        ...

    def embed(self, texts: Sequence[str], size: int | None = None) -> list[Embedded]:
        """One vector of ``size`` numbers a text; RequestError for a text without tokens or with too many."""
        ...


class ServedEmbedder(Protocol):
    """An embedding model under a name."""

    @property
    def name(self) -> str:
        """The stable name under which the model is listed."""
        ...

    @property
    def digest(self) -> str:
        """The content digest of the model."""
        ...

    async def embedder(self) -> Embedder:
        """What computes the vectors, loaded when it is first asked for."""
        ...


class EmbeddingRequest(Closed):
    """The body of ``POST /v1/embeddings``; ``input`` is one text or several, tokens are not taken."""

    model: ModelName
    input: str | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MOST_TEXTS)]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    user: User | None = None

    def texts(self) -> list[str]:
        """The texts."""
        return [self.input] if isinstance(self.input, str) else self.input

    def estimated_tokens(self) -> int:
        """About how many tokens the texts have."""
        return sum(len(text) for text in self.texts()) // _CHARACTERS_A_TOKEN + 1

    def check(self, limits: Limits, sizes: Sequence[int]) -> None:
        """ApiError for an empty text, for more text than is allowed, and for a size that the model does not have."""
        if not all(self.texts()):
            raise invalid("input holds an empty text; every text needs at least one character", "input")
        tokens = self.estimated_tokens()
        if tokens > limits.prompt_tokens:
            message = f"input has about {tokens} tokens; {limits.prompt_tokens} are allowed in one request"
            raise ApiError(400, message, param="input", code="prompt_too_long")
        if self.dimensions is not None and self.dimensions not in sizes:
            known = ", ".join(map(str, sizes))
            raise invalid(f"dimensions is {self.dimensions}; {self.model!r} was trained for {known}", "dimensions")

    def answer(self, found: Sequence[Embedded], digest: str) -> bytes:
        """The body of the answer."""
        tokens = sum(each.tokens for each in found)
        data = [
            {"object": "embedding", "index": index, "embedding": self._encoded(each.vector)}
            for index, each in enumerate(found)
        ]
        body = {
            "object": "list",
            "data": data,
            "model": self.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "signoff": {"digest": digest},
        }
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def _encoded(self, vector: Any) -> Any:
        if self.encoding_format == "float":
            return vector
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
