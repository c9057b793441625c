"""Watching an app that runs: its promises, its traffic, its experiments, decided as gates are."""

from harness.run.watch.asked import AbReport
from harness.run.watch.experiments import ab_report
from harness.run.watch.monitoring import Watch, watch

__all__ = ["AbReport", "Watch", "ab_report", "watch"]
