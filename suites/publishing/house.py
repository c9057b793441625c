"""House style: what a desk does to every draft, as code, so that a rule holds or is measured as broken."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(])")
_NAME = re.compile(r"\b[A-Z][A-Za-z'-]+\b")
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
# A lone digit is spelt out, unless it is part of a date, a score, a time, a decimal or a share.
_LONE_DIGIT = re.compile(rf"(?<![\d.,:/£$€-])\b(\d)\b(?![\d:/%-]|[.,]\d|\s*(?:per cent|am|pm|{_MONTHS}))")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..."})


@lru_cache(maxsize=1)
def _style() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "style.yaml").read_text(encoding="utf-8"))


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return [part.strip() for part in _SENTENCE.split(" ".join(text.split())) if part.strip()]


def unknown(text: str, article: str) -> list[str]:
    """Names and numbers of ``text`` that the article does not hold; a sentence's first word is no name."""
    # An edit may write 16,000 for 16000 and US for U.S.; neither is a new fact.
    lowered = article.translate(_STRAIGHT).lower()
    lowered = f"{lowered} {lowered.replace('.', '')}"
    figures = lowered.replace(",", "")
    found = []
    for sentence in sentences(text):
        names = [match for match in _NAME.finditer(sentence) if match.start() > 0]
        found += [match.group() for match in names if match.group().removesuffix("'s").lower() not in lowered]
        found += [number for number in _NUMBER.findall(sentence) if number.replace(",", "") not in figures]
    return found


def _plain(text: str) -> str:
    text = " ".join(text.translate(_STRAIGHT).split())
    for old, new in _style()["replace"].items():
        text = text.replace(old, new)
    words = _style()["number_words"]
    text = _LONE_DIGIT.sub(lambda found: words[int(found.group(1))], text)
    return re.sub(r"\s+([.,;:])", r"\1", re.sub(r"\.{2,}", ".", text))


def _whole(sentence: str) -> bool:
    return sentence.endswith((".", "?", '."', ".'")) and len(sentence.split()) >= 4


def draft(own: str, written: str | None) -> str:
    """What is edited: the reporter's own draft where there is one, on one line."""
    return " ".join((own or written or "").split())


def desk(draft: str, article: str) -> str:
    """The draft under house rules: whole sentences, no opener, nothing named that the article does not name.

    Where nothing of the draft survives, the article's own first sentence stands in.
    """
    kept = []
    for sentence in sentences(_plain(draft)):
        lowered = sentence.lower()
        if not _whole(sentence) or any(lowered.startswith(opener) for opener in _style()["openers"]):
            continue
        if unknown(sentence, article) or sentence in kept:
            continue
        kept.append(sentence)
    chosen = kept or [_plain(sentence) for sentence in sentences(article)[:1]]
    return " ".join(sentence[:1].upper() + sentence[1:] for sentence in chosen[: _style()["max_sentences"]])


def publish(headline: str, summary: str, article: str) -> dict[str, str]:
    """Headline and summary as they go to the page; a headline that breaks a rule is cut from the summary instead."""
    line = _headline(headline)
    source = "model"
    if not _fits(line, article):
        line, source = _headline(summary.split(". ")[0]), "summary"
    return {"headline": line, "summary": summary, "headline_source": source}


def _headline(text: str) -> str:
    style = _style()
    words = _plain(text.strip().strip("\"'")).rstrip(".").split()[: style["max_headline_words"]]
    while words and len(" ".join(words)) > style["max_headline_characters"]:
        words.pop()
    while words and words[-1].lower().strip(",;:") in style["trailing_words"]:
        words.pop()
    line = " ".join(words).rstrip(",;:-. ")
    return line[:1].upper() + line[1:]


def _fits(line: str, article: str) -> bool:
    return len(line.split()) >= _style()["min_headline_words"] and not unknown(line, article)


def headline_from_model(subject: Any) -> bool:
    """Check: the page carries the model's own headline, not the fallback."""
    return subject.parsed["headline_source"] == "model"


def names_only_the_article(subject: Any) -> bool:
    """Check: the text names nobody and no number that the article does not."""
    text = subject.parsed["headline"] if isinstance(subject.parsed, dict) else subject.output
    return not unknown(text, subject.inputs["article"])


def _draft_of(subject: Any) -> str:
    # A version of the app without the step `draft` edits the summary itself, and is compared with this one.
    return str(subject.steps.get("draft") or subject.steps["summarise"])


def draft_survives(subject: Any) -> float:
    """Check: the share of the draft's whole sentences that house rules keep."""
    whole = [sentence for sentence in sentences(_plain(_draft_of(subject))) if _whole(sentence)]
    if not whole:
        return 0.0
    return sum(not unknown(sentence, subject.inputs["article"]) for sentence in whole) / len(whole)
