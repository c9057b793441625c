"""What a pull request is told: first as plain, bounded data, then as Markdown of at most fifteen lines.

The two are apart because they may be made by different jobs: the data by one that ran a stranger's code, the Markdown
by one that may write to the repository. Nothing in the data is trusted to be Markdown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import SignoffError
from harness.report import figures
from harness.report.cases import Moved, moved_cases, outputs_of
from harness.report.changes import app_changes
from harness.report.folder import Run
from harness.report.page import WORDS, stage_cards
from harness.report.scores import Score
from harness.report.visible import one_line

ICONS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "error": "⚠️"}
MARKER = "<!-- signoff -->"
"""Stands in the comment, unseen, so that the next run finds it."""
LINES = 15
REASONS, CASES, FINDINGS = 3, 2, 3
WIDTH, SENTENCE, PARAGRAPH = 160, 300, 400
FINDING = 200
SCHEMA = 1

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
_TEXTS = {"facts": PARAGRAPH, "changed": PARAGRAPH, "yardstick": PARAGRAPH, "next_action": PARAGRAPH}
_LISTS = {"reasons": (REASONS, SENTENCE), "findings": (FINDINGS, FINDING)}
_CASE = ("title", "before", "after")


def brief(run: Run) -> dict[str, Any]:
    """The content of ``comment.json``: every text on one line and cut to its limit, nothing escaped."""
    reasons = [str(reason) for reason in run.verdict.get("reasons") or ()]
    worse, _ = moved_cases(run, run.scores)
    return {
        "schema": SCHEMA,
        "verdict": str(run.verdict.get("verdict") or "error"),
        "approved": bool(run.verdict["approval"]),
        "facts": one_line(_facts(run), PARAGRAPH),
        "changed": one_line(_changed(run), PARAGRAPH),
        "reasons": [one_line(reason, SENTENCE) for reason in reasons[:REASONS]],
        "yardstick": one_line(_yardstick(run), PARAGRAPH),
        "findings": [one_line(text, FINDING) for text in _findings(run, reasons[:REASONS])[:FINDINGS]],
        "cases": [_case(run, moved) for moved in worse[:CASES]],
        "next_action": one_line(str(run.verdict.get("next_action") or "none"), PARAGRAPH),
    }


def broken(reason: str, action: str) -> dict[str, Any]:
    """The brief of a run that came to no verdict."""
    return bare("error", reason, action, facts="no verdict", changed="not known")


def bare(verdict: str, reason: str, action: str, *, facts: str, changed: str) -> dict[str, Any]:
    """The brief of a run that left no folder: one reason, no case."""
    return {
        "schema": SCHEMA, "verdict": verdict, "approved": False, "facts": one_line(facts, PARAGRAPH),
        "changed": one_line(changed, PARAGRAPH), "reasons": [one_line(reason, SENTENCE)], "yardstick": "",
        "findings": [], "cases": [], "next_action": one_line(action, PARAGRAPH),
    }  # fmt: skip


def checked(content: Any) -> dict[str, Any]:
    """``content`` if it has the shape of a brief; SignoffError says what is wrong with a stranger's."""
    wanted = {"schema", "verdict", "approved", "cases", *_TEXTS, *_LISTS}
    if not isinstance(content, dict) or set(content) != wanted:
        message = f"comment.json must be an object with exactly {', '.join(sorted(wanted))}"
        raise SignoffError(message)
    right = {
        "schema": content["schema"] == SCHEMA,
        "verdict": isinstance(content["verdict"], str) and content["verdict"] in ICONS,
        "approved": isinstance(content["approved"], bool),
        "cases": _list_of(content["cases"], CASES) and all(map(_is_case, content["cases"])),
    }
    right |= {name: _is_text(content[name], limit) for name, limit in _TEXTS.items()}
    right |= {
        name: _list_of(content[name], most) and all(_is_text(text, limit) for text in content[name])
        for name, (most, limit) in _LISTS.items()
    }
    if wrong := sorted(name for name, fits in right.items() if not fits):
        message = f"comment.json: {', '.join(wrong)} of another kind, or longer than a run of signoff writes it"
        raise SignoffError(message)
    return content


