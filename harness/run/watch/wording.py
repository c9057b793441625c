"""The gate room's sentences in the words of traffic: nobody adds cases to what users do."""

from __future__ import annotations

from dataclasses import replace

from harness.gate import GateVerdict
from harness.gate.wording import counted, settle


def in_words(gate: GateVerdict, noun: str, *, advice: bool = True) -> GateVerdict:
    """The verdict with a reason that counts ``noun`` (a request, an input, a user) instead of cases.

    ``advice=False`` leaves out how many more would settle it, where that is not known of growing data.
    """
    reason = gate.reason.replace(counted(gate.n, "case"), counted(gate.n, noun))
    if way := settle(gate):
        more = f"; to settle it, wait for {counted(gate.need_cases or 0, noun)} more" if advice else ""
        reason = reason.replace(f"; to settle it, {way}", more)
    return replace(gate, reason=reason)
