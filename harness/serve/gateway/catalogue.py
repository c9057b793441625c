"""Everything that a gateway serves, by name: who may see it, and how it is described."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.serve.gateway.access import authorise
from harness.serve.gateway.api_errors import invalid, no_model
from harness.serve.gateway.embeddings import ServedEmbedder
from harness.serve.gateway.served import ServedApp, ServedModel
from harness.serve.gateway.turn import Principal

_CHAT, _COMPLETIONS, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


class Catalogue:
    """Models, apps and embedders by the names that callers use.

    A name other than the thing's own (that of an arm, or one that holds a digest) can be called but is not listed.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        apps: Mapping[str, ServedApp],
        embedders: Mapping[str, ServedEmbedder] | None = None,
    ) -> None:
        """UsageError when two of them share a name."""
        self.models, self.apps, self.embedders = models, apps, embedders or {}
        names = [*models, *apps, *self.embedders]
        both = sorted({name for name in names if names.count(name) > 1})
        if both:
            shared = ", ".join(both)
            raise UsageError(f"these names mean a model and an app at once: {shared}; rename one of each")
        self._created = int(time.time())

    def generating(self, principal: Principal, name: str) -> ServedApp | ServedModel:
        """The app or model called ``name``; ApiError 404 if there is none for this key, 400 for an embedder."""
        app, model = self.apps.get(name), self.models.get(name)
        if app is not None:
            authorise(principal, name)
            return app
        if model is not None:
            _authorise(principal, name, model.name)
            return model
        self.embedding(principal, name)
        raise invalid(f"{name!r} is an embedding model: it answers POST {_EMBEDDINGS}", "model")

    def embedding(self, principal: Principal, name: str) -> ServedEmbedder:
        """The embedder called ``name``; ApiError 404 if there is none for this key, 400 for what writes text."""
        embedder = self.embedders.get(name)
        if embedder is None:
            if name in self.apps or name in self.models:
                self.generating(principal, name)
                raise invalid(f"{name!r} is no embedding model", "model")
            raise no_model(name)
        _authorise(principal, name, embedder.name)
        return embedder

    def cards(self, principal: Principal) -> list[dict[str, Any]]:
        """The description of everything that the key may call."""
        own = [name for name, app in self.apps.items() if app.name == name]
        own += [name for name, model in self.models.items() if model.name == name]
        own += [name for name, embedder in self.embedders.items() if embedder.name == name]
        return [self._card(name) for name in own if principal.may_call(name)]

    def card(self, principal: Principal, name: str) -> dict[str, Any]:
        """The description of one of them; ApiError 404 if there is none for this key."""
        if name in self.embedders:
            self.embedding(principal, name)
        else:
            self.generating(principal, name)
        return self._card(name)

    def _card(self, name: str) -> dict[str, Any]:
        card = {"id": name, "object": "model", "created": self._created, "owned_by": "signoff"}
        if name in self.apps:
            return {**card, "kind": "app", "digest": self.apps[name].digest, "routes": [_CHAT]}
        if name in self.embedders:
            return {**card, "kind": "model", "digest": self.embedders[name].digest, "routes": [_EMBEDDINGS]}
        model = self.models[name]
        kind = {"kind": "model"} if model.parent is None else {"kind": "adapter", "parent": model.parent}
        return {**card, **kind, "digest": model.digest, "routes": [_CHAT, _COMPLETIONS]}


def _authorise(principal: Principal, name: str, stable: str) -> None:
    # A key for a model may also ask for exactly these bytes of it.
    if not principal.may_call(stable):
        authorise(principal, name)
