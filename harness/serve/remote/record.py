"""What was observed of an endpoint: written down once, and held against every request after it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import orjson

from harness.serve.protocol import GenerationRequest, RequestError
from harness.serve.remote.features import FEATURES, Feature, Status, needs, stream_needs
from harness.spec.models import Tolerable
from harness.store import digest_of, write_atomic

# Raised whenever a probe asks something else, so that older records are not believed.
PROBE_REVISION = 1
KEPT = timedelta(days=30)
KEPT_WITH_GAPS = timedelta(days=1)
_LONGEST_EVIDENCE = 200
_LENGTHS: tuple[Feature, ...] = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Observation:
    """What became of one feature, and what was seen of it."""

    status: Status
    evidence: str

    @classmethod
    def of(cls, status: Status, evidence: str) -> Observation:
        """An observation whose evidence is one printable line: servers and models write what they like."""
        line = " ".join("".join(sign if sign.isprintable() else " " for sign in evidence).split())
        return cls(status, line if len(line) <= _LONGEST_EVIDENCE else line[: _LONGEST_EVIDENCE - 1] + "…")


@dataclass(frozen=True, slots=True)
class Contract:
    """What one model at one address honours. ``reported`` is what the server said of itself."""

    url: str
    model: str
    reported: Mapping[str, str]
    probed: datetime
    expires: datetime
    requests: int
    features: Mapping[Feature, Observation]

    @property
    def expired(self) -> bool:
        """Whether it is too old to be believed."""
        return self.expires <= datetime.now(UTC)

    def status(self, feature: Feature) -> Status:
        """What became of ``feature``; a feature that was not looked at is unknown."""
        found = self.features.get(feature)
        return "unknown" if found is None else found.status

    def honours(self, feature: Feature) -> bool:
        """Whether it was seen to be honoured."""
        return self.status(feature) == "honoured"

    def check(self, request: GenerationRequest, *, stream: bool, tolerates: Collection[Tolerable] = ()) -> None:
        """RequestError, naming the field, for the first feature that ``request`` relies on and was not seen to work.

        Features in ``tolerates`` are let through: ``model.yaml`` says that they are done without.
        """
        if not any(self.honours(name) for name in _LENGTHS):
            self._refuse("max_tokens", "max_tokens")
        relied: Iterable[tuple[Feature, str]] = needs(request)
        for feature, field in (*relied, *(stream_needs(request) if stream and "stream" not in tolerates else ())):
            if not self.honours(feature) and feature not in tolerates:
                self._refuse(feature, field)

    def streams(self, request: GenerationRequest) -> bool:
        """Whether the answer to ``request`` can be streamed."""
        return all(self.honours(feature) for feature, _ in stream_needs(request))

    def fitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """``body`` with the length under the name that is honoured, and without a seed that is not."""
        fitted = {name: value for name, value in body.items() if name != "seed" or self.honours("seed")}
        if not self.honours("max_tokens"):
            fitted["max_completion_tokens"] = fitted.pop("max_tokens")
        return fitted

    def _refuse(self, feature: Feature, field: str) -> None:
        found = self.features.get(feature)
        seen = f": {found.evidence}" if found is not None and found.evidence else ""
        way_out = f"; or let model.yaml say 'tolerates: [{feature}]'" if feature in get_args(Tolerable) else ""
        status = "was not observed to honour" if self.status(feature) == "unknown" else "does not honour"
        message = f"{field!r} cannot be served: model {self.model!r} {status} {feature!r}{seen}{way_out}"
        raise RequestError(message, field)

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data, in the order of the features."""
        return {
            "revision": PROBE_REVISION,
            "url": self.url,
            "model": self.model,
            "reported": dict(self.reported),
            "probed": self.probed.isoformat(timespec="seconds"),
            "expires": self.expires.isoformat(timespec="seconds"),
            "requests": self.requests,
            "features": {
                name: {"status": self.features[name].status, "evidence": self.features[name].evidence}
                for name in FEATURES
                if name in self.features
            },
        }


def new_contract(
    url: str, model: str, reported: Mapping[str, str], features: Mapping[Feature, Observation], requests: int
) -> Contract:
    """A contract observed now: it holds for 30 days, and for one day if anything stayed unknown."""
    now = datetime.now(UTC)
    gaps = any(found.status == "unknown" for found in features.values())
    return Contract(url, model, reported, now, now + (KEPT_WITH_GAPS if gaps else KEPT), requests, features)


def record_path(home: Path, url: str, model: str, reported: Mapping[str, str], base: str = "") -> Path:
    """Where the record of this model, at this address, with this server behind it, lies below ``home``.

    ``base`` is the base model's id when the record is one of an adapter.
    """
    identity = {"url": url, "model": model, "reported": dict(reported), "revision": PROBE_REVISION}
    return home / "endpoints" / f"{digest_of({**identity, 'base': base} if base else identity)}.json"


def save(path: Path, contract: Contract) -> None:
    """Write the record; a kill leaves the old one or none."""
    write_atomic(path, orjson.dumps(contract.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def load(path: Path) -> Contract | None:
    """The record at ``path``; None if there is none, if it has expired or cannot be read: then it is made anew."""
    try:
        data = orjson.loads(path.read_bytes())
        features = {
            name: Observation(found["status"], found["evidence"])
            for name, found in data["features"].items()
            if name in FEATURES
        }
        contract = Contract(
            data["url"],
            data["model"],
            data["reported"],
            datetime.fromisoformat(data["probed"]),
            datetime.fromisoformat(data["expires"]),
            data["requests"],
            features,
        )
        fresh = data["revision"] == PROBE_REVISION and not contract.expired
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return contract if fresh else None
