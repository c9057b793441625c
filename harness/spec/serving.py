"""``serve.yaml``: how a gateway behaves that is no part of an app. Every value has a default; the file is optional."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from harness.errors import Problem, UsageError
from harness.spec.base import Spec
from harness.spec.yaml_file import load

FILE = "serve.yaml"


class Limits(Spec):
    """What one request may ask for, and what one key may if its own entry says nothing.

    Bytes of a body, tokens of a prompt, tokens of an answer times ``n``; seconds to send the headers, to send the
    body, to stay silent between two requests, and to take a piece of an answer that is ready.
    """

    body_bytes: int = Field(default=4 * 2**20, ge=1024)
    prompt_tokens: int = Field(default=32_768, ge=1)
    answer_tokens: int = Field(default=8_192, ge=1)
    choices: int = Field(default=8, ge=1, le=128)
    stop_strings: int = Field(default=8, ge=1)
    logit_biases: int = Field(default=300, ge=0)
    schema_bytes: int = Field(default=65_536, ge=16)
    schema_depth: int = Field(default=32, ge=1)
    header_seconds: float = Field(default=10.0, gt=0)
    body_seconds: float = Field(default=30.0, gt=0)
    idle_seconds: float = Field(default=30.0, gt=0)
    write_seconds: float = Field(default=60.0, gt=0)
    requests_per_minute: int = Field(default=600, ge=1)
    tokens_per_minute: int = Field(default=1_000_000, ge=1)
    concurrent: int = Field(default=64, ge=1)
    queue: int = Field(default=256, ge=1)


class Privacy(Spec):
    """What is replaced before anything is kept (always), and before the model sees it (``before_model``)."""

    before_model: bool = False
    threshold: float = Field(default=0.4, ge=0, le=1)
    entities: tuple[str, ...] | None = None


class Traces(Spec):
    """The log of requests that monitoring reads: one file is closed at ``megabytes`` or after ``hours``.

    ``texts`` false keeps figures only. Files older than ``days`` are removed.
    """

    texts: bool = True
    megabytes: float = Field(default=64.0, gt=0)
    hours: float = Field(default=24.0, gt=0)
    days: int = Field(default=30, ge=1)


class Answers(Spec):
    """The cache of whole answers."""

    enabled: bool = True
    seconds: float = Field(default=86_400.0, gt=0)
    megabytes: float = Field(default=256.0, gt=0)


class Serving(Spec):
    """``serve.yaml`` in the repository's root."""

    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    traces: Traces = Traces()
    cache: Answers = Answers()


def read_serving(root: Path) -> tuple[Serving, list[Problem]]:
    """The settings of the repository at ``root``, and every problem of the file; the defaults without one."""
    path = root / FILE
    settings, problems = load(path, FILE, Serving) if path.exists() else (None, [])
    return settings or Serving(), problems


def load_serving(root: Path) -> Serving:
    """The settings of the repository at ``root``; UsageError holds every problem."""
    settings, problems = read_serving(root)
    if problems:
        raise UsageError.of(problems)
    return settings
