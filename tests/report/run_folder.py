"""Builds run folders as a real run leaves them: one app of two steps, 200 cases, ten gates."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.spec.measurement import Measurement, write_measurements
from tests.report.example_gates import CASES, ten_gates

BASELINE, CANDIDATE = "sha256:" + "3f9c1a" * 10 + "77e0", "sha256:" + "b81d42" * 10 + "09aa"

TOPICS = [
    ("refund", "my parcel came broken and i want my money back, order 4{n:03d}", "A refund is on its way to you"),
    (
        "delivery",
        "where is order 4{n:03d}? it should have been here on Monday",
        "Your order 4{n:03d} left our warehouse",
    ),
    ("account", "i cannot log in since the update, the code never arrives", "We have sent a new code to your address"),
    ("complaint", "third time i write!! nobody answers, this is a joke", "We are sorry that nobody answered you"),
    ("return", "the shoes are too small, can i swap them for a 43?", "You may swap them within 30 days"),
]
TAILS = [
    "You will hear from us within two working days.",
    "Please keep the parcel until then.",
    "Nothing is left for you to do.",
    "Reply to this message if anything is unclear.",
]

ARTICLE = "user: hello, i need help with two things\nassistant: Of course. What is the first one?\nuser: "


@dataclass
class Folder:
    """A run folder on disk with the manifest and verdict that belong to it."""

    path: Path
    manifest: dict[str, Any]
    verdict: dict[str, Any]
    rows: list[Measurement] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def save(self) -> Folder:
        """Write all files of the folder."""
        by_stage: dict[str, list[Measurement]] = {}
        for row in self.rows:
            by_stage.setdefault(row.stage, []).append(row)
        for stage, rows in by_stage.items():
            write_measurements(self.path / "measurements" / f"{stage}.jsonl", rows)
        outputs = self.path / "artifacts" / "regression" / "outputs.jsonl"
        outputs.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_text("".join(json.dumps(row) + "\n" for row in self.outputs))
        (self.path / "run.json").write_text(json.dumps(self.manifest))
        (self.path / "verdict.json").write_text(json.dumps(self.verdict))
        return self

    def case(self, case: str, baseline: Any, candidate: Any, *, value: float = 0.0, reason: str = "fell") -> Folder:
        """Add one case whose only check goes from 1 to ``value`` between these two outputs."""
        for variant, text, score in (("baseline", baseline, 1.0), ("candidate", candidate, value)):
            self.rows.append(_row(variant, case, "handled", score, reason=reason if score < 1 else ""))
            self.outputs.append(_output(variant, case, f"input of {case}", {"action": "refund"}, text, {}))
        return self


def _row(variant: Any, case: str, check: str, value: float | None, **more: Any) -> Measurement:
    fields = {"stage": "regression", "app": "support", "metric": check, "slices": (), "group": case} | more
    if value is None:
        fields.setdefault("status", "unscored")
    digest = BASELINE if variant == "baseline" else CANDIDATE
    return Measurement(variant=variant, case=case, check=check, value=value, app_digest=digest, **fields)


def _output(
    variant: str, case: str, text: str, expect: dict[str, Any], output: Any, steps: dict[str, Any]
) -> dict[str, Any]:
    return {
        "app": "support",
        "variant": variant,
        "case": case,
        "repeat": 0,
        "seed": 1,
        "slices": [],
        "group": "",
        "input": text,
        "expect": expect,
        "output": output,
        "output_digest": "",
        "status": "ok",
        "reason": "",
        "latency_ms": 800.0,
        "tokens_in": 300,
        "tokens_out": 60,
        "cached": False,
        "app_digest": "",
        "steps": steps,
    }


REASONS = {
    "fail": [
        "support / handled fell from 93.5% to 88.3% (−5.2 pts [−8.1, −2.3]); the margin is −2.0 pts.",
        "16 of 200 cases changed: 14 worse, 2 better; 9 of the 14 are in slice refund.",
        "In 11 of the 14 the reply misses the step that the expectation names; triage is unchanged in all of them.",
    ],
    "inconclusive": [
        "support / handled: −1.2 pts [−3.1, 0.7] cannot be told from the margin of −2.0 pts with 200 cases."
    ],
    "error": ["Stage load broke: the gateway answered 503 to 212 of 400 requests."],
    "pass": ["All 8 required gates passed.", "The closest is escalated: 2.7 of 3.0 pts."],
}
ACTIONS = {
    "fail": "Revert prompt support/reply 1.3.0, or mend its refund wording: 9 of 14 worse cases are in slice refund.",
    "inconclusive": "Add 140 cases to suites/support/cases, or record an approval: signoff approve",
    "error": "Re-run: the machine was busy while stage load ran.",
    "pass": "Merge.",
}
CODES = {"pass": 0, "fail": 1, "inconclusive": 2, "error": 3}


def _verdict(decided: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "verdict": decided,
        "next_action": ACTIONS[decided],
        "exit_code": CODES[decided],
        "model_calls": 612,
        "cached_calls": 198,
        "wall_s": 192.4,
        "profile": "pr",
        "run_id": "20260911-081203-b81d42",
        "approval": None,
        "apps": {"support": {"candidate": CANDIDATE, "baseline": BASELINE}},
        "reasons": list(REASONS[decided]),
        "gates": ten_gates(decided),
        "stages": [],
    }


def _manifest(decided: str) -> dict[str, Any]:
    broken = decided == "error"
    parts = {"steps.triage.prompt": "aa11" * 16, "steps.triage.adapter": "bb22" * 16, "model": "cc33" * 16}
    return {
        "run_id": "20260911-081203-b81d42",
        "profile": "pr",
        "started": "2026-09-11T08:12:03+00:00",
        "finished": "2026-09-11T08:15:15+00:00",
        "wall_s": 192.4,
        "model_calls": 612,
        "cached_calls": 198,
        "commit": "9d0c4e6bd1f14a0f3c0b2d6b1f0c7de0a1b2c3d4",
        "dirty": False,
        "baseline_ref": "origin/main",
        "baseline_commit": "51f0aa93ee9d2f4a0b8be2f7a33c6d0e1f2a3b4c",
        "apps": {
            "support": {
                "candidate": CANDIDATE,
                "baseline": BASELINE,
                "pinned": True,
                "digests": parts | {"steps.reply.prompt": "ee55" * 16},
                "baseline_digests": parts | {"steps.reply.prompt": "dd44" * 16},
                "changes": ["prompt support/reply 1.2.0 → 1.3.0", "decoding of step reply: max_tokens 96 → 128"],
            }
        },
        "versions": {"python": "3.11.9", "signoff": "0.1.0", "torch": "2.13.0+cpu"},
        "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "platform": "Linux-6.1-x86_64"},
        "seeds": {"support": 7},
        "yardstick": {"suite": "sha256:" + "4d" * 32, "judge": "helpful 1.1.0"},
        "stages": [
            {"name": "regression", "status": "ok", "reason": "", "seconds": 131.2, "rows": 2400, "calls": 540},
            {
                "name": "load",
                "status": "broken" if broken else "ok",
                "seconds": 44.0,
                "rows": 0 if broken else 400,
                "calls": 72,
                "reason": "the gateway answered 503 to 212 of 400 requests" if broken else "",
            },
            {
                "name": "safety",
                "status": "skipped",
                "reason": "not in profile pr",
                "seconds": 0.0,
                "rows": 0,
                "calls": 0,
            },
        ],
        "not_covered": ["Answers in languages other than English."],
        "warnings": [],
        "complete": True,
    }


def _cases() -> Iterator[tuple[Measurement, dict[str, Any]] | Measurement]:
    chance = random.Random(7)
    for n in range(CASES):
        topic, ask, answer = TOPICS[n % len(TOPICS)]
        case, slices = (
            f"{topic}-{n:03d}",
            (topic, *(("typos",) if n % 8 == 3 else ()), "premium" if n % 4 == 0 else "standard"),
        )
        falls = topic in ("refund", "complaint") and n % 3 == 0 and n < 110
        rises = topic == "account" and n % 40 == 2
        tail = chance.sample(TAILS, 2)
        text = (ARTICLE if n % 7 == 0 else "") + ask.format(n=n)
        good = f"Hello,\n\n{answer.format(n=n)}. {tail[0]} {tail[1]}\n\nKind regards\nThe shop"
        vague = f"Thank you for your message about order 4{n:03d}. Our team looks into it."
        bad = f"Hello,\n\n{vague} {tail[1]}\n\nKind regards\nThe shop"
        triage = {"intent": topic, "urgency": "high" if topic == "complaint" else "normal", "action": "refund"}
        for variant in ("baseline", "candidate"):
            lost = (falls and variant == "candidate") or (rises and variant == "baseline")
            latency, tokens = chance.gauss(900, 160), chance.randint(40, 80)
            more: dict[str, Any] = {"slices": slices, "group": f"{topic}-{n // 10}"}
            why = f"expected the step 'refund' within the first 2 sentences, found none in case {case}" if lost else ""
            yield _row(variant, case, "handled", 0.0 if lost else 1.0, reason=why, **more)
            yield _row(variant, case, "escalated", float(n % 9 == 0), **more)
            yield _row(variant, case, "json_valid", 1.0, step="triage", **more)
            yield _row(variant, case, "intent", float(n % 11 != 5), step="triage", **more)
            yield _judged(variant, case, n, lost, more)
            yield _row(variant, case, "latency", latency, unit="ms", **more)
            steps = {"triage": {"output": json.dumps(triage), "status": "ok", "reason": ""}}
            output = _output(
                variant,
                case,
                text,
                {"action": triage["action"], "mentions": ["refund", "two working days"]},
                bad if lost else good,
                steps,
            )
            yield _row(variant, case, "tokens", float(tokens), unit="tokens", **more), output | {"slices": list(slices)}


def _judged(variant: str, case: str, n: int, lost: bool, more: dict[str, Any]) -> Measurement:
    if n % 50 == 17 and variant == "candidate":
        return _row(
            variant, case, "tone", None, status="error", unit="score", reason="judge timed out after 30 s", **more
        )
    if n % 40 == 9:
        return _row(variant, case, "tone", None, unit="score", reason="no grade in 'The reply is, well, nice.'", **more)
    return _row(variant, case, "tone", 3.0 if lost else 4.0 + n % 2, unit="score", **more)


def build(path: Path, decided: str, *, cases: bool = True) -> Folder:
    """Write a run folder at ``path``."""
    path.mkdir(parents=True, exist_ok=True)
    folder = Folder(path, _manifest(decided), _verdict(decided))
    for found in _cases() if cases else ():
        row, output = found if isinstance(found, tuple) else (found, None)
        folder.rows.append(row)
        if output is not None:
            folder.outputs.append(output)
    return folder.save()
