"""What the log of requests holds of one app in one window: read in passes, so that memory does not grow with rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.serve.gateway.telemetry import read_traces
from harness.serve.gateway.telemetry.trace_row import REQUEST, SCHEMA_VERSION, timestamp

FEEDBACK = "feedback"
Row = Mapping[str, Any]
AnswerKey = tuple[str, str]
"""Request id and key: what feedback refers to, also after a restart of the server."""


def require_log(folder: Path) -> None:
    """UsageError when there is no log of requests in ``folder``."""
    if not folder.is_dir():
        message = f"no log of requests in {folder}; signoff serve writes one, or name its folder by --traces"
        raise UsageError(message)


@dataclass(slots=True)
class Notes:
    """What was read and what was left out. ``versions`` counts requests by the digest that answered.

    ``ahead`` are rows received after the end of the window, which only a clock that is ahead can give; ``torn`` and
    ``damaged`` are lines, ``foreign`` rows of another schema or without a time; ``shadows`` were shown to nobody.
    """

    requests: int = 0
    feedback: int = 0
    ahead: int = 0
    torn: int = 0
    damaged: int = 0
    foreign: int = 0
    shadows: int = 0
    versions: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """The notes as plain data, the most frequent version first."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "versions"}
        return {**plain, "versions": dict(self.versions.most_common())}

    def warnings(self) -> list[str]:
        """What a person should know of the log itself."""
        found = []
        if self.ahead:
            found.append(f"{self.ahead} rows were received after this machine's time: set the servers' clocks right")
        if self.torn or self.damaged:
            found.append(f"{self.torn} cut and {self.damaged} damaged lines were skipped")
        if self.foreign:
            found.append(f"{self.foreign} rows of another schema than {SCHEMA_VERSION} were skipped")
        return found


@dataclass(slots=True)
class TraceWindow:
    """The requests of ``app`` received from ``since`` to before ``until``, and the feedback on them until today.

    ``read`` fills ``notes`` and ``feedback``; only then do ``requests`` and ``given`` tell the whole. UsageError when
    there is no such folder.
    """

    folder: Path
    app: str
    since: datetime
    until: datetime
    notes: Notes = field(default_factory=Notes)
    feedback: dict[AnswerKey, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_log(self.folder)

    def read(self) -> Notes:
        """Count everything once and collect the latest feedback on each answer."""
        notes, skipped = Notes(), Counter[str]()
        self.feedback.clear()
        for row in read_traces(self.folder, self.since, None, skipped):
            if not _readable(row):
                notes.foreign += 1
            elif row.get("kind") == FEEDBACK:
                notes.feedback += self._keep(row)
            elif self._mine(row):
                self._count(row, notes)
        notes.torn, notes.damaged = skipped["torn"], skipped["damaged"]
        self.notes = notes
        return notes

    def requests(self, since: datetime | None = None) -> Iterator[Row]:
        """The requests that somebody was answered, file by file; from ``since`` on when that is later."""
        first = max(since, self.since) if since else self.since
        for row in read_traces(self.folder, first, self.until):
            if _readable(row) and self._mine(row) and not row.get("shadow"):
                yield row

    def given(self, row: Row) -> Row | None:
        """The feedback on the answer of a request."""
        return self.feedback.get((str(row.get("id")), str(row.get("key_id"))))

    def _mine(self, row: Row) -> bool:
        return row.get("kind") == REQUEST and row.get("app") == self.app

    def _count(self, row: Row, notes: Notes) -> None:
        if row["received"] >= timestamp(self.until.timestamp()):
            notes.ahead += 1
        elif row.get("shadow"):
            notes.shadows += 1
        else:
            notes.requests += 1
            notes.versions[str(row.get("digest") or "")] += 1

    def _keep(self, row: Row) -> bool:
        # After a restart the server no longer knows which app gave the answer.
        if row.get("app") not in (None, self.app):
            return False
        key = (str(row.get("request_id")), str(row.get("key_id")))
        before = self.feedback.get(key)
        if before is None or before["received"] <= row["received"]:
            kept = ("received", "thumb", "resolved", "rating", "edited_text")
            self.feedback[key] = {name: row.get(name) for name in kept}
        return True


def _readable(row: Row) -> bool:
    """Whether a row is of the schema that is read here and says when it came."""
    if row.get("schema_version") != SCHEMA_VERSION:
        return False
    try:
        return datetime.fromisoformat(row["received"]).tzinfo is not None
    except ValueError:
        return False
