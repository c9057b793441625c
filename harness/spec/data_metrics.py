"""What the stage ``data`` measures, by name, and the gate that no suite can leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import Problem
from harness.spec.gates import Gate

SEEN = "data.seen"
METRICS: Mapping[str, str] = {
    SEEN: "1 for a case that stands in a mart or in a prompt and is not waived",
    "data.freshness_s": "age of a source's newest row, in seconds",
    "data.stale": "1 for a source older than error_after, 0.5 than warn_after",
    "data.build_s": "seconds that the mart's last build from nothing took",
    "data.slow": "1 for a mart whose build took longer than its max_seconds",
    "data.audits_failed": "audits of a mart that returned a row",
}
TRAINING: tuple[str, ...] = (
    "rows_truncated",
    "rows_untrained",
    "tokens_trained",
    "first_loss",
    "last_loss",
    "validation_loss",
    "grad_norm",
    "liveness",
    "seconds",
)
"""What a build says of its own sanity; each is the metric ``tune.<name>``."""
MOVED = "data.moved"
ADAPTER_METRICS: Mapping[str, str] = {
    MOVED: "1 for an adapter made from another mart, recipe or prompt than stand in the tree",
    **{f"tune.{name}": f"{name.replace('_', ' ')}, as the build of the adapter recorded it" for name in TRAINING},
}
TESTS_UNSEEN = Gate(
    id="tests-unseen",
    metric=SEEN,
    rule="at_most",
    threshold=0,
    statistic="total",
    better="lower",
    why="a model that has learnt the cases is not measured by them",
)
_MAY_DIFFER = {"why", "better", "minimum", "maximum", "threshold"}


def with_tests_unseen(gates: Sequence[Gate], shown: str) -> tuple[tuple[Gate, ...], list[Problem]]:
    """The gates with ``tests-unseen``, or what is wrong with the one that restates it."""
    stated = next((gate for gate in gates if gate.id == TESTS_UNSEEN.id), None)
    if stated is None:
        return (*gates, TESTS_UNSEEN), []
    differing = [
        name
        for name in Gate.model_fields
        if name not in _MAY_DIFFER and getattr(stated, name) != getattr(TESTS_UNSEEN, name)
    ]
    if stated.threshold > TESTS_UNSEEN.threshold:
        differing.append("threshold")
    problems = [
        Problem(
            shown,
            1,
            f"gate 'tests-unseen' is built in: {name} must be {_shown(getattr(TESTS_UNSEEN, name))}, "
            f"not {_shown(getattr(stated, name))}; a single pair is waived in waivers.yaml",
        )
        for name in differing
    ]
    return tuple(gates), problems


def one_armed(gate: Gate, shown: str) -> list[Problem]:
    """What is wrong with a gate that compares what only the candidate has."""
    if not gate.paired or gate.metric not in {*METRICS, *ADAPTER_METRICS}:
        return []
    wrong = f"gate {gate.id!r}: {gate.metric} is measured of the candidate alone; use rule at_least or at_most"
    return [Problem(shown, 1, wrong)]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value!r}"
