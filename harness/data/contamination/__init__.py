"""Whether the texts that a model learns from, or is shown, hold the cases that measure it."""

from harness.data.contamination.matching import Finder, Match, containment, find
from harness.data.contamination.rule import BLIND, RULE, Rule, run_length
from harness.data.contamination.scan import CaseText, Learnt, Pair, case_texts, pairs
from harness.data.contamination.words import words_of

__all__ = [
    "BLIND",
    "RULE",
    "CaseText",
    "Finder",
    "Learnt",
    "Match",
    "Pair",
    "Rule",
    "case_texts",
    "containment",
    "find",
    "pairs",
    "run_length",
    "words_of",
]
