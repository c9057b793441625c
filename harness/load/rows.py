"""From samples to rows of the measurement table: one for each request and metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.load.sample import Sample
from harness.load.schedule import Block, Schedule, Shot
from harness.spec.load import METRICS, Slo
from harness.spec.measurement import Measurement, Variant
from harness.store import digest_of

STAGE = "load"
_REVISION = 1
_UNITS = {"failed": "share", "within_slo": "share", "log_ttft": "log s", "log_e2e": "log s"}


@dataclass(frozen=True, slots=True)
class Scorer:
    """Makes the rows of one app. ``void`` says why no request of the run counts; empty if they do."""

    app: str
    digests: Mapping[Variant, str]
    slo: Slo
    void: str = ""
    cached: bool = False
    lost: str = "the request was not sent"

    def rows(self, schedule: Schedule, samples: Mapping[int, Sample]) -> Iterator[Measurement]:
        """The rows of every planned request; one that was never sent is an error."""
        check = digest_of({"load": _REVISION, "slo": self.slo.model_dump(mode="json")})
        for block, shot in schedule.measured():
            found = self._scores(samples.get(shot.number))
            for name in METRICS:
                yield self._row(schedule, block, shot, (name, *found[name], check))

    def _row(
        self, schedule: Schedule, block: Block, shot: Shot, found: tuple[str, float | None, str, str, str]
    ) -> Measurement:
        name, value, status, reason, check = found
        if self.void:
            value, status, reason = None, "unscored", self.void
        return Measurement(
            stage=STAGE,
            app=self.app,
            variant=block.variant,
            case=shot.case,
            check=STAGE,
            metric=f"load.{name}",
            value=value,
            status=status,  # type: ignore[arg-type]
            unit=_UNITS.get(name, "s"),
            slices=schedule.cases[shot.question].slices,
            group=f"pair-{block.pair:03}",
            block=block.number,
            reason=reason,
            cached=self.cached,
            app_digest=self.digests.get(block.variant, ""),
            check_digest=check,
        )

    def _scores(self, sample: Sample | None) -> dict[str, tuple[float | None, str, str]]:
        if sample is None:
            return dict.fromkeys(METRICS, (None, "error", self.lost))
        if sample.failure:
            # That it failed is a finding; how long it would have taken is not known.
            failed = (None, "error", f"{sample.failure}: {sample.reason}")
            return {**dict.fromkeys(METRICS, failed), "failed": _scored(1.0), "within_slo": _scored(0.0)}
        ttft, e2e, tpot = sample.ttft_s, sample.e2e_s, sample.tpot_s
        assert ttft is not None and e2e is not None
        return {
            "ttft_s": _scored(ttft),
            "tpot_s": _scored(tpot) if tpot is not None else (None, "unscored", sample.no_tpot),
            "e2e_s": _scored(e2e),
            "log_ttft": _scored(math.log(ttft)),
            "log_e2e": _scored(math.log(e2e)),
            "failed": _scored(0.0),
            "within_slo": self._kept(sample),
        }

    def _kept(self, sample: Sample) -> tuple[float | None, str, str]:
        kept = within_slo(sample, self.slo)
        return _scored(float(kept)) if kept is not None else (None, "unscored", sample.no_tpot)


def _scored(value: float) -> tuple[float | None, str, str]:
    return value, "scored", ""


def within_slo(sample: Sample, slo: Slo) -> bool | None:
    """Whether the request kept all that is promised; a failed one did not. None: the server did not count tokens."""
    if sample.failure:
        return False
    kept = [
        found is not None and found <= bound
        for found, bound in ((sample.ttft_s, slo.ttft_s), (sample.e2e_s, slo.e2e_s))
        if bound is not None
    ]
    if slo.tpot_s is not None:
        if sample.tpot_s is not None:
            kept.append(sample.tpot_s <= slo.tpot_s)
        elif sample.pieces > 1 and sample.tokens is None and all(kept):
            return None
    return all(kept)
