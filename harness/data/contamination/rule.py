"""When a text counts as seen: one that holds enough of the other's runs of words.

Containment, not Jaccard: a case is leaked as well when a long row quotes it. The run's length grows with the text,
because thirteen words, the usual rule, are more than many a case has. Both directions count: a row that is a piece of
a long case has told the model that piece. Lengths and thresholds were chosen with
``benchmarks/contamination.py --quality``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 3, 5
"""The lengths of runs, in words."""
_A_RUN_IS_A_QUARTER = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """The share of one text's distinct runs that stands in the other, from which the pair counts.

    ``short`` holds for texts of at most ``short_words`` words: common phrases fill them, so the other text must be at
    most ``near_ratio`` times as long. ``medium`` holds up to ``medium_words`` words, ``long`` beyond. Below three
    words only equal texts count. A row that is a piece of a much longer case counts from ``piece_words`` words and the
    share ``piece`` on: single sentences of news stand in many articles.
    """

    short: float = 0.5
    medium: float = 0.4
    long: float = 0.25
    short_words: int = 8
    medium_words: int = 15
    near_ratio: float = 2.0
    piece: float = 0.5
    piece_words: int = 16

    def counts(
        self, shares: NDArray[np.float64], words: NDArray[np.int64], others: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether cases of ``words`` words count whose ``shares`` stand in rows of ``others`` words."""
        short = words <= self.short_words
        least = np.where(short, self.short, np.where(words <= self.medium_words, self.medium, self.long))
        return (shares >= least) & (~short | (others <= self.near_ratio * words))

    def pieces(
        self, shares: NDArray[np.float64], words: NDArray[np.int64], others: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether rows of ``words`` words count whose ``shares`` stand in cases of ``others`` words."""
        piece = (words >= self.piece_words) & (shares >= self.piece)
        return self.counts(shares, words, others) & (piece | (others <= self.near_ratio * words))


RULE = Rule()
BLIND = "Cases that a mart holds in other words: a paraphrase, a translation, another text of the same template."
"""What no comparison of words can see."""


def run_lengths(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many words a run has in texts of so many words; 0 for those that have no run."""
    return np.where(words < SHORTEST, 0, np.clip(words // _A_RUN_IS_A_QUARTER, SHORTEST, LONGEST))


def run_length(words: int) -> int:
    """How many words a run has in a text of ``words`` words."""
    return int(run_lengths(np.asarray(words)))
