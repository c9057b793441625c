"""Where an endpoint is, what it calls the model, and the key that it asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.errors import UsageError
from harness.spec.models import Model

_HIDDEN = "[key]"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model behind one OpenAI-compatible address.

    ``base_url`` goes up to ``/v1``, ``label`` names the model in messages, ``timeout_s`` is for a whole request,
    the answer included; None waits for ever.
    """

    base_url: str
    model_id: str
    label: str
    api_key_env: str | None = None
    timeout_s: float | None = 60.0

    @classmethod
    def of(cls, model: Model) -> Endpoint:
        """The endpoint that ``model.yaml`` names."""
        return cls(model.endpoint, model.served_name, f"model {model.name!r}", model.api_key_env, model.timeout_s)

    @property
    def where(self) -> str:
        """The model and its address, for messages."""
        return f"{self.label} at {self.base_url}"

    def key(self) -> str | None:
        """The key in the environment, None if none is asked for; UsageError names the variable that is not set."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            variable = self.api_key_env
            raise UsageError(f"{self.label} takes its key from the environment variable {variable}, which is not set")
        return key

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        key = self.key()
        sent = {"content-type": "application/json"}
        return sent if key is None else {**sent, "authorization": f"Bearer {key}"}

    def scrub(self, text: str) -> str:
        """``text`` without the key: servers quote what they were sent."""
        key = os.environ.get(self.api_key_env or "", "").strip()
        return text.replace(key, _HIDDEN) if key else text
