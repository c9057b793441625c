"""What makes a messy draft of a clean text: one to four house rules are broken, and in some rows none.

Every choice is drawn from the sha256 of the row's id, so a row is the same on every machine and in every build.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DIGITS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
_BRITISH = """
analyse=analyze behaviour=behavior cancelled=canceled centre=center centres=centers colour=color colours=colors
criticise=criticize criticised=criticized defence=defense emphasised=emphasized favour=favor favourite=favorite
grey=gray harbour=harbor honour=honor honoured=honored humour=humor jewellery=jewelry labelled=labeled labour=labor
metres=meters neighbour=neighbor neighbourhood=neighborhood neighbours=neighbors offence=offense offences=offenses
organisation=organization organisations=organizations organise=organize organised=organized organisers=organizers
programme=program programmes=programs realise=realize realised=realized recognise=recognize recognised=recognized
rumours=rumors theatre=theater travelled=traveled travelling=traveling
"""
_AMERICAN = dict(pair.split("=") for pair in _BRITISH.split())
_LOUD = """
after against already also because been before behind best between biggest children every family first from great have
home just last life little local major many million more most must never next night only other over people place police
public right same school should some still team their them there these they three time very week were when which will
with work world years young
"""
_ON_PURPOSE = ("percent", "had", "that", "more", "very", "so", "long", "no", "is")


def _drawn(key: str, what: str) -> float:
    """A number from 0 to 1 that the key and the purpose decide."""
    return int.from_bytes(hashlib.sha256(f"{key}/{what}".encode()).digest()[:7], "big") / 2**56


def _one(pattern: str, new: Callable[[re.Match[str]], str], text: str, key: str) -> str:
    """``text`` with one of the places that ``pattern`` finds replaced."""
    places = list(re.finditer(pattern, text))
    if not places:
        return text
    place = places[int(_drawn(key, pattern) * len(places))]
    return text[: place.start()] + new(place) + text[place.end() :]


def _american(text: str, _key: str) -> str:
    return re.sub(r"\b[a-z]+\b", lambda found: _AMERICAN.get(found.group(), found.group()), text)


def _dated(text: str, key: str) -> str:
    forms = ("{month} {day}", "{month} {day}{th}", "{day}{th} {month}", "{day}{th} of {month}")
    form = forms[int(_drawn(key, "date") * len(forms))]

    def american(found: re.Match[str]) -> str:
        day = found[1]
        last = "th" if day in ("11", "12", "13") else {"1": "st", "2": "nd", "3": "rd"}.get(day[-1], "th")
        return form.format(day=day, th=last, month=found[2])

    return re.sub(rf"(?<![\d,.:-])\b(\d{{1,2}}) ({_MONTHS})\b", american, text)


def _digits(text: str, _key: str) -> str:
    after = r"(?= (?!(?:and|to|or|per|am|pm|million|billion)\b)[a-z])"
    pattern = rf"(?<=[a-z,] )(?<!aged )({'|'.join(_DIGITS)})\b{after}"
    return re.sub(pattern, lambda found: str(_DIGITS.index(found[1]) + 2), text)


def _curly(text: str, _key: str) -> str:
    text = re.sub(r'(?:(?<=^)|(?<=[\s(]))"', "“", text).replace('"', "”")
    return text.replace("'", "’")


def _percent(text: str, key: str) -> str:
    return re.sub(r"(?<=\d) per cent\b", "%" if _drawn(key, "sign") < 0.7 else " percent", text)


def _shouted(text: str, key: str) -> str:
    return _one(rf"(?<=[a-z,] )\b(?:{'|'.join(_LOUD.split())})\b(?= )", lambda found: found.group().upper(), text, key)


def _stopped(text: str, _key: str) -> str:
    return re.sub(r"\b[A-Z]{2,3}\b(?=,? [a-z])", lambda found: "".join(f"{letter}." for letter in found[0]), text)


def _worded(text: str, key: str) -> str:
    form = r"\1 pounds" if _drawn(key, "pounds") < 0.7 else r"GBP \1"
    return re.sub(r"£(\d[\d,.]*\d(?:m|bn|k)?|\d(?:m|bn|k)?)(?=[ ,.])(?! million| billion|-)", form, text)


def _twice(text: str, key: str) -> str:
    pattern = rf"(?<= )\b(?!(?:{'|'.join(_ON_PURPOSE)})\b)([a-z]{{2,}})(?= (?!\1\b))"
    return _one(pattern, lambda found: f"{found[1]} {found[1]}", text, key)


def _loose(text: str, key: str) -> str:
    return _one(r"(?<=[a-z])(?=[,.](?:\s|$))", lambda _: " ", text, key)


def _loud(text: str, key: str) -> str:
    return _one(r'(?<=[a-z])\.(?="?(?:\s|$))', lambda _: "!", text, key)


def _and(text: str, key: str) -> str:
    return _one(r"(?<=\w) and (?=\w)", lambda _: " & ", text, key)


def _joined(text: str, _key: str) -> str:
    return re.sub(r"(?<![\w.,])([1-9]\d{1,2}),(\d{3})\b(?![,.]\d)", r"\1\2", text)


def _dotted(text: str, _key: str) -> str:
    return re.sub(r"\b(Mr|Mrs|Ms|Dr|Prof)(?= )", r"\1.", text)


# Applied in this order: what one makes, the next must still be able to read. The number says how eagerly a rule is
# taken where it can be broken at all, so that the rare ones are seen often enough.
_MESSES: dict[str, tuple[Callable[[str, str], str], float]] = {
    "spelling": (_american, 6.0),
    "thousands": (_joined, 6.0),
    "pounds": (_worded, 6.0),
    "dates": (_dated, 6.0),
    "small_numbers": (_digits, 3.0),
    "per_cent": (_percent, 6.0),
    "ampersand": (_and, 1.0),
    "shouting": (_shouted, 0.7),
    "doubled": (_twice, 0.7),
    "exclamation": (_loud, 0.7),
    "spacing": (_loose, 0.5),
    "quotes": (_curly, 1.0),
    "abbreviations": (_stopped, 3.0),
    "titles": (_dotted, 2.0),
}


def _messed(text: str, key: str) -> tuple[str, list[str]]:
    """The draft and the rules that it breaks; weighted drawing without replacement (Efraimidis and Spirakis 2006)."""
    possible = [name for name, (mess, _) in _MESSES.items() if mess(text, key) != text]
    ranked = sorted(possible, key=lambda name: _drawn(key, name) ** (1 / _MESSES[name][1]), reverse=True)
    count = sum(_drawn(key, "count") >= bound for bound in (0.14, 0.4, 0.65, 0.85))
    done = []
    for name in sorted(ranked[:count], key=list(_MESSES).index):
        before, text = text, _MESSES[name][0](text, key)
        # An earlier one may have taken the only place.
        done += [name] if text != before else []
    return text, done


def messy_draft(text: str, key: str) -> str:
    """``text`` with the rules broken that ``broken_rules`` names."""
    return _messed(text, key)[0]


def broken_rules(text: str, key: str) -> str:
    """The names of the rules that the draft of this row breaks, with commas between; empty for none."""
    return ",".join(sorted(_messed(text, key)[1]))


def spot_count(text: str) -> int:
    """How many kinds of rarely seen places for a house rule the text has: dates, sums, numbers, titles, spellings."""
    return sum(mess(text, "") != text for mess, weight in _MESSES.values() if weight > 1)


_BREAKS = re.compile(
    rf"""[!%&“”‘’…ÂÃ\ufffd] | \.\.\. | \bpercent\b | \ [,.;:](?:\s|$)
    | (?<![\w.,:/£$€-])[2-9]\ (?=[a-z]) | \d{{5}} | \bpounds\b | \bGBP
    | \b(?:{_MONTHS})\ \d{{1,2}}(?:st|nd|rd|th)?\b | \d(?:st|nd|rd|th)\ (?:of\ )?(?:{_MONTHS})
    | \b(?:Mr|Mrs|Ms|Dr|Prof)\. | \b[A-Z]\.[A-Z] | \b([A-Za-z]+)\ \1\b
    | \b[a-z]+(?:ized|izing|izer|ization|enter|olor|abor|avor|eighbor|onor|heater|ffense|efense|rogram|celed|veled)s?\b
    | \b(?:{"|".join(word.upper() for word in _LOUD.split())})\b""",
    re.VERBOSE,
)


def breaks_a_rule(text: str) -> bool:
    """Whether something in the text may break a house rule; such a text is no example of a clean one."""
    return _BREAKS.search(text) is not None
