"""A model that never sees who somebody is: placeholders go in, and what they stand for comes back out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import orjson

from harness.data.placeholders import StreamRestorer, Vault
from harness.serve.engine.async_engine import Generator
from harness.serve.gateway.served import ServedModel
from harness.serve.protocol import (
    ChoiceOutput,
    Delta,
    EngineIdentity,
    Generation,
    GenerationRequest,
    JsonOutput,
    Message,
)
from harness.spec.serving import Privacy
from harness.store import digest_of

if TYPE_CHECKING:
    from harness.data import Texts


class PrivateGenerator:
    """A ``Generator`` before another one. Log-probabilities are those of the tokens drawn, placeholders included.

    Prompts of a step are treated as a whole, also what the app itself wrote in them: a shop's own telephone number
    becomes a placeholder too, and comes back as what it was.
    """

    def __init__(self, inner: Generator, anonymiser: Texts) -> None:
        self._inner, self._anonymiser = inner, anonymiser

    @property
    def identity(self) -> EngineIdentity:
        """What computes the answers."""
        return self._inner.identity

    async def generate(self, request: GenerationRequest) -> Generation:
        """The finished answer."""
        hidden = await asyncio.to_thread(self._hide, request)
        return hidden.restored(await self._inner.generate(hidden.request))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Generation, None]:
        """Pieces of text as they come; what may be the beginning of a placeholder waits for its end."""
        hidden = await asyncio.to_thread(self._hide, request)
        restorer = StreamRestorer(hidden.vault, hidden.escape)
        # Every engine's stream is a generator; the protocol promises only what most callers need.
        parts = cast("AsyncGenerator[Delta | Generation, None]", self._inner.stream(hidden.request))
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Generation):
                    rest = restorer.close()
                    if rest:
                        yield Delta(rest)
                    yield hidden.restored(part)
                elif (text := restorer.push(part.text)) or part.logprobs:
                    yield replace(part, text=text)

    def _hide(self, request: GenerationRequest) -> _Hidden:
        vault = Vault()

        def hide(text: str) -> str:
            return self._anonymiser.anonymise(text, vault).text

        messages = tuple(Message(message.role, hide(message.content)) for message in request.messages)
        prompt = None if request.prompt is None else hide(request.prompt)
        output, options = request.output, {}
        if isinstance(output, ChoiceOutput):
            options = {hide(option): option for option in output.options}
            if len(options) == len(output.options):
                output = ChoiceOutput(tuple(options))
            else:
                options = {}
        return _Hidden(replace(request, messages=messages, prompt=prompt, output=output), vault, options)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A request with placeholders, and the way back. ``options``: a choice's options by what the model sees of them."""

    request: GenerationRequest
    vault: Vault
    options: Mapping[str, str]

    def escape(self, original: str) -> str:
        """``original`` as it must stand in the answer: within JSON, as a part of a JSON string."""
        return orjson.dumps(original).decode()[1:-1] if isinstance(self.request.output, JsonOutput) else original

    def restored(self, found: Generation) -> Generation:
        """The answer with the originals back."""
        if self.options:
            scores = None if found.scores is None else {self.options[name]: each for name, each in found.scores.items()}
            return replace(found, text=self.options.get(found.text, found.text), scores=scores)
        return replace(found, text=self.vault.restore(found.text, self.escape))


@dataclass(frozen=True, slots=True)
class PrivateModel:
    """A ``ServedModel`` behind a ``PrivateGenerator``; its digest says that it answers otherwise than the bare one."""

    inner: ServedModel
    anonymiser: Texts
    privacy: Privacy

    @property
    def name(self) -> str:
        """The model's name."""
        return self.inner.name

    @property
    def digest(self) -> str:
        """That of the model together with the settings of privacy."""
        return digest_of({"model": self.inner.digest, "privacy": privacy_mark(self.privacy)})

    @property
    def pinned(self) -> bool:
        """As the model."""
        return self.inner.pinned

    @property
    def parent(self) -> str | None:
        """As the model."""
        return self.inner.parent

    @property
    def adapter(self) -> str | None:
        """As the model."""
        return self.inner.adapter

    async def engine(self) -> Generator:
        """The model's engine, which sees placeholders only."""
        return PrivateGenerator(await self.inner.engine(), self.anonymiser)


def privacy_mark(privacy: Privacy) -> dict[str, Any]:
    """What of the settings changes answers."""
    return privacy.model_dump(mode="json")
