"""Where names of people stand: after words that announce one, in greetings, in signatures, beside an address.

All patterns are for folded text (``harness.data.folding``); their first group is what may be a name.
"""

from __future__ import annotations

import re

from harness.data.words import either

_LETTER = r"[^\W\d_]"
_CAPITAL = r"[^\W\d_a-z]"
_WORD = rf"{_CAPITAL}(?:{_LETTER}|['\-](?={_LETTER})){{1,30}}"
_INITIAL = rf"{_CAPITAL}\."
_PARTICLE = (
    r"(?:van|von|der|den|de|del|della|di|da|dos|du|la|le|ter|ten|zu|zum|af|av|bin|bint|ibn|al|el|y|and|und|et|ni)"
)
_MORE = rf"(?:(?: |/| & )(?:{_PARTICLE} ){{0,2}}(?:{_WORD}|{_INITIAL}))"
_NAME = rf"(?:{_INITIAL} ?){{0,3}}(?:{_PARTICLE} ){{0,2}}{_WORD}{_MORE}{{0,3}}(?!\w)"
_FULL = rf"(?:(?:{_INITIAL} ?){{1,3}}{_WORD}|{_WORD}{_MORE}){_MORE}{{0,2}}(?!\w)"
_ANY = rf"{_LETTER}(?:{_LETTER}|['\-](?={_LETTER})){{1,30}}"

_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Doctor|Sir|Lady|Lord|Rev|Herrn?|Hr|Frau|Mme|Mlle|Monsieur|Madame|Senora?|"
    r"Sra?|Sig|Sig\.ra|Signora?|signora?|Dhr|Mevr|Nurse|Familie|Family|Opa|Oma|Onkel|Tante|Uncle|Aunt|Auntie|Pani?|Firma|"
    r"MR|MRS|MS|DR|HERR|FRAU)\b\.?"
)
_ASKS = either(
    r"(?:my|his|her|their|your|the) (?:full |real |correct |first |last |legal |now )?name(?:'s| is| was)(?: now)?",
    r"\bname's|friends call me|maiden name(?: is| was)?|i am called|ich heisse|mein name ist|je m'appelle|mi nombre es",
    r"me llamo|mi chiamo|jag heter|jeg hedder|jeg heter|nazywam sie|mijn naam is|meu nome e|chamo-me",
)
_KIN = either(
    r"wife|husband|partner|son|daughter|mother|father|mum|mom|dad|brother|sister|aunt|uncle|grandma|grandpa|friend|ex",
    r"neighbou?r|flatmate|boss|colleague|assistant|lawyer|solicitor|fiancee?|girlfriend|boyfriend|frau|mann|nachbar",
    r"driver|agent|predecessor|executor|tenant|landlord|landlady|nanny|secretary",
)
# After these a name follows, or nothing that begins with a capital letter.
_SURE = either(
    r"on behalf of|in the name of|under the name(?: of)?|for the late|account holder(?: is)?|holder(?: is)?|cardholder",
    r"recipient(?: is)?|buyer(?: is| is me,)?|sender(?: is)?|contact person(?: is)?|deputy|signed(?: by)?|ordered by",
    r"placed by|a certain|some(?:one|body) (?:named|called)|nobody called|spoke (?:to|with)|talked to|called me",
    r"greeted me as|addressed to|belongs to|doorbell(?: says)?|klingel|buzzer|maiden name|beneficiary|t\.n\.v\.",
    r"ask for|attn\.?|attention|c/o|misspelled: it must read|wir sind|familie|one of your people",
    r"(?:agent|guy|lady|man|woman|person|colleague)(?: (?:i|we) (?:\w+ ){0,3}(?:to|with))? (?:was|is|called|named)",
    rf"(?:my|his|her|our|their|your|meine?|unsere?|the) (?:late |old |new |elderly |dear )?{_KIN}"
    r"(?: is| was|'s name is)?",
    r"neighbou?r|nachbar(?:in)?",
)
# After these anything may follow: a name in full counts, or a given name that is seldom a word.
_UNSURE = either(
    r"i am|i'm|im|i was|this is|it's|its|here is|hier ist|ich bin|je suis|soy|sono|named|called|must be|take|remove",
    r"bitte|naam|nimi|name|full name|surname|first name|last name|from:|kunde|customer(?: is)?|client(?: is)?|details",
    r"contact|put|ask|tell|ring|call|meet|met|inform|ship(?:ped)? to|deliver to|send to|bill to|for|to|with|by|and|me",
)
_HELLO = either(
    r"dear|hi|hello|hey|hallo|liebe[rs]?|guten tag|guten morgen|bonjour|hola|ciao|hej|moin|salut|ola",
    r"good (?:morning|afternoon|evening)",
)
_CLOSING = either(
    r"regards|best|thanks(?: again| a lot| so much| in advance)?|thank you|thx|cheers|sincerely(?: yours)?",
    r"yours(?: truly| sincerely| faithfully)?|best wishes|all the best|love|ta|grusse|gruss|grussen|danke|mvh|mfg|lg",
    r"vg|cordialement|merci|saluti|saludos|atentamente|groeten|groetjes|pozdrawiam|hilsen|kindly|br|wishes",
)
_GAP = r"[ :,(\"'\-=]{1,4}"

