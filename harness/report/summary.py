"""The report for a pull request: verdict, what changed, why, the worst cases, what to do; at most fifteen lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report import figures
from harness.report.cases import Moved, moved_cases, outputs_of
from harness.report.changes import app_changes
from harness.report.folder import Run, read_run
from harness.report.page import WORDS
from harness.report.scores import Score
from harness.report.visible import one_line

ICONS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "error": "⚠️"}
REASONS = 3
CASES = 2
WIDTH = 160

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def render_summary(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``summary.md`` of a run folder: Markdown, at most fifteen lines that are not blank."""
    return summary(read_run(run_dir, manifest, verdict))


def summary(run: Run) -> str:
    """``summary.md`` of a run that has been read."""
    decided = str(run.verdict.get("verdict") or "error")
    word = WORDS.get(decided, decided).lower() + (", approved" if run.verdict["approval"] else "")
    blocks = [
        f"## {ICONS.get(decided, '⚠️')} Signoff: {prose(word, 40)}",
        f"{_facts(run)}  \n{_changed(run)}",
        "\n".join(f"{n}. {prose(reason, 300)}" for n, reason in enumerate(_reasons(run), start=1)),
        _worst(run),
        f"**Next:** {prose(str(run.verdict.get('next_action') or 'none'), 400)}",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def prose(text: str, limit: int) -> str:
    """Text as one line of Markdown that renders as itself: no markup, no mention, no link."""
    escaped = _MARKUP.sub(r"\\\1", one_line(text, limit))
    # GitHub resolves mentions after rendering; an empty comment between sign and name stops it.
    return escaped.replace("@", "@<!-- -->").replace("://", "\\://").replace("www.", "www\\.")


def _facts(run: Run) -> str:
    counts = Counter(str(gate["verdict"]) for gate in run.gates if gate["required"])
    gates = ", ".join(f"{counts[kind]} {word.lower()}" for kind, word in WORDS.items() if counts[kind])
    calls, cached = run.verdict.get("model_calls"), run.verdict.get("cached_calls")
    return " · ".join(
        part
        for part in (
            f"required gates: {gates or 'none'}",
            prose(f"profile {run.verdict.get('profile') or run.manifest.get('profile') or 'unknown'}", 40),
            f"{figures.count(calls)} model calls, {figures.count(cached)} from cache",
            figures.seconds(run.verdict.get("wall_s")),
        )
        if part
    )


def _changed(run: Run) -> str:
    sentences = [change.sentence + ("" if change.pinned else " (unpinned)") for change in app_changes(run)] or [
        "no app"
    ]
    return f"**Changed:** {prose('; '.join(sentences), 400)}"


def _reasons(run: Run) -> list[str]:
    given = [str(reason) for reason in run.verdict.get("reasons") or ()]
    return given[:REASONS]


def _worst(run: Run) -> str:
    worse, _ = moved_cases(run, run.scores)
    lines = [line for moved in worse[:CASES] for line in _case(run, moved)]
    if not lines:
        return ""
    # The fence must be longer than any run of backticks that a model put into its output.
    longest = max((len(run_of) for run_of in re.findall(r"`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}diff", *lines, fence])


def _case(run: Run, moved: Moved) -> list[str]:
    falls = ", ".join(_fall(score) for score in moved.fell)
    header = one_line(f"{moved.app} / {moved.case}: {falls}", WIDTH)
    before, after = outputs_of(run, moved)
    if before is None and after is None:
        return [f"@@ {header} @@"]
    if before == after:
        return [f"@@ {header} @@", f"  {one_line(before or '', WIDTH)}"]
    old, new = _window(before or "", after or "")
    return [f"@@ {header} @@", f"- {old}", f"+ {new}"]


def _fall(score: Score) -> str:
    return f"{score.label} {figures.value(score.baseline, score.unit)} → {figures.value(score.candidate, score.unit)}"


def _window(before: str, after: str) -> tuple[str, str]:
    """Both texts cut to the neighbourhood of their first difference."""
    at = next((i for i, (x, y) in enumerate(zip(before, after, strict=False)) if x != y), min(len(before), len(after)))
    start = max(0, at - 40) if max(len(before), len(after)) > WIDTH else 0
    lead = "…" if start else ""
    old, new = (lead + one_line(text[start : start + 2 * WIDTH], WIDTH) for text in (before, after))
    return old, new
