"""Numbers in an output, compared exactly."""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException, localcontext
from typing import Literal

from harness.evals.checks.expectations import as_decimal, expected_number
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import Number, Tolerance
from harness.evals.checks.subject import Run, Score, Subject, shown, verdict

# A sign counts only where no word or digit stands before it: "2-3" holds 2 and 3.
_NUMBER = re.compile(
    r"(?:(?<![\w.,])[-+−])?"
    r"(?:(?<![\d.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|(?<![0-9])[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]{1,4}(?![0-9]))?"
)
_SWAP = str.maketrans(".,", ",.")
_LONGEST = 1000


def numbers_in(text: str, decimal: str = ".") -> list[Decimal]:
    """All numbers of ``text`` in order; "1,234.5" is one number, and with ``decimal`` "," so is "1.234,5"."""
    text = text.translate(_SWAP) if decimal == "," else text
    found = (match.group().replace(",", "").replace("−", "-") for match in _NUMBER.finditer(text))
    return [Decimal(digits) for digits in found if len(digits) <= _LONGEST]


def close(got: Decimal, want: Decimal, absolute: float = 0.0, relative: float = 0.0) -> bool:
    """|got - want| <= max(absolute, relative * |want|), in decimal arithmetic: 1.1 is within 0.1 of 1."""
    with localcontext() as context:
        context.prec = 60
        try:
            allowed = max(Decimal(repr(absolute)), Decimal(repr(relative)) * abs(want))
            return abs(got - want) <= allowed
        except DecimalException:
            return False


@check("numeric", expects=True, stand_in="value")
def numeric(
    *,
    value: Number | None = None,
    tolerance: Tolerance = 0.0,
    relative: Tolerance = 0.0,
    pick: Literal["last", "first"] = "last",
    decimal: Literal[".", ","] = ".",
) -> Run:
    """The output's last (or first) number is the expected one, within ``tolerance`` or ``relative`` times it.

    Thousands may be grouped. An output without a number gives 0. Decimal arithmetic: what is written counts.
    """

    def run(subject: Subject) -> Score:
        want = expected_number(subject, value)
        own = as_decimal(subject.parsed)
        found = [own] if own is not None else numbers_in(subject.output, decimal)
        if not found:
            return Score(0.0, f"no number in {shown(subject.output)}")
        got = found[-1 if pick == "last" else 0]
        return verdict(close(got, want, tolerance, relative), f"expected {want}, got {shown(str(got))}")

    return run
