"""What an adapter answers on rows that it was not trained on, asked through the engine that serves it.

``python -m harness.tune.results job.json out.json NAME=FOLDER ...`` is a process of its own; FOLDER ``-`` is the bare
model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import SignoffError
from harness.serve.engine.loader import load_base, load_transformers
from harness.serve.protocol import Decoding, GenerationRequest
from harness.spec.prompts import Prompt, PromptInputError
from harness.store import write_atomic
from harness.tune.encoded import Encoder, answer_text, conversation
from harness.tune.job import Job, read_rows

if TYPE_CHECKING:
    from harness.serve.engine.transformers_engine import TransformersEngine

BARE = "-"
_AT_ONCE = 64
# An answer that goes on beyond the longest that was taught is wrong anyway.
_SPARE_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one arm: for each measure (a column of the answer, ``exact``, ``valid``) 0 or 1 for each row."""

    scores: Mapping[str, Sequence[int]]

    def as_dict(self) -> dict[str, Any]:
        """The scores as plain data."""
        return {name: list(values) for name, values in self.scores.items()}


def measure(job: Job, arms: Mapping[str, Path | None]) -> dict[str, dict[str, list[int]]]:
    """Ask every arm for the answers of the split ``test``; the arms by name, None is the bare model.

    Rows whose answer is not wholly known, or which the prompt refuses, are not asked; without others there is no arm.
    """
    prompt = job.load_prompt()
    rows = [row for row in read_rows(job.rows["test"]) if _taught(row, job, prompt)]
    if not rows:
        return {}
    engine = load_transformers(job.model, "float32", job.recipe.training.threads)
    _, tokenizer = load_base(job.model, "float32")
    encoder = Encoder(tokenizer, prompt, job.recipe.rows, job.recipe.training.sequence_length)
    wanted = [answer_text(row, job.recipe.rows) for row in rows]
    longest = max(len(tokenizer.encode(each[0])) for each in wanted if each) + _SPARE_TOKENS
    found = {}
    for name, folder in arms.items():
        if folder is not None:
            engine.load_adapter(name, folder)
        asked = [
            GenerationRequest(
                tuple(encoder.messages(row)),
                Decoding(max_tokens=longest),
                adapter=name if folder is not None else None,
            )
            for row in rows
        ]
        found[name] = _scored(_answers(engine, asked), rows, job).as_dict()
    return found


def _taught(row: Mapping[str, Any], job: Job, prompt: Prompt) -> bool:
    text = answer_text(row, job.recipe.rows)
    if text is None or not text[1]:
        return False
    try:
        conversation(prompt, job.recipe.rows, row)
    except PromptInputError:
        return False
    return True


def _answers(engine: TransformersEngine, asked: Sequence[GenerationRequest]) -> list[str]:
    texts = [""] * len(asked)
    for start in range(0, len(asked), _AT_ONCE):
        places = {
            engine.admit(engine.prepare(request)): start + place
            for place, request in enumerate(asked[start : start + _AT_ONCE])
        }
        while engine.busy:
            for event in engine.step():
                if event.error is not None:
                    raise SignoffError(f"the engine failed on a row of the test split: {event.error}")
                if event.generation is not None:
                    texts[places[event.ticket]] = event.generation.text
    return texts


def _scored(texts: Sequence[str], rows: Sequence[Mapping[str, Any]], job: Job) -> Answers:
    completion = job.recipe.rows.completion
    if isinstance(completion, str):
        return Answers({"exact": [int(text.strip() == str(row[completion]).strip()) for text, row in zip(texts, rows)]})
    parsed = [_parsed(text) for text in texts]
    scores = {
        column: [int(answer.get(column) == row[column]) for answer, row in zip(parsed, rows)] for column in completion
    }
    scores["valid"] = [int(bool(answer) and set(answer) == set(completion)) for answer in parsed]
    scores["exact"] = [int(all(scores[column][place] for column in completion)) for place in range(len(rows))]
    return Answers(scores)


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def main(argv: list[str]) -> int:
    """Measure the arms of the command line and write their scores."""
    file, out, *named = argv
    arms = {name: None if folder == BARE else Path(folder) for name, _, folder in (arm.partition("=") for arm in named)}
    job = Job.read(Path(file))
    try:
        write_atomic(Path(out), orjson.dumps(measure(job, arms)))
    except SignoffError as error:
        return job.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
