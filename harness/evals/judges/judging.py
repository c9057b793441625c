"""One judge and its questions: from an exhibit to a value between 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.evals.checks.subject import Score
from harness.evals.judges.asker import Asker
from harness.evals.judges.exhibits import Exhibit
from harness.evals.judges.fences import fenced
from harness.evals.judges.verdicts import Reading, read
from harness.serve.protocol import ChoiceOutput, Decoding, GenerationRequest, Message, TextOutput
from harness.spec.judges import JudgeFiles
from harness.spec.prompts import PromptInputError

# Raised whenever the same reply would be read otherwise or the same exhibit be shown otherwise: a part of every
# judge's digest and of every kept score's key.
JUDGING_REVISION = 1
_ALTERNATIVES = 10


@dataclass(frozen=True, slots=True)
class Grade:
    """What a judging model said of one exhibit: a score for each metric, and what they rest on, for the artifacts."""

    scores: tuple[Score, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)


async def grade(files: JudgeFiles, shown: Exhibit, other: Exhibit | None, asker: Asker) -> Grade:
    """The judge's grade of ``shown``; for a pairwise judge against ``other``. JudgeError when it gave no answer.

    yes_no: P(yes) / (P(yes) + P(no)). rubric: the expectation over the scores, as a share of their range (Liu et al.
    2023, G-Eval, arXiv:2303.16634). pairwise: both orders are asked; 1 or 0 when they agree on the winner, else 0.5
    and the metric ``flipped`` is 1 (Zheng et al. 2023, arXiv:2306.05685).
    """
    texts = [("output", shown.output), ("other output", other.output if other else "")]
    texts += [(name, getattr(shown, name)) for name in ("input", "expected", "context")]
    long = next(((name, len(text)) for name, text in texts if len(text) > files.judge.longest), None)
    if long is not None:
        name, size = long
        reason = f"the {name} has {size} characters, judge {files.judge.name!r} reads at most {files.judge.longest}"
        return Grade((Score(None, reason),))
    try:
        if files.judge.kind == "pairwise":
            return await _both_orders(files, shown, other or shown, asker)
        reading, evidence = await _asked(files, {**_beside(shown), "output": shown.output}, asker)
    except PromptInputError as error:
        return Grade((Score(None, str(error)),))
    return Grade((Score(value_of(files, reading), reading.reason),), evidence)


def value_of(files: JudgeFiles, reading: Reading) -> float | None:
    """The value of a reading, None when it has none."""
    if not reading.probabilities:
        return None
    if files.judge.kind == "yes_no":
        return reading.probabilities["Yes"]
    scores = files.judge.scores
    expected = sum(score * reading.probabilities[str(score)] for score in scores)
    return (expected - scores[0]) / (scores[-1] - scores[0])


async def _both_orders(files: JudgeFiles, shown: Exhibit, other: Exhibit, asker: Asker) -> Grade:
    there, first = await _asked(files, {**_beside(shown), "first": shown.output, "second": other.output}, asker)
    back, second = await _asked(files, {**_beside(shown), "first": other.output, "second": shown.output}, asker)
    evidence = {"candidate_first": first, "candidate_second": second}
    if reason := there.reason or back.reason:
        return Grade((Score(None, reason), Score(None, reason, "flipped", "share")), evidence)
    won = (_won(there, "A"), _won(back, "B"))
    flipped = {won[0], won[1]} == {0.0, 1.0}
    value = won[0] if won[0] == won[1] else 0.5
    note = "the preference changed with the order" if flipped else ""
    return Grade((Score(value, note), Score(float(flipped), metric="flipped", unit="share")), evidence)


def _won(reading: Reading, mine: str) -> float:
    chance = reading.probabilities[mine]
    return 0.5 if chance == 0.5 else float(chance > 0.5)


def _beside(shown: Exhibit) -> dict[str, str]:
    return {"input": shown.input, "expected": shown.expected, "context": shown.context}


async def _asked(files: JudgeFiles, values: Mapping[str, str], asker: Asker) -> tuple[Reading, dict[str, Any]]:
    declared = files.prompt.front.inputs
    given = fenced({name: text for name, text in values.items() if name in declared})
    messages = tuple(Message(turn["role"], turn["content"]) for turn in files.prompt.render(given))
    generation = await asker.ask(files.model, await _request(files, messages, asker), files.judge.deadline_s)
    reading = read(generation, files.judge.answers)
    evidence = {
        "prompt": [[message.role, message.content] for message in messages],
        "reply": generation.text,
        "probabilities": dict(reading.probabilities),
        "read_by": reading.how,
        "reason": reading.reason,
    }
    return reading, evidence


async def _request(files: JudgeFiles, messages: Sequence[Message], asker: Asker) -> GenerationRequest:
    judge = files.judge
    decoding = Decoding(max_tokens=judge.answer_tokens)
    if files.model.pinned:
        return GenerationRequest(tuple(messages), decoding, ChoiceOutput(judge.answers))
    alternatives = await asker.alternatives(files.model, _ALTERNATIVES)
    return GenerationRequest(tuple(messages), decoding, TextOutput(), logprobs=alternatives)
