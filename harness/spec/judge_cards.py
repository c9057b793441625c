"""Judge cards: how far a judge agrees with people, bound to the judge and the labels that it was measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from harness.errors import Problem
from harness.spec.base import Sha256, Spec
from harness.store import digest_bytes

CARD = "card.json"
LABELS = "labels.jsonl"
LEAST_LABELS = 30
"""With fewer labels an interval of kappa says next to nothing (half of it is about 0.3 wide at 30 labels)."""


class Label(Spec):
    """One line of ``labels.jsonl``: what somebody said of one output.

    The output stands here (``input``, ``output``; for a pairwise judge ``other`` is the second one) or is that of
    ``case`` whose digest is ``output_digest``. ``label`` is a word that the judge chooses from, for a pairwise judge
    also ``tie``. Only ``by: human`` can vouch for a judge.
    """

    id: str
    label: str
    labeller: str
    by: Literal["human", "model"]
    case: str = ""
    output_digest: str = ""
    input: str = ""
    output: str = ""
    other: str = ""
    expected: str = ""
    context: str = ""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if bool(self.output) == bool(self.case and self.output_digest):
            message = f"label {self.id!r}: give either 'output', or 'case' and 'output_digest'"
            raise ValueError(message)
        return self


class Agreement(Spec):
    """How a judge's answers stand to labels of one kind of labeller.

    ``constant`` is the agreement that always answering the commonest label would reach. ``kappa`` is Cohen's, for a
    rubric with linear weights; ``low`` and ``high`` are its 95 % limits, null where it is undefined. ``auc`` is for
    ``yes_no`` only. ``bias`` is the judge's mean answer minus the labels' mean, answers counted from 0 to 1: for
    ``yes_no`` the share of yes that it gives too much. ``confusion`` maps label -> judge's answer -> count.
    """

    n: int = Field(ge=0)
    unscored: int = Field(default=0, ge=0)
    agreement: float | None = None
    constant: float | None = None
    kappa: float | None = None
    low: float | None = None
    high: float | None = None
    auc: float | None = None
    bias: float | None = None
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict)
    labellers: tuple[str, ...] = ()


class Card(Spec):
    """``suites/<app>/judges/<name>/card.json``, written by ``signoff judge card``."""

    judge: str
    judge_digest: Sha256
    labels_digest: Sha256
    human: Agreement | None = None
    model: Agreement | None = None


def read_labels(folder: Path, root: Path, allowed: tuple[str, ...]) -> tuple[list[Label], list[Problem]]:
    """The labels of the judge in ``folder``, those that are right, and every problem with its line."""
    file = folder / LABELS
    if not file.is_file():
        return [], []
    shown, found, problems = file.relative_to(root).as_posix(), list[Label](), list[Problem]()
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label = Label.model_validate(orjson.loads(line))
        except ValidationError as error:
            problems += [
                Problem(shown, number, f"{'.'.join(map(str, each['loc']))}: {each['msg']}".removeprefix(": "))
                for each in error.errors(include_url=False)
            ]
            continue
        except ValueError as error:
            problems.append(Problem(shown, number, f"not JSON: {error}"))
            continue
        if label.label not in allowed:
            known = ", ".join(allowed)
            problems.append(Problem(shown, number, f"label {label.label!r}: this judge is labelled by {known}"))
        if any(label.id == other.id for other in found):
            problems.append(Problem(shown, number, f"id {label.id!r} stands twice; agree on one label for each"))
        found.append(label)
    return found, problems


def labels_digest(folder: Path) -> str:
    """sha256 of the judge's labels, LF-normalised; empty when there are none."""
    file = folder / LABELS
    return digest_bytes(file.read_bytes().replace(b"\r\n", b"\n")) if file.is_file() else ""


def read_card(file: Path, root: Path) -> tuple[Card | None, list[Problem]]:
    """The card, None when there is none; a damaged one is a problem."""
    if not file.is_file():
        return None, []
    try:
        return Card.model_validate(orjson.loads(file.read_bytes())), []
    except (ValueError, ValidationError) as error:
        said = str(error).splitlines()[0]
        wrong = f"not a judge card ({said}); write it again with signoff judge card"
        return None, [Problem(file.relative_to(root).as_posix(), None, wrong)]


def distrust(card: Card | None, judge_digest: str, labels: str) -> str:
    """Why no gate may rest on a judge with this card; empty when it may.

    A card counts when it was made of this very judge on these very labels, people gave at least ``LEAST_LABELS`` of
    them, and agreement beyond chance is proven: the lower limit of kappa is above 0.
    """
    if card is None:
        return "no judge card: people have to label some of its cases"
    if card.judge_digest != judge_digest or card.labels_digest != labels:
        moved = "the judge" if card.judge_digest != judge_digest else LABELS
        return f"its card is stale: {moved} has changed since; run signoff judge card"
    human = card.human
    if human is None or human.n < LEAST_LABELS:
        return f"its card rests on {human.n if human else 0} labels of people, at least {LEAST_LABELS} are needed"
    if human.low is None or human.low <= 0:
        return "its card does not show that it agrees with people beyond chance"
    return ""
