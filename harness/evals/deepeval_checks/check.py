"""A check ``deepeval/<Metric>``: deepeval computes it, our model answers its questions, its score becomes a row."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from harness.errors import UsageError
from harness.evals.checks.subject import Score, printable
from harness.evals.deepeval_checks.model import UnreadableError, judging_model
from harness.evals.deepeval_checks.package import metric_class
from harness.evals.deepeval_checks.settings import read_settings
from harness.evals.judges.asker import Asker, JudgeError
from harness.evals.judges.exhibits import Exhibit
from harness.evals.judges.fences import neutralised
from harness.evals.judges.judging import Grade
from harness.serve.protocol import Generation, GenerationRequest
from harness.spec.graded import DeepevalSettings, deepeval_settings
from harness.spec.models import Model
from harness.spec.suites import CheckSpec
from harness.store import digest_of

REVISION = 1
_ROUNDING = 1e-9
# What a metric takes out of the output before it judges each piece.
_FOUND = ("statements", "claims")


@dataclass(frozen=True, slots=True)
class DeepevalCheck:
    """One metric with its settings; each answer gets an instance of its own, because a metric keeps its state."""

    spec: CheckSpec
    settings: DeepevalSettings
    model: Model
    kind: type[Any]
    values: Mapping[str, Any]
    revision: int = REVISION
    pairwise: bool = False

    @classmethod
    def of(cls, spec: CheckSpec, models: Mapping[str, Model]) -> DeepevalCheck:
        """The check, its settings accepted by deepeval; UsageError for those that are not, AbsentError."""
        ours, own = deepeval_settings(spec)
        kind = metric_class(spec.check.removeprefix("deepeval/"))
        check = cls(spec, ours, models[ours.model], kind, read_settings(spec.id, kind, own))
        try:
            check._metric(_nobody)
        except (ValueError, TypeError) as error:
            message = f"check {spec.id!r}: {kind.__name__} refuses its settings: {error}"
            raise UsageError(message) from error
        return check

    @property
    def digest(self) -> str:
        """What is shown of which output, and the metric with its settings as they stand in the suite."""
        _, own = deepeval_settings(self.spec)
        shown = {"step": self.spec.step, "expect": self.spec.expect, "context": self.settings.context}
        passages = {"retrieval_context": self.settings.retrieval_context}
        return digest_of({"check": self.spec.check, "metric": dict(own), **shown, **passages})

    @property
    def judge_digest(self) -> str:
        """Who is asked how: deepeval's version holds the prompts."""
        asked = {"model": self.model.digest, "answer_tokens": self.settings.answer_tokens}
        return digest_of({"deepeval": version("deepeval"), **asked})

    async def grade(self, shown: Exhibit, other: Exhibit | None, asker: Asker) -> Grade:
        """deepeval's score, and ``passed`` where the metric has a threshold; JudgeError when the model was silent."""
        asked: list[dict[str, str]] = []

        async def ask(request: GenerationRequest) -> Generation:
            generation = await asker.ask(self.model, request, self.settings.deadline_s)
            asked.append({"prompt": request.messages[0].content, "reply": generation.text})
            return generation

        metric = self._metric(ask)
        reason = ""
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                await metric.a_measure(_test_case(shown), _show_indicator=False)
        except TimeoutError as error:
            message = f"{self.spec.check}: not done within {self.settings.deadline_s:g} s"
            raise JudgeError(message, transport=True) from error
        except (JudgeError, UsageError):
            raise
        except UnreadableError as error:
            reason = str(error)
        except Exception as error:
            reason = f"deepeval raised {type(error).__name__}: {error}"
        return Grade(tuple(_scores(metric, reason)), {"asked": asked})

    def _metric(self, ask: Any) -> Any:
        from inspect import signature

        takes = signature(self.kind).parameters
        given = dict(self.values)
        given |= {"model": judging_model(self.model, ask, self.settings.answer_tokens)} if "model" in takes else {}
        given |= {"async_mode": True} if "async_mode" in takes else {}
        if "name" in takes and "name" not in given:
            given["name"] = self.spec.id
        return self.kind(**given)


def _test_case(shown: Exhibit) -> Any:
    from deepeval.test_case import LLMTestCase

    passages = [neutralised(text) for text in shown.passages]
    return LLMTestCase(
        input=neutralised(shown.input),
        actual_output=neutralised(shown.output),
        expected_output=neutralised(shown.expected) or None,
        context=[neutralised(shown.context)] if shown.context else None,
        retrieval_context=passages or None,
    )


def _scores(metric: Any, reason: str) -> list[Score]:
    value = metric.score if not reason else None
    if value is None:
        return [Score(None, printable(reason or metric.error or "deepeval gave no score"))]
    empty = next((name for name in _FOUND if getattr(metric, name, None) == []), None)
    if empty is not None:
        # deepeval calls an answer without statements fully relevant, and one without claims fully faithful.
        return [Score(None, f"the model found no {empty} in the output, and deepeval's score of nothing is {value}")]
    if not math.isfinite(value) or not -_ROUNDING <= value <= 1 + _ROUNDING:
        return [Score(None, f"deepeval's score {value} lies outside 0 to 1")]
    value = min(max(float(value), 0.0), 1.0)
    made = [Score(value, printable(metric.reason or ""))]
    if metric.threshold is not None:
        # Not deepeval's own word: that is False, too, for a metric that failed to compute.
        made.append(Score(float(value >= metric.threshold), metric="passed", unit="share"))
    return made


async def _nobody(_: GenerationRequest) -> Generation:
    raise AssertionError("a metric asks nothing before it measures")
