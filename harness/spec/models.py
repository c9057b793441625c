"""Models: where a base model's bytes come from, or the endpoint that serves it."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from harness.errors import UsageError
from harness.spec.base import Sha256, Slug, Spec
from harness.spec.urls import checked_url
from harness.store import digest_of

AdapterKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*/\d+\.\d+\.\d+$")]
"""An adapter's name and version, as a step writes it: ``tone/1.0.0``."""

Tolerable = Literal["seed", "greedy", "stream"]
"""What an endpoint may be used without if its file says so: it costs repeatability or early pieces, never the text."""


class Benchmark(Spec):
    """One published or measured figure of a model, with its source."""

    name: str
    value: float
    source: str


class Price(Spec):
    """What a million tokens read and written cost, in ``currency`` (as EUR)."""

    input_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "USD"


class Model(Spec):
    """``models/<name>/model.yaml``.

    ``engine: transformers`` runs in this project's gateway from pinned bytes; ``engine: openai`` is any
    OpenAI-compatible endpoint, whose key comes from the environment variable ``api_key_env`` and from nowhere else.
    ``adapters`` says what the endpoint calls each adapter; ``tolerates`` what it is used without. ``training_data``
    names what the model was trained on, as far as its makers say.
    """

    name: Slug
    engine: Literal["transformers", "openai", "static"] = "transformers"
    source: str | None = None
    sha256: Sha256 | None = None
    tokenizer: str | None = None
    tokenizer_sha256: Sha256 | None = None
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    base_url: str | None = None
    model_id: str | None = None
    api_key_env: str | None = None
    version: str = ""
    adapters: dict[AdapterKey, str] = Field(default_factory=dict)
    tolerates: tuple[Tolerable, ...] = ()
    timeout_s: float = Field(default=60.0, gt=0)
    licence: str
    parameters: int | None = None
    size_bytes: int | None = None
    context: int = Field(ge=1)
    benchmarks: tuple[Benchmark, ...] = ()
    training_data: tuple[str, ...] = ()
    price: Price | None = None
    limits: tuple[str, ...] = ()
    description: str = ""

    def __hash__(self) -> int:
        """By digest: the fields hold a mapping."""
        return hash(self.digest)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        bytes_ = {"source": self.source, "sha256": self.sha256}
        vectors = {"tokenizer": self.tokenizer, "tokenizer_sha256": self.tokenizer_sha256}
        remote = {"base_url": self.base_url, "model_id": self.model_id}
        needed = {"transformers": bytes_, "static": bytes_ | vectors, "openai": remote}[self.engine]
        absent = [key for key, value in needed.items() if not value]
        if absent:
            message = f"model {self.name!r}: engine {self.engine!r} needs {' and '.join(map(repr, absent))}"
            raise ValueError(message)
        engines = {**dict.fromkeys(vectors, "static"), "dimensions": "static"}
        engines |= dict.fromkeys(("adapters", "tolerates"), "openai")
        misplaced = [name for name, engine in engines.items() if engine != self.engine and getattr(self, name)]
        if misplaced:
            message = f"model {self.name!r}: {misplaced[0]} is for engine {engines[misplaced[0]]!r}"
            raise ValueError(message)
        if self.base_url:
            try:
                checked_url(self.base_url)
            except UsageError as error:
                message = f"model {self.name!r}: base_url: {error}"
                raise ValueError(message) from error
        return self

    @property
    def pinned(self) -> bool:
        """Whether the bytes behind the name are known; an endpoint's are not."""
        return self.engine != "openai"

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
        if self.engine == "static":
            return digest_of({"engine": self.engine, "sha256": self.sha256, "tokenizer": self.tokenizer_sha256})
        if self.pinned:
            return digest_of({"engine": self.engine, "sha256": self.sha256, "dtype": self.dtype})
        known = {"engine": self.engine, "base_url": self.base_url, "model": self.model_id, "v": self.version}
        more = {"adapters": self.adapters, "tolerates": sorted(self.tolerates)}
        # What a file leaves out is left out here, so that files which never said it keep their digests.
        return digest_of({**known, **{name: value for name, value in more.items() if value}})
