"""The command ``signoff``: parse, call one function, print, exit."""

from harness.cli.main import main

__all__ = ["main"]
