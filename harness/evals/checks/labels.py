"""Classification: the label of one output, and what a table of them says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.evals.checks.expectations import NotJson, expected_text, json_value
from harness.evals.checks.fields import values_at
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import JsonPath, Texts
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown, verdict


@check("label_match", expects=True)
def label_match(*, labels: Texts | None = None, field: JsonPath | None = None, ignore_case: bool = True) -> Run:
    """The output is the expected label; blanks around it do not count.

    ``field`` is the JSONPath of the label in a JSON output. With ``labels``, an output that is none of them gives 0
    and says so, and an expectation that is none of them gives no score. For tables see ``confusion``.
    """
    known = {_plain(label, ignore_case) for label in labels or ()}

    def run(subject: Subject) -> Score:
        want = _plain(expected_text(subject), ignore_case)
        if known and want not in known:
            raise Unscored(f"the expectation {shown(subject.expect)} is none of the labels {shown(labels)}")
        label = label_of(subject, field)
        if label is None:
            return Score(0.0, f"no label in {shown(subject.output)}")
        got = _plain(label, ignore_case)
        if known and got not in known:
            return Score(0.0, f"expected {shown(want)}, got {shown(label)}, which is none of the labels")
        return verdict(got == want, f"expected {shown(want)}, got {shown(got)}")

    return run


def label_of(subject: Subject, field: str | None = None) -> str | None:
    """The label that the output gives, None where it gives none."""
    if field is None:
        return subject.output.strip() or None
    try:
        found = values_at(field, json_value(subject))
    except NotJson:
        return None
    return found[0].strip() or None if len(found) == 1 and isinstance(found[0], str) else None


def _plain(label: str, ignore_case: bool) -> str:
    return label.strip().casefold() if ignore_case else label.strip()


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """One label against the rest; None where the figure is 0/0."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion table and its figures.

    ``table[expected][predicted]`` counts; outputs without a known label stand under None. ``macro_f1`` is the mean
    of F1 over labels that occur on either side, ``balanced_accuracy`` the mean recall over labels that are expected
    somewhere, ``kappa`` Cohen's (1960), None where chance alone agrees always.
    """

    n: int
    labels: tuple[str, ...]
    table: Mapping[str, Mapping[str | None, int]]
    accuracy: float
    by_label: Mapping[str, LabelQuality]
    macro_f1: float
    balanced_accuracy: float
    kappa: float | None


def confusion(pairs: Iterable[tuple[str, str | None]], labels: Sequence[str] = ()) -> Confusion:
    """The table of (expected, predicted) ``pairs``; without ``labels``, the expected ones are the labels.

    Raises ValueError for no pairs, or for an expected label that is not in ``labels``.
    """
    rows = list(pairs)
    known = tuple(labels) or tuple(sorted({want for want, _ in rows}))
    if not rows:
        message = "a confusion table needs at least one pair of labels"
        raise ValueError(message)
    if strange := sorted({want for want, _ in rows} - set(known)):
        message = f"expected label {strange[0]!r} is none of {', '.join(known)}"
        raise ValueError(message)
    counts = Counter((want, got if got in known else None) for want, got in rows)
    support, predicted = Counter(want for want, _ in counts.elements()), Counter(got for _, got in counts.elements())
    quality = {label: _quality(counts[label, label], support[label], predicted[label]) for label in known}
    scores = [item.f1 for item in quality.values() if item.f1 is not None]
    recalls = [item.recall for item in quality.values() if item.recall is not None]
    accuracy = sum(counts[label, label] for label in known) / len(rows)
    chance = sum(support[label] * predicted[label] for label in known) / len(rows) ** 2
    columns: tuple[str | None, ...] = (*known, None) if predicted[None] else known
    return Confusion(
        n=len(rows),
        labels=known,
        table={want: {got: counts[want, got] for got in columns} for want in known},
        accuracy=accuracy,
        by_label=quality,
        macro_f1=sum(scores) / len(scores),
        balanced_accuracy=sum(recalls) / len(recalls),
        kappa=None if chance == 1 else (accuracy - chance) / (1 - chance),
    )


def _quality(hits: int, support: int, predicted: int) -> LabelQuality:
    return LabelQuality(
        precision=hits / predicted if predicted else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + predicted) if support + predicted else None,
        support=support,
        predicted=predicted,
    )
