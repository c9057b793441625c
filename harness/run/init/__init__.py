"""A new repository, gated from its first commit."""

from harness.run.init.create import Created, Wanted, create

__all__ = ["Created", "Wanted", "create"]
