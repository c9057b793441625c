"""House rules for wording: each is a function that repairs a text, and is broken where it changes it.

All of them could be left to this code; that is what makes them a fair test of an editor that is a model. What it writes
is compared with what the code would have written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import Any

LEAST_KEPT = 0.8
"""The share of the draft's words that an edit has to keep; below it the text is another one and keeps no rule."""

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DIGITS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
# Lower case only: a name (Pearl Harbor, the World Trade Center) is spelt as its owner spells it.
_AMERICAN = """
analyze=analyse apologize=apologise apologized=apologised armor=armour authorized=authorised behavior=behaviour
canceled=cancelled catalog=catalogue center=centre centers=centres civilization=civilisation color=colour
colored=coloured colors=colours criticize=criticise criticized=criticised criticizing=criticising defense=defence
dialog=dialogue emphasized=emphasised endeavor=endeavour favor=favour favored=favoured favorite=favourite
favorites=favourites fiber=fibre finalized=finalised fueled=fuelled gray=grey harbor=harbour honor=honour
honored=honoured honors=honours hospitalized=hospitalised humor=humour jewelry=jewellery labeled=labelled labor=labour
leveled=levelled maneuver=manoeuvre meter=metre meters=metres minimize=minimise mobilized=mobilised modeling=modelling
modernize=modernise neighbor=neighbour neighborhood=neighbourhood neighboring=neighbouring neighbors=neighbours
offense=offence offenses=offences organization=organisation organizations=organisations organize=organise
organized=organised organizer=organiser organizers=organisers organizing=organising plow=plough prioritize=prioritise
program=programme programs=programmes realize=realise realized=realised recognize=recognise recognized=recognised
recognizing=recognising rumor=rumour rumors=rumours skeptical=sceptical specialized=specialised summarize=summarise
theater=theatre theaters=theatres traveled=travelled traveler=traveller travelers=travellers traveling=travelling
utilize=utilise vapor=vapour vigor=vigour
"""
_BRITISH = dict(pair.split("=") for pair in _AMERICAN.split())
_ORDINARY = """
about after again against all almost already also always and any because been before behind being best between biggest
both but children could day days during each ever every everyone everything family few first five for found from full
great had has have health her here high him his home house how huge into just large last left life little local long
made major many million more most much must near never new next night nothing now off often old once only open other
our out over own part people place police public really right said same school second should since small some still
such team than that the their them then there these they thing this those three time today too town two under until
used very was water way week well were what when where which while whole why will with without women work world would
year years yet you young your
"""
_SHOUTED = frozenset(_ORDINARY.split())
_TWICE_ON_PURPOSE = ("had", "that", "more", "very", "so", "long", "no", "is")


def _exclamation(text: str) -> str:
    return re.sub(r"!+", ".", text)


def _per_cent(text: str) -> str:
    return re.sub(r"(?<=\d)\s*(?:%|percent\b)", " per cent", text)


def _ampersand(text: str) -> str:
    return re.sub(r" & ", " and ", text)


def _small_number(found: re.Match[str]) -> str:
    *earlier, last = found.string[: found.start()].split() or [""]
    shouted = last.isupper() and last.lower() in _SHOUTED
    # "Radio 4", "Year 7" and "aged 7" are names and ages; a capital that opens a sentence is neither.
    opens = not earlier or earlier[-1].endswith((".", '."', "?", ":"))
    if last in ("aged", "age") or (last[:1].isupper() and not opens and not shouted):
        return found.group()
    return _DIGITS[int(found.group()) - 2]


def _small_numbers(text: str) -> str:
    follows = rf" (?!(?:and|to|or|per|am|pm|million|billion|m|bn|pounds|percent)\b|{_MONTHS})(?=[a-z])"
    return re.sub(rf"(?<![\w.,:/£$€-])[2-9](?={follows})", _small_number, text)


