"""Reports: pages made of one run folder and of nothing else, for people, pull requests and machines."""

from __future__ import annotations

from harness.report.junit import render_junit
from harness.report.page import render_html
from harness.report.sarif import render_sarif
from harness.report.summary import render_summary
from harness.report.write import write_reports

__all__ = ["render_html", "render_junit", "render_sarif", "render_summary", "write_reports"]
