"""The page of a comparison of candidates: what may be the best, what it costs, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report import figures
from harness.report.pareto import plot
from harness.report.template import fill

BUSY = 0.1
"""From this share of the machine's time on, taken by other programs or machines, times say little."""


def model_page(data: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """``models.html``: a pure function of ``models.json`` and ``run.json``."""
    rows = [table_row(record, data) for record in data["candidates"]]
    context = {
        "data": data,
        "manifest": manifest,
        "conclusion": conclusion(data),
        "rows": list(zip(rows, data["candidates"], strict=True)),
        "columns": COLUMNS,
        "plot": plot(data["candidates"], data["unit"]),
        "slices": slice_rows(data),
        "models": _models(data["candidates"]),
        "notes": notes(data),
    }
    return fill("model_choice.html.j2", context).encode("utf-8", "replace").decode("utf-8")


def conclusion(data: Mapping[str, Any]) -> list[str]:
    """What the measurements show, and no more: one sentence for who may be best, one for who is fastest among them."""
    first = [record for record in data["candidates"] if record["group"] == 1]
    names = [record["id"] for record in first]
    others = len(data["candidates"]) - len(first)
    sure = f"{100 * data['confidence']:g} % confidence"
    if not others:
        where = f"in {data['metric']} on {data['cases']} cases ({sure})"
        said = [f"No candidate is shown to be worse than another {where}: {', '.join(names)} are not told apart."]
    elif len(names) == 1:
        rest = figures.plural(others, "other candidate")
        said = [f"{names[0]} is the best of these in {data['metric']}: told apart from {rest} with {sure}."]
    else:
        said = [f"The best in {data['metric']} is among {', '.join(names)} ({sure}); these are not told apart."]
    timed = [record for record in first if record["latency"]]
    if len(first) > 1 and timed:
        fastest = min(timed, key=lambda record: record["latency"]["median_ms"])
        said.append(f"Of them {fastest['id']} answered fastest: {_ms(fastest['latency']['median_ms'])} in the median.")
    return said


COLUMNS = (
    "candidate",
    "quality",
    "interval",
    "against first",
    "latency",
    "95th",
    "memory",
    "tokens in / out",
    "cost / 1,000",
    "build",
    "trained bytes",
    "base",
)


def table_row(record: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures of one candidate as a reader wants them, in the order of ``COLUMNS``."""
    unit, latency = data["unit"], record["latency"] or {}
    return (
        record["id"],
        figures.value(record["quality"]["estimate"], unit),
        _interval(record["quality"], unit, signed=False),
        _against(record, data),
        _ms(latency.get("median_ms")),
        _ms(latency.get("p95_ms")),
        _bytes(record["memory_bytes"]),
        f"{_count(record['tokens_in'])} / {_count(record['tokens_out'])}",
        _cost(record["cost"]),
        _build(record),
        "unknown" if record["adapter_bytes"] is None else _bytes(record["adapter_bytes"]),
        _base(record),
    )


def slice_rows(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each candidate with its quality on each slice; none without slices."""
    if not data["slices"]:
        return []
    return [
        (record["id"], *(_level(record["slices"][name], data["unit"]) for name in data["slices"]))
        for record in data["candidates"]
    ]


def notes(data: Mapping[str, Any]) -> list[str]:
    """What a reader must know of how the figures came about."""
    found = [
        f"Latency is that of step {data['step']} alone, one question after the other and nothing from a cache, on "
        f"{figures.plural(data['latency_cases'], 'case')}."
        if data["latency_cases"]
        else "Latency and memory were not measured.",
    ]
    if data["latency_cases"] and not data["interleaved"]:
        found.append("The candidates do not fit into memory side by side, so they were timed one after the other.")
    if any(record["memory_bytes"] is not None for record in data["candidates"]):
        found.append("Memory is the peak of the process that serves only this candidate, without that of a GPU.")
    for part in data["machine_load"]:
        taken = [(part["busy"], "other programs"), (part["stolen"], "other virtual machines")]
        found += [
            f"The machine was busy: {who} took {100 * share:.0f} % of its time, so compare times with care."
            for share, who in taken
            if share is not None and share >= BUSY
        ]
    if any(record["endpoint"] for record in data["candidates"]):
        found.append("Of an endpoint nobody here knows memory and size; its latency includes the way there.")
    return [*found, *data["proposals"]]


def _against(record: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if record["difference"] is None:
        return "the first" if record["id"] == data["reference"] else figures.NONE
    found = record["difference"]
    return f"{figures.difference(found['estimate'], data['unit'])} {_interval(found, data['unit'], signed=True)}"


def _level(level: Mapping[str, Any], unit: str) -> str:
    return f"{figures.value(level['estimate'], unit)} {_interval(level, unit, signed=False)} (n {level['n']})"


def _interval(found: Mapping[str, Any], unit: str, *, signed: bool) -> str:
    show = figures.difference if signed else figures.value
    low = "−∞" if found["low"] is None else show(found["low"], unit)
    high = "∞" if found["high"] is None else show(found["high"], unit)
    return f"[{low}, {high}]" if found["estimate"] is not None else ""


def _ms(number: float | None) -> str:
    if number is not None and number < 10:
        return f"{number:.1f} ms"
    return figures.value(number, "ms")


def _bytes(number: int | None) -> str:
    if number is None:
        return figures.NONE
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _count(number: float | None) -> str:
    return figures.NONE if number is None else f"{number:,.0f}"


def _cost(cost: Mapping[str, Any] | None) -> str:
    return figures.NONE if cost is None else f"{cost['per_1000_cases']:.4g} {cost['currency']}"


def _build(record: Mapping[str, Any]) -> str:
    seconds = record["build_seconds"]
    told = "unknown" if seconds is None else "none" if seconds == 0 else figures.seconds(seconds)
    return told if record["method"] == "not tuned" else f"{told} ({record['method']})"


def _base(record: Mapping[str, Any]) -> str:
    size = record["parameters"]
    told = (
        "size unknown" if size is None else f"{size / 1e6:,.0f}M parameters" if size >= 1e6 else f"{size:,} parameters"
    )
    stored = "" if record["base_bytes"] is None else f", {_bytes(record['base_bytes'])}"
    return f"{record['model']} ({told}{stored}, {record['licence']})"


def _models(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each base model once, as its file describes it."""
    return list({record["model"]: record for record in records}.values())