def _quotes(text: str) -> str:
    return text.translate(str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"}))


def _spelling(text: str) -> str:
    return re.sub(r"\b[a-z]+\b", lambda found: _BRITISH.get(found.group(), found.group()), text)


def _dates(text: str) -> str:
    text = re.sub(rf"\b({_MONTHS}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?![:.]?\d|%)", r"\2 \1", text)
    return re.sub(rf"\b(\d{{1,2}})(?:st|nd|rd|th) (?:of )?({_MONTHS})\b", r"\1 \2", text)


def _doubled(text: str) -> str:
    purpose = "|".join(_TWICE_ON_PURPOSE)
    return re.sub(rf"\b(?!(?:{purpose})\b)([A-Za-z][a-z]*)(?: \1\b)+", r"\1", text)


def _titles(text: str) -> str:
    return re.sub(r"\b(Mr|Mrs|Ms|Dr|Prof)\.(?= )", r"\1", text)


def _abbreviations(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        last = "." if found.end() == len(found.string) else ""
        return found.group().replace(".", "") + last

    return re.sub(r"\b(?:[A-Z]\.){2,}", plain, text)


def _pounds(text: str) -> str:
    text = re.sub(r"\bGBP ?(?=\d)", "£", text)
    return re.sub(r"(?<![\d£,.])(\d[\d,.]*(?:m|bn|k| million| billion)?) pounds\b", r"£\1", text)


def _shouting(text: str) -> str:
    def lower(found: re.Match[str]) -> str:
        word = found.group().lower()
        opens = not found.string[: found.start()].rstrip("\"' ") or found.string[: found.start()].endswith(". ")
        return found.group() if word not in _SHOUTED else word.capitalize() if opens else word

    return re.sub(r"\b[A-Z]{3,}\b", lower, text)


def _thousands(text: str) -> str:
    return re.sub(r"(?<![\w.,])(?<!\d)[1-9]\d{4,8}\b(?![,.]\d)", lambda found: f"{int(found.group()):,}", text)


def _spacing(text: str) -> str:
    return re.sub(r"(?<=\w) (?=[,.;:](?:\s|$))", "", text)


RULES: Mapping[str, Callable[[str], str]] = {
    "spacing": _spacing,
    "quotes": _quotes,
    "exclamation": _exclamation,
    "per_cent": _per_cent,
    "ampersand": _ampersand,
    "dates": _dates,
    "small_numbers": _small_numbers,
    "doubled": _doubled,
    "titles": _titles,
    "abbreviations": _abbreviations,
    "pounds": _pounds,
    "thousands": _thousands,
    "shouting": _shouting,
    "spelling": _spelling,
}
"""Each rule's name and its repair."""


def broken(text: str) -> tuple[str, ...]:
    """The names of the rules that ``text`` breaks, in the order of RULES."""
    return tuple(name for name, repair in RULES.items() if repair(text) != text)


def repaired(text: str) -> str:
    """``text`` with every rule kept, blanks made single, and nothing else changed."""
    text = " ".join(text.split())
    for repair in RULES.values():
        text = repair(text)
    return text


def kept_words(draft: str, edited: str) -> float:
    """The share of the words of ``draft``, once repaired, that stand in ``edited`` in the same order; 1 without any."""
    wanted, found = repaired(draft).split(), repaired(edited).split()
    matched = SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks()
    return sum(block.size for block in matched) / len(wanted) if wanted else 1.0


def _draft_of(subject: Any) -> str:
    # A version of the app without the step `draft` edits the summary itself, and is compared with this one.
    return str(subject.steps.get("draft") or subject.steps["summarise"])


def house_rules(subject: Any) -> float:
    """Check: the share of the rules at stake that the edited text keeps.

    At stake is what the draft breaks, and what the edit breaks anew. An edit that lost the text keeps no rule.
    """
    draft, edited = _draft_of(subject), " ".join(subject.output.split())
    if kept_words(draft, edited) < LEAST_KEPT:
        return 0.0
    before, after = set(broken(draft)), set(broken(edited))
    return 1.0 - len(after) / len(before | after) if before | after else 1.0


def words_kept(subject: Any) -> float:
    """Check: the share of the draft's words that the edited text keeps, in their order."""
    return kept_words(_draft_of(subject), subject.output)


def edited_exactly(subject: Any) -> bool:
    """Check: the edited text is the draft with its broken rules repaired, and nothing else was touched."""
    return " ".join(subject.output.split()) == repaired(_draft_of(subject))


def in_style(subject: Any) -> bool:
    """Check: the text breaks no rule at all."""
    return not broken(subject.output)