WORD = re.compile(_ANY)
CAPITAL_WORD = re.compile(rf"(?<![\w@.'\-]){_WORD}")
NAME = re.compile(_NAME)
PARTICLE = re.compile(_PARTICLE)

ANNOUNCED = (
    re.compile(rf"\b{_TITLE} (?:(?:and|und|et) {_TITLE} )?(?:{_TITLE} ){{0,2}}({_NAME})"),
    re.compile(rf"(?i:(?<![\w']){_SURE}){_GAP}(?:{_TITLE} )?({_NAME})"),
    re.compile(
        rf"(?:^|(?<=[\n.!?,;:(\"] )|(?<=\n))({_NAME})"
        r"(?= (?i:here|speaking|at the phone|a l'appareil|am apparat|from your team)\b)"
    ),
    re.compile(
        rf"(?:^|(?<=[\n.!?:>] )|(?<=[\n>]))(?i:{_HELLO})[ ,]{{1,2}}({_NAME})(?=[ ]?[,!.:;\n\-]|$| [a-z])",
    ),
    re.compile(
        rf"(?i:\b{_CLOSING}\b)(?i: from [a-z]+)?(?=[ ,.!\-\n])[ ,.!\-]{{0,3}}\n{{0,3}} ?-{{0,2}} ?({_NAME})"
        r"(?= ?(?:[\n.,(<|\"']|x+\b|$))"
    ),
    re.compile(rf"(?:(?<=[.!?)\n])|(?<=[.!?)\n] )|(?<=\w ))-{{1,2}} ?({_NAME}) ?$", re.MULTILINE),
)
# Here a name may be in lower case, or begin with an initial only.
LIKELY = (
    re.compile(rf"(?i:\b{_ASKS})[ :\"]{{1,3}}({_ANY}(?:[ ]{_ANY}){{0,3}})"),
    re.compile(rf"(?i:\b(?:it's|its|it is|hey its))[ ]({_ANY}) (?=from |here\b|again\b)"),
    re.compile(rf"(?i:\b{_CLOSING}) ?[,\n]{{1,3}} ?({_ANY}(?: {_ANY})?) ?[.x!]?\s*$"),
    re.compile(
        rf"(?:^|(?<=\n)|(?<=[\"'(,:] )|(?<=[\"'(,:]))((?:{_INITIAL} ?){{1,3}}(?:{_PARTICLE} ){{0,2}}{_WORD})",
    ),
)
# Two words at least, or a well-known given name.
HINTED = (
    re.compile(rf"(?i:(?<![\w']){_UNSURE}){_GAP}(?:NOT )?(?:{_TITLE} )?({_NAME})"),
    re.compile(rf"(?:^|(?<=[.!?;] )|(?<=\n)|(?<=[/\t] ))({_FULL})[.!]? ?$", re.MULTILINE),
)
BEFORE_CONTACT = re.compile(rf"({_FULL})[\"']?[ ,(<:/|\n\-]{{1,4}}$")
AFTER_CONTACT = re.compile(rf"[ ,)>:/|\n(\-]{{1,4}}({_FULL})")