def markdown(told: Mapping[str, Any], link: str = "") -> str:
    """A brief as Markdown, at most fifteen lines that are not blank; ``link`` leads to the report."""
    decided = str(told["verdict"])
    word = WORDS.get(decided, decided).lower() + (", approved" if told["approved"] else "")
    extra = [f"**Yardstick moved:** {prose(told['yardstick'], PARAGRAPH)}"] if told["yardstick"] else []
    found = " · ".join(prose(text, FINDING) for text in told["findings"])
    extra += [f"**Stages:** {found}"] if found else []
    used = 4 + len(told["reasons"]) + len(extra)
    blocks = [
        f"## {ICONS.get(decided, '⚠️')} Signoff: {prose(word, 40)}",
        f"{prose(told['facts'], PARAGRAPH)}  \n**Changed:** {prose(told['changed'], PARAGRAPH)}",
        "\n".join(f"{n}. {prose(reason, SENTENCE)}" for n, reason in enumerate(told["reasons"], start=1)),
        "\n".join(extra),
        _worst(told["cases"], LINES - used),
        f"**Next:** {prose(told['next_action'], PARAGRAPH)}" + (f" · [report]({link})" if link else ""),
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
            f"profile {run.verdict.get('profile') or run.manifest.get('profile') or 'unknown'}",
            f"{figures.count(calls)} model calls, {figures.count(cached)} from cache",
            figures.seconds(run.verdict.get("wall_s")),
        )
        if part
    )


def _changed(run: Run) -> str:
    sentences = [change.sentence + ("" if change.pinned else " (unpinned)") for change in app_changes(run)]
    return "; ".join(sentences or ["no app"])


def _yardstick(run: Run) -> str:
    moves: Sequence[Mapping[str, Any]] = run.verdict.get("yardstick_moved") or ()
    waiting: Sequence[str] = run.verdict.get("needs_approval") or ()
    if not moves:
        return ""
    effects = Counter(str(move["effect"]) for move in moves)
    counts = ", ".join(f"{effects[kind]} {kind}" for kind in ("looser", "changed", "harder") if effects[kind])
    named = list(waiting) or [f"{move['app']}: {move['what']}" for move in moves]
    word = "needs an approval: " if waiting else ""
    more = f" and {len(named) - 2} more" if len(named) > 2 else ""
    return f"{counts}; {word}{'; '.join(named[:2])}{more}"


def _findings(run: Run, reasons: Sequence[str]) -> list[str]:
    """What stages found that speak against the run and that no reason names; cases of regression stand below."""
    named = {
        gate["stage"] for gate in run.gates if any(f"gate {gate['app']}/{gate['id']} " in text for text in reasons)
    }
    return [
        f"{card.stage['name']}: {'; '.join(card.found[:2])}"
        for card in stage_cards(run)
        if card.found and card.against and card.stage["name"] not in {"regression", *named}
    ]


def _case(run: Run, moved: Moved) -> dict[str, Any]:
    falls = ", ".join(_fall(score) for score in moved.fell)
    title = one_line(f"{moved.app} / {moved.case}: {falls}", WIDTH)
    before, after = outputs_of(run, moved)
    if before is None and after is None:
        return {"title": title, "before": None, "after": None}
    if before == after:
        same = one_line(before or "", WIDTH)
        return {"title": title, "before": same, "after": same}
    old, new = _window(before or "", after or "")
    return {"title": title, "before": old, "after": new}


def _fall(score: Score) -> str:
    return f"{score.label} {figures.value(score.baseline, score.unit)} → {figures.value(score.candidate, score.unit)}"


def _window(before: str, after: str) -> tuple[str, str]:
    """Both texts cut to the neighbourhood of their first difference."""
    at = next((i for i, (x, y) in enumerate(zip(before, after, strict=False)) if x != y), min(len(before), len(after)))
    start = max(0, at - 40) if max(len(before), len(after)) > WIDTH else 0
    lead = "…" if start else ""
    old, new = (lead + one_line(text[start : start + 2 * WIDTH], WIDTH) for text in (before, after))
    return old, new


def _worst(cases: Sequence[Mapping[str, Any]], room: int) -> str:
    """The cases as one block of differences that takes at most ``room`` lines."""
    lines: list[str] = []
    for case in cases:
        added = _lines(case)
        if len(lines) + len(added) + 2 <= room:
            lines += added
    if not lines:
        return ""
    # The fence must be longer than any run of backticks that a model put into its output.
    longest = max((len(run_of) for run_of in re.findall(r"`+", "\n".join(lines))), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}diff", *lines, fence])


def _lines(case: Mapping[str, Any]) -> list[str]:
    # Cut once more: a stranger's text must not be able to end its line.
    title, before, after = (None if case[name] is None else one_line(case[name], 2 * WIDTH) for name in _CASE)
    if before is None and after is None:
        return [f"@@ {title} @@"]
    if before == after:
        return [f"@@ {title} @@", f"  {before}"]
    return [f"@@ {title} @@", f"- {before or ''}", f"+ {after or ''}"]


def _is_text(value: Any, limit: int) -> bool:
    return isinstance(value, str) and len(value) <= limit


def _list_of(value: Any, most: int) -> bool:
    return isinstance(value, list) and len(value) <= most


def _is_case(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != set(_CASE):
        return False
    texts = (value["before"], value["after"])
    return _is_text(value["title"], WIDTH) and all(text is None or _is_text(text, 2 * WIDTH) for text in texts)
