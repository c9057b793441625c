"""The stages by name, in the order in which a run measures them."""

from __future__ import annotations

from typing import Literal, get_args

StageName = Literal["data", "regression", "evals", "load", "safety", "promptfoo"]
STAGES: tuple[StageName, ...] = get_args(StageName)
