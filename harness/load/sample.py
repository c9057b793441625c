"""What one request of a load test did: the raw row that everything else is computed from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from harness.errors import SignoffError

Failure = Literal["", "transport", "timeout", "status", "stream"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are seconds of this machine's monotonic clock; None: it did not come to that.

    ``intended`` is when the schedule says, ``sent`` when it was. ``failure`` is how it failed, empty if it did not.
    ``foreign`` says why the answer is not one of the app under review: another digest, or read from a cache.
    """

    number: int
    intended: float
    sent: float
    first: float | None = None
    ended: float | None = None
    pieces: int = 0
    status: int | None = None
    failure: Failure = ""
    reason: str = ""
    foreign: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    tokens: int | None = None
    cached_tokens: int | None = None
    received: int = 0

    @property
    def lag_s(self) -> float:
        """How late it was sent, seconds."""
        return self.sent - self.intended

    @property
    def ttft_s(self) -> float | None:
        """From the intended time to the first token, seconds."""
        return None if self.failure or self.first is None else self.first - self.intended

    @property
    def e2e_s(self) -> float | None:
        """From the intended time to the end of the answer, seconds."""
        return None if self.failure or self.ended is None else self.ended - self.intended

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first, (e2e - ttft) / (tokens - 1), seconds; not the gap between pieces."""
        if self.e2e_s is None or self.ttft_s is None or self.no_tpot:
            return None
        return (self.e2e_s - self.ttft_s) / ((self.tokens or 0) - 1)

    @property
    def no_tpot(self) -> str:
        """Why there is no time per token though the request was answered; empty if there is one."""
        if self.pieces < 2:
            return "the answer came in one piece"
        if self.tokens is None:
            return "the server did not count tokens (no usage in the stream)"
        return "the answer has a single token" if self.tokens < 2 else ""

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, row: Any) -> Sample:
        """The row read back; SignoffError for one of another shape."""
        names = {field.name for field in fields(cls)}
        if not isinstance(row, dict) or row.keys() != names:
            raise SignoffError("a row of samples.jsonl has other fields than this version writes; measure again")
        return cls(**row)
