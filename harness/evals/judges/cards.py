"""The judge card: a judge's answers set against what people said of the same outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.spec.judge_cards import Agreement, Label
from harness.spec.judges import Judge
from harness.stats import auc, cohens_kappa, confusion_matrix


@dataclass(frozen=True, slots=True)
class Judged:
    """One label beside the judge's value of the same output, 0 to 1; None where the judge gave none, or none could."""

    label: Label
    value: float | None


def answered(judge: Judge, value: float) -> str:
    """The label that comes nearest to a judge's value."""
    if judge.kind == "yes_no":
        return "yes" if value >= 0.5 else "no"
    if judge.kind == "pairwise":
        return {0.0: "second", 1.0: "first"}.get(value, "tie")
    low, high = judge.scores[0], judge.scores[-1]
    score = low + value * (high - low)
    return str(min(judge.scores, key=lambda each: (abs(each - score), each)))


def agreement(judge: Judge, judged: Sequence[Judged]) -> Agreement | None:
    """How the judge agrees with these labels; None without any."""
    if not judged:
        return None
    pairs = [(each.label.label, each.value) for each in judged if each.value is not None]
    names = sorted({each.label.labeller for each in judged})
    silent = len(judged) - len(pairs)
    if not pairs:
        return Agreement(n=0, unscored=silent, labellers=tuple(names))
    said = [(label, answered(judge, value)) for label, value in pairs]
    place = {label: index for index, label in enumerate(judge.labels)}
    table = confusion_matrix([place[a] for a, _ in said], [place[b] for _, b in said], len(place))
    kappa = cohens_kappa(table, linear=judge.kind != "yes_no")
    counts = Counter(label for label, _ in said)
    return Agreement(
        n=len(pairs),
        unscored=silent,
        agreement=sum(a == b for a, b in said) / len(said),
        constant=counts.most_common(1)[0][1] / len(said),
        kappa=kappa.value,
        low=kappa.low,
        high=kappa.high,
        auc=_auc(pairs) if judge.kind == "yes_no" else None,
        bias=sum(_share(judge, b) - _share(judge, a) for a, b in said) / len(said),
        confusion={
            label: {other: int(table[place[label], place[other]]) for other in judge.labels} for label in judge.labels
        },
        labellers=tuple(names),
    )


def _auc(pairs: Sequence[tuple[str, float]]) -> float | None:
    return auc([v for label, v in pairs if label == "yes"], [v for label, v in pairs if label == "no"])


def _share(judge: Judge, label: str) -> float:
    if judge.kind == "rubric":
        return (int(label) - judge.scores[0]) / (judge.scores[-1] - judge.scores[0])
    return judge.labels.index(label) / (len(judge.labels) - 1)
