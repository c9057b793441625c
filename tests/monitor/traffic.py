"""Made-up traffic: rows as the log of requests holds them, and a project whose desk promises something."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from harness.serve.gateway.telemetry.trace_row import FIELDS, timestamp
from tests.run.project import Project, make_project

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
AT = NOW.isoformat()
DIGEST = "d" * 64
MONITOR = """\
indicators:
  - {id: available, kind: availability, at_least: 0.95}
  - {id: quick, kind: latency, within_s: 2, at_least: 0.9}
  - {id: refunds, kind: share, step: sort, values: [refund], at_most: 0.8}
  - {id: liked, kind: feedback, outcome: thumb, at_least: 0.5, minimum: 20, required: false}
drift:
  features:
    - {id: length, kind: length}
    - {id: language, kind: language}
    - {id: intent, kind: step, step: sort}
    - {id: wording, kind: text}
ab:
  horizon: 1h
  outcomes:
    - {indicator: available, margin: 0.03}
    - {indicator: liked, rule: better_by, margin: 0.0}
"""
_ENGLISH = (
    "please could you tell me when my parcel will arrive because the page does not say anything about it",
    "i would like to send the blue lamp back and get my money for it as soon as possible",
    "the shoes that came yesterday are too small for my son and i need another size",
    "your driver left the box in the rain and everything inside of it is wet and broken",
    "there is a charge on my card that i do not know and i want to know where it comes from",
    "can i change the address of the order that i placed this morning before it leaves the house",
)
_SPANISH = (
    "por favor me gustaria saber cuando llega mi paquete porque la pagina no dice nada",
    "quiero devolver la lampara azul y recibir mi dinero lo antes posible",
    "los zapatos que llegaron ayer son demasiado pequenos para mi hijo y necesito otra talla",
    "el repartidor dejo la caja bajo la lluvia y todo lo que habia dentro esta roto",
    "hay un cargo en mi tarjeta que no conozco y quiero saber de donde viene",
    "puedo cambiar la direccion del pedido que hice esta manana antes de que salga",
)


def message(draw: random.Random, language: str = "en", words: tuple[int, int] = (10, 18)) -> str:
    """A sentence or part of one, no two alike."""
    said = draw.choice(_SPANISH if language == "es" else _ENGLISH).split()
    count = draw.randint(*words)
    while len(said) < count:
        said += draw.choice(_SPANISH if language == "es" else _ENGLISH).split()
    return " ".join(said[:count])


def row(number: int, received: datetime, **changes: Any) -> dict[str, Any]:
    """A request that went well."""
    found = {
        "schema_version": 1, "kind": "request", "received": timestamp(received.timestamp()), "id": f"r{number}",
        "response_id": f"chatcmpl-r{number}-0", "app": "desk", "model": "", "arm": "", "assigned": "", "shadow": False,
        "shadow_of": "", "adapter": "", "digest": DIGEST, "route": "chat", "stream": False, "cache": "off",
        "outcome": "ok", "status": 200, "error": None, "finish_reason": "stop", "tokens_in": 10, "tokens_out": 5,
        "tokens_cached": 0, "queue_s": 0.0, "first_s": None, "total_s": 0.4, "seconds_per_token": None,
        "user": f"u{number}", "key_id": "shop", "input": "hello", "output": "fine", "steps": [],
    }  # fmt: skip
    assert list(found) == list(FIELDS)
    return found | changes


def labelled(label: str) -> list[dict[str, Any]]:
    """The steps of a row whose triage said ``label``."""
    step = {"id": "sort", "kind": "function", "status": "ok", "reason": None, "latency_ms": 1.0, "tokens_in": 0}
    more = {"tokens_out": 0, "cached": False, "finish_reason": "", "prompt": "", "branch": "", "output": label}
    return [{**step, **more}]


def rated(number: int, received: datetime, **outcome: Any) -> dict[str, Any]:
    """Feedback on request ``number``."""
    return {
        "schema_version": 1, "kind": "feedback", "received": timestamp(received.timestamp()), "user": "",
        "response_id": f"chatcmpl-r{number}-0", "request_id": f"r{number}", "key_id": "shop", "app": "desk",
        "thumb": None, "resolved": None, "rating": None, "edited_text": None, "comment": None, **outcome,
    }  # fmt: skip


def traffic(
    count: int, seed: int = 0, spanish: float = 0.0, refund: float = 0.3, **how: Any
) -> Iterator[dict[str, Any]]:
    """``count`` requests of as many users over the last day."""
    draw = random.Random(seed)
    words = how.pop("words", (10, 18))
    for number in range(count):
        text = message(draw, "es" if draw.random() < spanish else "en", words)
        label = "refund" if draw.random() < refund else "other"
        at = NOW - timedelta(seconds=60 + draw.random() * 80_000)
        yield row(seed * 1_000_000 + number, at, input=text, steps=labelled(label), **how)


def write_log(folder: Path, rows: Iterable[Mapping[str, Any]], name: str = "20261120T000000-000abcdef") -> Path:
    """Rows as a closed file of the log."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"traces-{name}.jsonl"
    with path.open("ab") as stream:
        for each in rows:
            stream.write(orjson.dumps(each) + b"\n")
    return path


def watched_project(tmp_path: Path, monitor: str = MONITOR, **files: str) -> Project:
    """A desk that promises something; its log goes where ``signoff serve`` puts it."""
    more = {name.replace("__", "/"): text for name, text in files.items()}
    return make_project(tmp_path, files={"suites/desk/monitor.yaml": monitor, **more})


def log_of(project: Project) -> Path:
    """Where the project's log of requests lies."""
    return project.root / "reports" / "traces"
