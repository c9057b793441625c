"""Safety: attempts to make an app do what it must not, each with an exact goal, and probes of a served gateway."""

from harness.safety.attempts import Attempt, attempts_of
from harness.safety.findings import Finding, findings_file
from harness.safety.goals import Goal, Seen, build_goal
from harness.safety.scoring import ProbeScorer

__all__ = ["Attempt", "Finding", "Goal", "ProbeScorer", "Seen", "attempts_of", "build_goal", "findings_file"]
