"""Marts: raw sources become a clean, anonymised, split and documented table by ordered SQL."""

from harness.data.marts.build import build_mart
from harness.data.marts.built import BuiltMart, open_mart
from harness.data.marts.ledger import StepDone
from harness.data.marts.sql_steps import AuditError

__all__ = ["AuditError", "BuiltMart", "StepDone", "build_mart", "open_mart"]
