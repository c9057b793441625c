"""What an output cost: time and tokens. A cached output keeps the figures of its original call."""

from __future__ import annotations

from typing import Literal

from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, Unscored


@check("latency", unit="ms", range=(0.0, None), better="lower", reads_output=False)
def latency() -> Run:
    """Milliseconds until the output was there; those of the original call where it came from the cache."""

    def run(subject: Subject) -> Score:
        if subject.latency_ms is None:
            raise Unscored("no latency was recorded")
        return Score(float(subject.latency_ms))

    return run


@check("tokens", unit="tokens", range=(0.0, None), better="lower", reads_output=False)
def tokens(*, count: Literal["total", "in", "out"] = "total") -> Run:
    """Tokens read, written or both."""

    def run(subject: Subject) -> Score:
        wanted = {"in": (subject.tokens_in,), "out": (subject.tokens_out,)}.get(
            count, (subject.tokens_in, subject.tokens_out)
        )
        figures = [figure for figure in wanted if figure is not None]
        if len(figures) < len(wanted):
            raise Unscored("the endpoint reported no token count")
        return Score(float(sum(figures)))

    return run
