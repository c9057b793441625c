"""Articles as an agency may send them: house rules broken all over, by other code than the adapter learned from."""

from __future__ import annotations

import random
import re

_PAIRS = """
analyse=analyze apologised=apologized behaviour=behavior cancelled=canceled centre=center centres=centers
colour=color criticised=criticized defence=defense favourite=favorite fuelled=fueled
honour=honor hospitalised=hospitalized labour=labor metres=meters modelling=modeling neighbouring=neighboring
neighbours=neighbors offence=offense offences=offenses organisation=organization organisations=organizations
organised=organized organiser=organizer organising=organizing prioritise=prioritize programme=program
programmes=programs realised=realized recognised=recognized sceptical=skeptical specialised=specialized
theatre=theater travelled=traveled traveller=traveler travellers=travelers travelling=traveling
"""
_WORDS = dict(pair.split("=") for pair in _PAIRS.split())
_DIGITS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_CAPITALS = """
all any between both day during ever found here large left long made much nothing now once same since than then this
those today until used where while whole year
"""


def messy(text: str, case: str) -> str:
    """``text`` with about three quarters of the kinds of rule that it can break broken; ``case`` decides which."""
    chance = random.Random(f"messy {case}")
    for mess in (_spell, _money, _days, _count, _shares, _marks, _twice, _initials, _names):
        if chance.random() < 0.75:
            text = mess(text, chance)
    return text


def _spell(text: str, _chance: random.Random) -> str:
    return re.sub(r"\b[a-z]+\b", lambda found: _WORDS.get(found.group(), found.group()), text)


def _money(text: str, _chance: random.Random) -> str:
    text = re.sub(r"£(\d[\d,.]*\d(?:m|bn)?|\d(?:m|bn)?)(?=[ ,.])(?!-)", r"\1 pounds", text)
    return re.sub(r"(?<![\w.,£$€])([1-9]\d{1,2}),(\d{3})\b(?![,.]\d)", r"\1\2", text)


def _days(text: str, chance: random.Random) -> str:
    form = chance.choice([r"\2 \1", r"\1th of \2"])
    pattern = rf"(?<![\d,.:-])\b([4-9]|1\d|2[4-9]|20) ({_MONTHS})\b"
    return re.sub(pattern, form, text)


def _count(text: str, _chance: random.Random) -> str:
    pattern = rf"(?<=[a-z,] )(?<!aged )\b({'|'.join(_DIGITS)})\b(?= (?!(?:and|to|or|per|am|pm|million|billion)\b)[a-z])"
    return re.sub(pattern, lambda found: str(_DIGITS.index(found[1]) + 2), text)


def _initials(text: str, _chance: random.Random) -> str:
    return re.sub(r"\b(?:US|UK|EU|UN|MP|NHS|FA|BBC|MEP|TV)\b(?=,? [a-z])", lambda found: ".".join(found[0]) + ".", text)


def _names(text: str, _chance: random.Random) -> str:
    return re.sub(r"\b(Mr|Mrs|Ms|Dr|Prof)(?= )", r"\1.", text)


def _shares(text: str, chance: random.Random) -> str:
    return re.sub(r"(?<=\d)%| per cent\b", " percent", text) if chance.random() < 0.5 else text


def _marks(text: str, chance: random.Random) -> str:
    if chance.random() < 0.5:
        text = re.sub(r'(?:(?<=^)|(?<=[\s(]))"', "“", text).replace('"', "”").replace("'", "’")
    text = re.sub(r"(?<=\w) and (?=\w)", lambda found: " & " if chance.random() < 0.5 else found[0], text)
    text = re.sub(r"(?<=[a-z])\.(?=\s)", lambda _: "!" if chance.random() < 0.3 else ".", text)
    return re.sub(r"(?<=[a-z]), ", lambda _: " , " if chance.random() < 0.3 else ", ", text)


def _twice(text: str, chance: random.Random) -> str:
    capitals = "|".join(_CAPITALS.split())
    text = re.sub(rf"(?<=[a-z] )({capitals})(?= )", lambda found: found[0].upper(), text)
    pattern = r"(?<= )\b(?:at|by|for|from|in|of|on|the|to|was|with)(?= [a-z])"
    return re.sub(pattern, lambda found: f"{found[0]} {found[0]}" if chance.random() < 0.12 else found[0], text)
