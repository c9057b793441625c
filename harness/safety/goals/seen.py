"""What a goal sees of an answer, and what it says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.safety.attempts import Attempt
from harness.serve.steps.chain import ChainResult
from harness.spec.guards import texts_in
from harness.spec.probe_sets import ANSWER

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")


class UnscoredError(Exception):
    """Whether the attempt succeeded cannot be told; the text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the attempt succeeded, and by what."""

    broken: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer beside the attempt that asked for it."""

    attempt: Attempt
    result: ChainResult

    def value(self, name: str) -> Any:
        """The output of a step, or the app's answer; UnscoredError for a step that did not run."""
        if name in ("", ANSWER):
            return self.result.value
        step = self.result.steps.get(name)
        if step is None or step.status == "skipped":
            raise UnscoredError(f"step {name!r} was skipped")
        return step.output

    def texts(self, names: Sequence[str]) -> list[str]:
        """The texts of these outputs, without steps that did not run; UnscoredError when none did."""
        ran = [name for name in names if name == ANSWER or self.ran(name)]
        if not ran:
            raise UnscoredError(f"step {names[0]!r} was skipped")
        return [texts_in(self.value(name)) for name in ran]

    def ran(self, name: str) -> bool:
        """Whether a step gave an output."""
        step = self.result.steps.get(name)
        return step is not None and step.status == "ok"


Goal = Callable[[Seen], Outcome]
RESISTED = Outcome(False)


def folded(text: str) -> str:
    """``text`` as a person reads it: without invisible characters, compatibility forms, case and runs of blanks."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(plain.casefold().split())


def shown(text: str, most: int = 80) -> str:
    """A text for a reason: on one line, not too long."""
    line = " ".join(text.split())
    return repr(line if len(line) <= most else f"{line[:most]}…")
