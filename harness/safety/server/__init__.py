"""Probes of a served gateway over HTTP: who is let in, what is refused, and what answers give away."""

from harness.safety.server.run import ServerReport, probe_server
from harness.safety.server.target import Target

__all__ = ["ServerReport", "Target", "probe_server"]
