"""presidio-analyzer without a language model: its checksummed recognisers over a blank spaCy pipeline, offline."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

from harness.data.contacts import PHONE
from harness.data.spans import Span

# Our kind -> classes of presidio. Those that take every word with a digit for a licence are left out.
_RECOGNISERS = {
    "CRYPTO": "Crypto",
    "IP": "Ip MacAddress",
    "IBAN": "Iban",
    "CARD": "CreditCard",
    "ACCOUNT": "UsBank",
    "NATIONAL_ID": "AuMedicare AuTfn CaSin DeHealthInsurance DeIdCard DePassport DeSocialSecurity DeTaxId EsNie "
    "EsNif FiPersonalIdentityCode InAadhaar InPan InPassport ItDriverLicense ItFiscalCode KrRrn "
    "MedicalLicense Nhs PlPesel SePersonnummer SgFin ThTnin TrNationalId UkDrivingLicence UkNino "
    "UkPassport UsItin UsLicense UsMbi UsPassport UsSsn ZaIdNumber",
}
# Where a number without + may come from; every region costs a parse for each candidate.
_REGIONS = "GB US DE FR ES IT NL BE AT CH PL SE NO DK FI PT IE IN AU"
_WORTH_IT = re.compile(r"\d(?:.{0,12}\d){3}|(?:[0-9a-fA-F]{0,4}:){3}", re.DOTALL)
# How far before a number presidio's context words count, in characters: five words or so.
_CONTEXT = 50


class Presidio:
    """Findings of presidio in a folded text. Loading takes seconds; calls are independent and may come from threads."""

    def __init__(self) -> None:
        self._engine, self._kinds = _engine()

    def find(self, text: str) -> Iterator[Span]:
        """Spans with presidio's scores, raised where a word nearby supports them."""
        # All of its recognisers ask for digits or for colons.
        if not _WORTH_IT.search(text):
            return
        for found in self._engine.analyze(text, "en", score_threshold=0.0):
            yield Span(found.start, found.end, self._kinds[found.entity_type], found.score)
        yield from _known_phones(text)


def _engine() -> tuple[Any, dict[str, str]]:
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers

    # Its warnings and debug lines quote the text that it looks at.
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL + 1)
    recognisers, kinds = [], {}
    for kind, names in _RECOGNISERS.items():
        for name in names.split():
            recogniser = getattr(predefined_recognizers, f"{name}Recognizer")()
            # Looking ahead over the whole text from every word takes seconds for a long one (InPan does).
            if patterns := getattr(recogniser, "patterns", None):
                recogniser.patterns = [p for p in patterns if "(?=.*" not in p.regex]
            recognisers.append(recogniser)
            kinds.update(dict.fromkeys(recogniser.supported_entities, kind))
    registry = RecognizerRegistry(recognisers)
    return AnalyzerEngine(registry, _blank_engine(), context_aware_enhancer=_nearby_words(recognisers)), kinds


def _blank_engine() -> Any:
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine
    from spacy.tokens import Doc

    class Blank(SpacyNlpEngine):  # type: ignore[misc]
        """A pipeline without a model. The default one downloads a model and ends the process where it cannot."""

        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}
            self._empty = Doc(self.nlp["en"].vocab)

        def process_text(self, text: str, language: str) -> Any:
            # spaCy keeps every word that it has ever seen: the words of all users, for as long as the server lives.
            return NlpArtifacts([], self._empty, [], [], self, language)

    engine = Blank()
    engine.load()
    return engine


def _nearby_words(recognisers: Sequence[Any]) -> Any:
    from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer

    patterns = {
        recogniser.id: re.compile(rf"\b(?:{'|'.join(map(re.escape, recogniser.context))})", re.IGNORECASE)
        for recogniser in recognisers
        if recogniser.context
    }

    class Nearby(ContextAwareEnhancer):  # type: ignore[misc]
        """Raises the score of what has a word of its recogniser before it, by as much as presidio does by tokens."""

        def enhance_using_context(self, text: str, raw_results: Any, *_: Any, **__: Any) -> Any:
            for result in raw_results:
                pattern = patterns.get(result.recognition_metadata["recognizer_identifier"])
                if pattern and pattern.search(text, max(0, result.start - _CONTEXT), result.start):
                    result.score = min(1.0, max(0.4, result.score + self.context_similarity_factor))
            return raw_results

    return Nearby(0.35, 0.4, 5, 0)


def _known_phones(text: str) -> Iterator[Span]:
    """Numbers that exist in some country; presidio's own recogniser scans the whole text once for each of them."""
    for found in PHONE.finditer(text):
        groups = re.findall(r"\d+", found.group())
        # Sizes 36 38 40 42 are a telephone number in Denmark.
        if len(groups) > 1 and len(groups[0]) >= 3 and len("".join(groups)) >= 9 and _exists("".join(groups)):
            yield Span(*found.span(), "PHONE", 0.4)


def _exists(digits: str) -> bool:
    import phonenumbers

    for region in _REGIONS.split():
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(digits, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
