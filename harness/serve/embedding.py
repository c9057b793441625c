"""Static embeddings: one vector a token, and a text is the mean of its tokens. Needs neither torch nor a GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.serve.gateway.embeddings import Embedded
from harness.serve.protocol import RequestError
from harness.spec.models import Model
from harness.store import fetch


class StaticEmbedding:
    """A matrix ``[vocabulary, size]`` of safetensors with its tokenizer; any thread may call it.

    ``sizes`` are the lengths to which a vector may be cut, in rising order, the full one last: a model of Matryoshka
    training (Kusupati et al. 2022, arXiv 2205.13147) puts what matters most first. SignoffError for files of another
    form.
    """

    def __init__(
        self, weights: Path, tokenizer: Path, *, context: int | None = None, sizes: Sequence[int] = ()
    ) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            matrices = list(load_file(weights).values())
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as problem:  # tokenizers raises nothing more special
            raise SignoffError(f"cannot read the embeddings {weights} with {tokenizer}: {problem}") from problem
        if len(matrices) != 1 or matrices[0].ndim != 2:
            shapes = [list(matrix.shape) for matrix in matrices]
            raise SignoffError(f"{weights} holds tensors of the shapes {shapes}; one matrix is needed")
        (self._vectors,) = matrices
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._context = context
        full = int(self._vectors.shape[1])
        if any(size > full for size in sizes):
            raise SignoffError(f"{weights} has vectors of {full} numbers; they cannot be cut to {max(sizes)}")
        self.sizes: Sequence[int] = sorted({*sizes, full})

    def mean(self, text: str, size: int | None = None) -> tuple[Any, int]:
        """The vector of ``text`` with length 1 and its number of tokens; None where no token or direction is left."""
        import numpy as np

        tokens = self._tokens(text)
        if not tokens:
            return None, 0
        mean = self._vectors[tokens].mean(axis=0, dtype=np.float64)[:size]
        length = float(np.linalg.norm(mean))
        return (mean / length if length > 0 else None), len(tokens)

    def embed(self, texts: Sequence[str], size: int | None = None) -> list[Embedded]:
        """One vector of ``size`` numbers a text; RequestError for a text without tokens or with too many."""
        import numpy as np

        found = []
        for index, text in enumerate(texts):
            vector, tokens = self.mean(text, size)
            if vector is None:
                raise RequestError(f"text {index} of input has no token that the model knows", "input")
            if self._context is not None and tokens > self._context:
                raise RequestError(f"text {index} of input has {tokens} tokens; at most {self._context} fit", "input")
            found.append(Embedded(vector.astype(np.float32), tokens))
        return found

    def _tokens(self, text: str) -> list[int]:
        # The tokenizer takes no lone surrogates, which a broken stream can leave in an output.
        clean = text.encode("utf-8", "replace").decode()
        found = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return [token for token in found if token < len(self._vectors)]


@dataclass(slots=True)
class StaticModel:
    """An embedding model that the gateway serves, fetched and loaded by its first request."""

    model: Model
    root: Path
    cache: Path
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _loaded: StaticEmbedding | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def digest(self) -> str:
        """The content digest of the model."""
        return self.model.digest

    async def embedder(self) -> StaticEmbedding:
        """What computes the vectors; UsageError when the bytes are not what ``model.yaml`` says."""
        async with self._loading:
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(load_static, self.model, self.root, self.cache)
        return self._loaded


def load_static(model: Model, root: Path, cache: Path) -> StaticEmbedding:
    """The embeddings of a model with ``engine: static``; UsageError for any other, and when bytes are not as stated."""
    if model.engine != "static" or model.source is None or model.tokenizer is None:
        raise UsageError(f"model {model.name!r} has engine {model.engine!r}; only 'static' gives embeddings here")
    weights = fetch(model.source, model.sha256, cache=cache, root=root)
    tokenizer = fetch(model.tokenizer, model.tokenizer_sha256, cache=cache, root=root)
    return StaticEmbedding(weights, tokenizer, context=model.context, sizes=model.dimensions)
