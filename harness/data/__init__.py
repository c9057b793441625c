"""Room ``data``: what is done to data before it is kept or learnt from: taking out what tells who somebody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.data.anonymiser import Anonymised
    from harness.data.placeholders import Vault
    from harness.spec.serving import Privacy

__all__ = ["NoTexts", "Texts", "load_anonymiser"]

_MISSING = "taking personal data out of texts needs presidio: pip install 'signoff[serve]'"


class Texts(Protocol):
    """Makes texts fit to be kept."""

    def anonymise(self, text: str, vault: Vault | None = None, *, own: bool = False) -> Anonymised:
        """``text`` as it may be kept; see ``Anonymiser.anonymise``."""
        ...

    def anonymise_json(self, value: Any, vault: Vault | None = None) -> Any:
        """Plain JSON data as it may be kept."""
        ...


class NoTexts:
    """Keeps figures only: what to use where texts cannot be anonymised."""

    def anonymise(self, text: str, vault: Vault | None = None, *, own: bool = False) -> Anonymised:
        """Nothing of ``text``."""
        from harness.data.anonymiser import Anonymised

        return Anonymised("")

    def anonymise_json(self, value: Any, vault: Vault | None = None) -> Any:
        """Numbers, truth values and the names of fields; every string is empty."""
        if isinstance(value, str):
            return ""
        if isinstance(value, dict):
            return {key: self.anonymise_json(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.anonymise_json(inner) for inner in value]
        return value


def load_anonymiser(privacy: Privacy | None = None) -> Texts:
    """The anonymiser that ``privacy`` asks for; takes seconds. UsageError when presidio is not installed."""
    try:
        from harness.data.anonymiser import Anonymiser

        return Anonymiser(privacy)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("presidio_analyzer", "spacy", "phonenumbers"):
            raise
        raise UsageError(_MISSING) from error
