"""Postal addresses, line by line: a street with its number in a dozen languages, a postcode with its town, a box."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.spans import Span
from harness.data.words import either

_CAPITAL = r"[^\W\d_a-z]"
_WORD = rf"{_CAPITAL}[^\W\d_]*(?:['\-][^\W\d_]+){{0,3}}\.?"
_PLACE = rf"(?:St\. )?{_CAPITAL}[^\W\d_]+(?:['\-][^\W\d_]+){{0,3}}"
_TOWN = rf"{_PLACE}(?: (?:am|an der|im|de|la|sur|upon|ob der|bei) {_PLACE}| {_PLACE}){{0,2}}"
_NUMBER = r"\d{1,4}(?:/\d{1,3})?(?: ?[a-hA-H]\b)?(?: ?- ?\d{1,4})?"
_OF = r"(?:(?:de|du|des|la|le|les|del|della|dei|di|do|da|dos|das|los|las|el|al|y|et|e|l'|d')(?: |(?<='))){0,3}"

_ENGLISH_TYPE = either(
    r"Street|St|Road|Rd|Avenue|Ave|Av|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Boulevard|Blvd|Way|Close|Terrace",
    r"Crescent|Cres|Gardens|Gdns|Row|Hill|Grove|Parkway|Pkwy|Highway|Hwy|Mews|Walk|Quay|Circle|Cir|Green|Park|Bank|End",
    r"Rise|View|Mount|Parade|Esplanade|Trail|Path|Broadway|Wharf|Vale|Yard|Common|Gate|Bridge|Fields?|Meadows?|Heights",
)
_JOINED_TYPE = either(
    r"strasse|str\.|straat|weg|platz|plein|allee|gasse|gracht|ring|damm|ufer|steig|chaussee|kade|laan|singel|dijk|gata",
    r"gatan|vagen|vej|veien|gade|katu|tie|gaten|markt|brucke|hof|berg|graben|plass|plassen|steeg|kuja|polku",
)
_SPACED_TYPE = either(
    r"strasse|str\.|allee|platz|weg|ring|damm|ufer|chaussee|straat|gata|gatan|vagen|vei|vej|alle|utca|ut|sokak|sok\.",
    r"caddesi|cad\.",
)
_FIRST_TYPE = either(
    r"rue|avenue|boulevard|place|impasse|chemin|allee|quai|cours|route|square|calle|c/|avenida|avda\.?|plaza|paseo|camino",
    r"carrer|cuesta|alameda|ronda|glorieta|via|viale|piazza|corso|vicolo|largo|rua|travessa|praca|ulica|ul\.|aleja|al\.",
    r"os\.|osiedle|plac|pl\.|str\.|strada|bulevardul|aleea",
)
_GERMAN_PLACE = either(
    "Am|An der|An den|Auf der|Auf dem|Im|In der|In den|Unter den|Zum|Zur|Hinter der|Vor dem|Beim",
)
_ADDRESS_WORD = either(
    r"deliver(?:ed)? to|delivery to|ship(?:ped)? to|send (?:it )?to|sent to|address(?: is)?|live (?:at|in)",
    r"lived (?:at|in)|moved (?:to|from)|adresse|anschrift|wohnen?|wohnhaft|indirizzo|direccion|endereco",
)

_SURE_STREETS = (
    re.compile(
        rf"(?<![\w.,/\-€$£])(?:(?:Flat|Apt\.?|Apartment|Unit|Suite|Block|House) [\w\-]{{1,5}},? )?{_NUMBER},? "
        rf"(?:{_WORD} ){{1,4}}{_ENGLISH_TYPE}\b\.?(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\b)?"
    ),
    re.compile(
        rf"\b{_CAPITAL}[^\W\d_\-]*(?:-{_CAPITAL}[^\W\d_]+){{0,3}}-?(?i:{_JOINED_TYPE})[ ,]{{1,2}}{_NUMBER}",
    ),
    re.compile(rf"\b(?:{_WORD} ){{1,3}}(?i:{_SPACED_TYPE}),? (?:No:? ?)?{_NUMBER}"),
    re.compile(rf"\b\d{{1,4}}(?: ?(?:bis|ter|[A-D]))?,? (?i:{_FIRST_TYPE}) {_OF}{_WORD}(?: {_OF}{_WORD}){{0,3}}"),
    re.compile(
        rf"(?<![\w])(?i:{_FIRST_TYPE}) {_OF}{_WORD}(?: {_OF}{_WORD}){{0,3}},? (?:n[.o°]{{1,2}} ?)?{_NUMBER}(?![\d%])"
    ),
    re.compile(
        r"\b(?:P\.? ?O\.? ?Box|Postfach|Packstation|Postbus|Apartado|Casella postale|B\.?P\.?) ?\d{1,7}\b",
        re.IGNORECASE,
    ),
)
_LIKELY_STREETS = (
    re.compile(rf"\b(?:Dock|Pier|Berth|Hangar|Warehouse) \d{{1,4}}[a-zA-Z]?, {_TOWN}"),
    re.compile(rf"\b{_GERMAN_PLACE} (?:{_WORD} ){{1,3}}{_NUMBER}(?![\d.:%]| ?(?:Uhr|Euro|EUR))"),
    re.compile(
        rf"(?<![\w])(?:{_WORD} ){{1,3}}(?:Street|Road|Avenue|Lane|Drive|Close|Crescent|Terrace|Grove|Mews)\b"
        r"(?: \d{1,4}[a-z]?\b)?"
    ),
    # After a word for an address, a number with capital words beside it needs no word for a street.
    re.compile(
        rf"(?i:\b{_ADDRESS_WORD}[ :]{{1,3}}(?:now |again )?)({_NUMBER},? {_WORD}(?: {_WORD}){{0,3}}|"
        rf"{_WORD}(?: (?:{_OF})?{_WORD}){{0,3}},? (?:[nN][or]\.? ?)?\d{{1,4}}[a-zA-Z]?(?:/\d{{1,3}})?\b)"
    ),
    # Four digits and a capital letter are a year far more often: a postcode only after a comma or a line's end.
    re.compile(rf"(?:(?<=, )|(?<=\n)|(?<=^))(?!(?:19|20)[2-9]\d )\d{{4}} {_TOWN}"),
    re.compile(rf"(?<=, ){_WORD}(?: {_WORD})? (?!(?:19|20)[2-9]\d)\d{{4,6}}(?!\d)"),
)
_DOOR = re.compile(
    r"(?:[ ,]{1,3}(?i:apt|apartment|app|suite|unit|flat|floor|piano|puerta|piso|ap|bl|sc|et|top|stiege|tuer|m|lgh)\b"
    r"\.? ?\d[\w\-]{0,5}){1,4}"
)
_US_STATE = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|"
    r"W[AIVY])"
)
_SURE_POSTCODES = (
    re.compile(
        r"(?<![\w])(?:GIR ?0AA|[A-PR-UWYZ][A-HK-Y]?\d[\dA-HJKMNP-Y]? ?\d[ABD-HJLNP-UW-Z]{2})(?!\w)", re.IGNORECASE
    ),
    re.compile(r"(?<!\w)[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d(?!\w)"),
    re.compile(rf"(?<!\w){_US_STATE},? \d{{5}}(?:-\d{{4}})?(?!\d)"),
    re.compile(r"(?<!\w)(?:NSW|VIC|QLD|TAS|ACT|WA|SA|NT) \d{4}(?!\d)"),
    re.compile(
        r"\b(?:zip|postcode|post code|postal code|plz|postleitzahl|code postal|cap)(?: ?(?:code|is|ist|:|=)){0,2} ?"
        r"((?:[A-Z]{1,2}-)?[A-Z0-9]{2,5}[ \-]?[A-Z0-9]{0,4}\d[A-Z0-9]*)",
        re.IGNORECASE,
    ),
)
_LIKELY_POSTCODES = (
    re.compile(r"(?<!\w)[AC-FHKNPRTV-Y]\d[\dW] ?(?=[A-Z\d]{0,3}\d)[AC-FHKNPRTV-Y\d]{4}(?!\w)"),
    re.compile(rf"(?<![\w.,\-])(?:[A-Z]{{1,2}}-)?\d{{5}} {_TOWN}"),
    re.compile(rf"(?<![\w.,\-])\d{{2}}-\d{{3}}(?: {_TOWN})?(?![\d\-])"),
    re.compile(rf"(?<![\w.,\-])\d{{3}} \d{{2}} {_TOWN}"),
    re.compile(rf"(?<![\w.,\-])\d{{4}}-\d{{3}} {_TOWN}"),
    re.compile(rf"(?<![\w.,\-])\d{{4}} ?[A-Z]{{2}}(?: {_TOWN})?(?!\w)"),
)
_SCORED = ((_SURE_STREETS, 0.6), (_LIKELY_STREETS, 0.45), (_SURE_POSTCODES, 0.6), (_LIKELY_POSTCODES, 0.5))


def addresses(text: str) -> Iterator[Span]:
    """Streets with a number (and the door behind it), postcodes with a town, boxes."""
    for patterns, score in _SCORED:
        for pattern in patterns:
            for found in pattern.finditer(text):
                start, end = found.span(pattern.groups)
                door = _DOOR.match(text, end)
                yield Span(start, door.end() if door else end, "ADDRESS", score)
