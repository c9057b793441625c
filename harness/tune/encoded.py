"""From rows of a mart to tokens: the prompt as serving renders it, the answer as the engine would write it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.serve.engine.chat_text import ChatText
from harness.serve.protocol import Message
from harness.spec.prompts import Prompt, PromptInputError
from harness.spec.recipes import Rows

if TYPE_CHECKING:
    from datasets import Dataset

NAMED = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: its tokens, and how many of them at the end are the answer, which is what is learned."""

    tokens: tuple[int, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Sanity:
    """What became of the rows: ``truncated`` lost the front of their prompt, ``untrained`` have no token to learn.

    The latter have no answer, one that leaves no room for a question, or a question that the prompt refuses.
    """

    rows: int
    truncated: int
    untrained: int
    tokens: int
    tokens_trained: int

    def as_dict(self) -> dict[str, int]:
        """The counts as measurements."""
        return {
            "rows": self.rows,
            "rows_truncated": self.truncated,
            "rows_untrained": self.untrained,
            "tokens": self.tokens,
            "tokens_trained": self.tokens_trained,
        }


class Encoder:
    """Encodes the rows of one recipe for one tokenizer."""

    def __init__(self, tokenizer: Any, prompt: Prompt, rows: Rows, length: int) -> None:
        self._chat = ChatText(tokenizer)
        self._prompt, self._rows, self._length = prompt, rows, length
        self._end = self._chat.encode(str(tokenizer.eos_token))
        # An answer that spells a control token must not teach that turns end there.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """The conversation that asks for ``row``'s answer; raises what the prompt refuses."""
        return conversation(self._prompt, self._rows, row)

    def _spelled(self, text: str) -> list[int]:
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def _begun(self, text: str) -> list[int]:
        """The tokens of the beginning of a JSON object, less a last one that is another one when the object goes on.

        Where an answer goes on, a closing quote and the comma behind it are one token of many vocabularies.
        """
        alone, longer = self._spelled(text), self._spelled(f'{text}, "')
        differs = (place for place, pair in enumerate(zip(alone, longer)) if pair[0] != pair[1])
        return alone[: next(differs, len(alone))]

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Encoded], Sanity]:
        """The rows that have something to learn, in their order, and what became of all of them.

        Raises UsageError for columns that are absent and when the prompt refuses all that could be asked.
        """
        refuse_columns(rows, self._rows)
        made, truncated, refused = [], 0, ""
        for row in rows:
            text = answer_text(row, self._rows)
            if text is None:
                continue
            try:
                prompt = self._chat.prompt(self.messages(row))
            except PromptInputError as error:
                # Serving refuses such a message as well: nobody will ever ask it.
                refused = refused or str(error)
                continue
            answer = [*self._spelled(text[0]), *self._end] if text[1] else self._begun(text[0])
            cut = len(prompt) + len(answer) - self._length
            truncated += cut > 0
            # What is lost is the beginning of the question: the answer is what is learned.
            if (prompt := prompt[max(cut, 0) :]) and answer:
                made.append(Encoded((*prompt, *answer), len(answer)))
        if refused and not made:
            raise UsageError(f"recipe rows: no row can be asked: {refused}")
        counts = Sanity(
            len(rows),
            truncated,
            len(rows) - len(made),
            sum(len(each.tokens) for each in made),
            sum(each.answer for each in made),
        )
        return made, counts


def conversation(prompt: Prompt, rows: Rows, row: Mapping[str, Any]) -> list[Message]:
    """What asks for ``row``'s answer; raises PromptInputError for what the prompt refuses."""
    values = {name: row[column] for name, column in rows.inputs.items()}
    return [Message(turn["role"], turn["content"]) for turn in prompt.render(values)]


def answer_text(row: Mapping[str, Any], rows: Rows) -> tuple[str, bool] | None:
    """What ``row`` teaches to answer, and whether it is the whole answer; None when it teaches nothing.

    Several columns are one JSON object. Where one has no value, what stands before it is learned, if the recipe says
    so: an older source that only knew the first column is still worth its rows.
    """
    if isinstance(rows.completion, str):
        value = row[rows.completion]
        return None if value is None else (value if isinstance(value, str) else json.dumps(value), True)
    known: dict[str, Any] = {}
    for column in rows.completion:
        if row[column] is None:
            break
        known[column] = row[column]
    text = json.dumps(known, ensure_ascii=False)
    if len(known) == len(rows.completion):
        return text, True
    return (text.removesuffix("}"), False) if known and rows.partial else None


def refuse_columns(rows: Sequence[Mapping[str, Any]], wanted: Rows) -> None:
    """UsageError naming the columns that the recipe reads and the mart does not have."""
    if not rows:
        raise UsageError(f"the mart has no row in split {wanted.split!r}; look at its splits with: signoff data build")
    absent = sorted({*wanted.inputs.values(), *wanted.columns} - rows[0].keys())
    if absent:
        known = ", ".join(rows[0])
        raise UsageError(f"recipe rows: the mart has no column {', '.join(map(repr, absent))}; it has: {known}")


def dataset_of(rows: Iterable[Encoded]) -> Dataset:
    """The rows as a ``datasets.Dataset`` with ``input_ids`` and ``answer``."""
    from datasets import Dataset, Features, List, Value

    rows = list(rows)
    columns = {"input_ids": [list(row.tokens) for row in rows], "answer": [row.answer for row in rows]}
    return Dataset.from_dict(columns, Features({"input_ids": List(Value("int32")), "answer": Value("int32")}))
