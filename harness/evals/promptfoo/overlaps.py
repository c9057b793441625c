"""Word overlap between two texts, as promptfoo counts it: BLEU, GLEU and ROUGE-1."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_TINY = 1e-7
_CONTRACTIONS = (
    "(can)(not)", "(d)('ye)", "(gim)(me)", "(gon)(na)", "(got)(ta)", "(lem)(me)", "(more)('n)", "(wan)(na)(?= )",
    "('t)(is)", "('t)(was)",
)  # fmt: skip


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def bleu(output: str, references: Sequence[str]) -> float:
    """BLEU-4 of one sentence (Papineni et al. 2002) over blank-separated words in lower case.

    An order that the output is too short for is left out and the weights of the others grow; an order without a hit
    counts as 1e-7.
    """
    words = output.lower().split()
    if not words:
        return 0.0
    others = [reference.lower().split() for reference in references]
    nearest = min((len(other) for other in others), key=lambda length: (abs(length - len(words)), length))
    logs = []
    for size in range(1, min(4, len(words)) + 1):
        own = _grams(words, size)
        # Clipped against each reference apart, and the best one counts.
        hits = max((own & _grams(other, size)).total() for other in others)
        logs.append(math.log(hits / own.total() or _TINY))
    penalty = 1.0 if len(words) > nearest else math.exp(1 - nearest / len(words))
    return penalty * math.exp(sum(logs) / len(logs))


def gleu(output: str, references: Sequence[str]) -> float:
    """Google's BLEU (Wu et al. 2016): the lower of precision and recall of all 1- to 4-grams, the best reference."""
    return max(_gleu(_undotted(output), _undotted(reference)) for reference in references)


def _undotted(text: str) -> list[str]:
    words = [word.rstrip(".") for word in text.lower().split()]
    return words if any(words) else []


def _gleu(words: Sequence[str], others: Sequence[str]) -> float:
    own = sum((_grams(words, size) for size in range(1, 5)), Counter())
    wanted = sum((_grams(others, size) for size in range(1, 5)), Counter())
    if not own or not wanted:
        return 0.0
    return (own & wanted).total() / max(own.total(), wanted.total())


def rouge_1(output: str, reference: str) -> float:
    """F1 of ROUGE-1 (Lin 2004) over lower-cased Penn Treebank tokens."""
    own, wanted = Counter(treebank(output.lower())), Counter(treebank(reference.lower()))
    hits = (own & wanted).total()
    return 2 * hits / (own.total() + wanted.total()) if hits else 0.0


def treebank(text: str) -> list[str]:
    """Tokens after the rules of the Penn Treebank: punctuation, quotes and clitics stand alone."""
    text = " ".join(text.split())
    if not text:
        return []
    text = re.sub(r'(^|[\s(\[{<])"', r"\1 `` ", text).replace('"', " '' ")
    text = text.replace("...", " ... ")
    text = re.sub(r"[:,](?!\d)", r" \g<0> ", text)
    text = re.sub(r"[;@#$%&?!\[\](){}<>]|--", r" \g<0> ", text)
    text = re.sub(r"([^.])(?<!\b[A-Za-z]\.[A-Za-z])(\.)([\])}>'\s]*)$", r"\1 \2\3 ", text)
    text = f" {text} "
    text = re.sub(r"([^'])' ", r"\1 ' ", text)
    text = re.sub(r"'([sSmMdD]) ", r" '\1 ", text)
    text = re.sub(r"('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r" \1 ", text)
    for pattern in _CONTRACTIONS:
        text = re.sub(rf"(?<!\w){pattern}(?!\w)", r" \1 \2 ", text, flags=re.I)
    return text.split()
