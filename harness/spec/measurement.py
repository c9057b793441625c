"""The one measurement table: a row is what one check said of one output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import orjson

from harness.errors import SignoffError

Status = Literal["scored", "unscored", "error"]
Variant = Literal["baseline", "candidate"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row. ``value`` is None exactly when ``status`` is not ``scored``; ``reason`` then says why.

    A scored row may say in ``reason`` what its value rests on: a gate that counts such rows names them.

    ``step`` is empty for the whole app; ``group`` is the cluster that the case belongs to; ``block`` numbers
    the alternating blocks of a paired load test; ``cached`` says that no model was called for the output.
    """

    stage: str
    app: str
    variant: Variant
    case: str
    check: str
    metric: str
    value: float | None
    status: Status = "scored"
    unit: str = "share"
    step: str = ""
    slices: tuple[str, ...] = ()
    group: str = ""
    repeat: int = 0
    seed: int = 0
    block: int = 0
    reason: str = ""
    cached: bool = False
    app_digest: str = ""
    output_digest: str = ""
    check_digest: str = ""
    judge_digest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data, in the order of the fields."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Measurement:
        """The row read back; an unknown or missing field raises TypeError."""
        return cls(**{**row, "slices": tuple(row.get("slices", ()))})


_NAMES = tuple(field.name for field in fields(Measurement))


def encode(row: Measurement) -> bytes:
    """One JSON line, newline included; half a character, which UTF-8 cannot hold, becomes U+FFFD."""
    return dump_line(row, default=None)


def dump_line(value: Any, default: Callable[[Any], Any] | None) -> bytes:
    """``value`` as one line of JSON: records by their fields, ``default`` for what JSON does not know.

    Half a character (a lone surrogate, as a model's decoder may give) becomes U+FFFD. TypeError: JSON cannot hold it.
    """
    options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(value, default=default, option=options)
    except TypeError:
        return orjson.dumps(whole_characters(value), default=default, option=options)


def whole_characters(value: Any) -> Any:
    """Plain data of ``value`` with U+FFFD for every half of a character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole_characters(item) for item in value]
    return whole_characters(value.as_dict()) if isinstance(value, Measurement) else value


def write_measurements(path: Path, rows: Iterable[Measurement]) -> int:
    """Write ``rows`` as JSON lines and return how many there were."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        for row in rows:
            stream.write(encode(row))
            count += 1
    return count


def read_measurements(path: Path) -> Iterator[Measurement]:
    """Rows of a file; SignoffError names the line that is cut off or of another shape."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = orjson.loads(line)
                row["slices"] = tuple(row.get("slices", ()))
                yield Measurement(**row)
            except (ValueError, TypeError, AttributeError) as error:
                message = f"{path}:{number}: not a measurement row ({error}); delete the run folder and run again"
                raise SignoffError(message) from error
