"""Whether the texts that a model learns from hold the cases that measure it."""

from harness.data.contamination.matching import Finder, Match, containment, find
from harness.data.contamination.rule import RULE, Rule, run_length
from harness.data.contamination.words import words_of

__all__ = ["RULE", "Finder", "Match", "Rule", "containment", "find", "run_length", "words_of"]
