"""promptfoo's rules without promptfoo, and promptfoo itself as a program."""

from harness.evals.promptfoo.rules import RULES, Ruling, judge, judge_all, known, split_type
from harness.evals.promptfoo.values import comma_separated, js_text, python_pattern

__all__ = [
    "RULES",
    "Ruling",
    "comma_separated",
    "js_text",
    "judge",
    "judge_all",
    "known",
    "python_pattern",
    "split_type",
]
