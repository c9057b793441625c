"""Checks: functions of one output that give a score or say why there is none."""

# Importing a module registers its checks.
from harness.evals.checks import (  # noqa: F401
    containing,
    costs,
    edits,
    embeddings,
    entities,
    fields,
    labels,
    lengths,
    matching,
    numbers,
    overlap,
    own_code,
    patterns,
    refusals,
    structure,
    urls,
)
from harness.evals.checks.build import Check, CheckInfo, build_check, catalogue
from harness.evals.checks.labels import Confusion, LabelQuality, confusion
from harness.evals.checks.registry import Built, Context, check
from harness.evals.checks.subject import Run, Score, Subject, Unscored
from harness.evals.promptfoo import check as _promptfoo  # noqa: F401

__all__ = [
    "Built",
    "Check",
    "CheckInfo",
    "Confusion",
    "Context",
    "LabelQuality",
    "Run",
    "Score",
    "Subject",
    "Unscored",
    "build_check",
    "catalogue",
    "check",
    "confusion",
]
