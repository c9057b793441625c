"""Models: where a base model's bytes come from, or the endpoint that serves it."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from harness.spec.base import Sha256, Slug, Spec
from harness.store import digest_of


class Benchmark(Spec):
    """One published or measured figure of a model, with its source."""

    name: str
    value: float
    source: str


class Model(Spec):
    """``models/<name>/model.yaml``.

    ``engine: transformers`` runs in this project's gateway from pinned bytes; ``engine: openai`` is any
    OpenAI-compatible endpoint, whose key comes from the environment variable ``api_key_env`` and from nowhere else.
    """

    name: Slug
    engine: Literal["transformers", "openai"] = "transformers"
    source: str | None = None
    sha256: Sha256 | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    base_url: str | None = None
    model_id: str | None = None
    api_key_env: str | None = None
    version: str = ""
    timeout_s: float = Field(default=60.0, gt=0)
    licence: str
    parameters: int | None = None
    size_bytes: int | None = None
    context: int = Field(ge=1)
    benchmarks: tuple[Benchmark, ...] = ()
    limits: tuple[str, ...] = ()
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        local = self.engine == "transformers"
        needed = (
            {"source": self.source, "sha256": self.sha256}
            if local
            else {
                "base_url": self.base_url,
                "model_id": self.model_id,
            }
        )
        absent = [key for key, value in needed.items() if not value]
        if absent:
            message = f"model {self.name!r}: engine {self.engine!r} needs {' and '.join(map(repr, absent))}"
            raise ValueError(message)
        return self

    @property
    def pinned(self) -> bool:
        """Whether the bytes behind the name are known; an endpoint's are not."""
        return self.engine == "transformers"

    @property
    def served_name(self) -> str:
        """What an endpoint calls the model; the gateway's name for exactly these bytes holds their digest."""
        return self.model_id or f"{self.name}@{self.digest[:12]}"

    @property
    def endpoint(self) -> str:
        """The model's own endpoint, ``http://host/v1``; empty for an engine of this project."""
        return (self.base_url or "").rstrip("/")

    @cached_property
    def digest(self) -> str:
        """sha256 over what decides the outputs: the file (weights, tokenizer, chat template), engine and dtype."""
        if self.pinned:
            return digest_of({"engine": self.engine, "sha256": self.sha256, "dtype": self.dtype})
        return digest_of({"engine": self.engine, "base_url": self.base_url, "model": self.model_id, "v": self.version})
