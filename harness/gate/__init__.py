"""From measurements and gates to one verdict; approvals by named persons."""

from harness.gate.approvals import Approval, apply_approval, approve, read_approvals
from harness.gate.decide import ALPHA_FAIL, Options, decide, needs_another_look
from harness.gate.minimum import NEVER, minimum_cases
from harness.gate.moved import hold
from harness.gate.verdicts import AppArms, GateVerdict, RunVerdict, StageResult

__all__ = [
    "ALPHA_FAIL",
    "NEVER",
    "AppArms",
    "Approval",
    "GateVerdict",
    "Options",
    "RunVerdict",
    "StageResult",
    "apply_approval",
    "approve",
    "decide",
    "hold",
    "minimum_cases",
    "needs_another_look",
    "read_approvals",
]
