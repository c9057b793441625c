"""The mart that ships, beside the list of faults that were put into its raw export."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from harness.data.marts import BuiltMart, build_mart
from tests.data.marts.small import lines
from tests.run.project import ROOT

RAW = ROOT / "data/support_tickets/raw"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltMart:
    """The mart, built from nothing; only urgency is reviewed, which is the quickest."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "data/support_tickets", root / "data/support_tickets",
                    ignore=shutil.ignore_patterns("build", ".build*"))  # fmt: skip
    file = root / "data/support_tickets/mart.yaml"
    text = file.read_text()
    assert "review: {labels: [intent, urgency, action]}" in text
    file.write_text(text.replace("[intent, urgency, action]}", "[urgency], folds: 2}"))
    return build_mart(root, "support_tickets", root / "cache")


@pytest.fixture(scope="module")
def rows(built: BuiltMart) -> list[dict[str, Any]]:
    """All rows that stay."""
    return [row for name in built.counts for row in built.rows(name)]


def faults(heading: str, columns: int = 2) -> set[tuple[str, ...]]:
    """The rows of one table of KNOWN_FAULTS.md, or its bullet points."""
    text = (RAW / "KNOWN_FAULTS.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {heading}.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    table = [tuple(cell.strip(" `") for cell in line.strip("|").split("|")[:columns])
             for line in found[0].splitlines() if line.startswith("| T-")]  # fmt: skip
    return set(table) or {(ticket,) for ticket in re.findall(r"^- (T-\d+)", found[0], re.MULTILINE)}


def test_copies_are_found(built: BuiltMart) -> None:
    """Among the tickets exactly the copies of the list are dropped, exact and near, each beside what it copies."""
    for heading, reason in (("Exact duplicates", "duplicate"), ("Near-duplicates", "near duplicate")):
        dropped = [row for row in lines(built, "dropped.jsonl") if row["reason"] == reason]
        pairs = {(row["id"], row["copy_of"]["id"]) for row in dropped}
        found = {pair for pair in pairs if all(name.startswith("T-") for name in pair)}
        assert found == faults(heading)


def test_junk_is_found(built: BuiltMart) -> None:
    """Exactly the junk of the list is dropped as junk."""
    found = {(row["id"],) for row in lines(built, "dropped.jsonl") if row["reason"].startswith("junk")}
    assert found == faults("Junk")


def test_broken_rows_are_kept_aside(built: BuiltMart) -> None:
    """Exactly the broken rows of the list are kept aside, by line."""
    tickets = [orjson.loads(line)["ticket_id"] for line in (RAW / "tickets.jsonl").read_bytes().splitlines()]
    found = {(tickets[row["line"] - 1],) for row in lines(built, "set_aside.jsonl")}
    assert found == faults("Broken rows", 1)


def test_every_row_is_accounted_for(built: BuiltMart, rows: list[dict[str, Any]]) -> None:
    """Rows that stay, rows left out and rows kept aside add up to what was read."""
    files = ("tickets.jsonl", "labelled_messages.jsonl", "chat_messages.jsonl")
    read = sum(len((RAW / name).read_bytes().splitlines()) for name in files)
    left = len(lines(built, "dropped.jsonl")) + len(lines(built, "set_aside.jsonl"))
    assert len(rows) + left == read > 2500


def identifiers() -> Iterator[dict[str, str]]:
    """What was planted in the bodies."""
    for line in (RAW / "planted_identifiers.jsonl").read_bytes().splitlines():
        yield orjson.loads(line)


def test_no_planted_identifier_is_left(built: BuiltMart, rows: list[dict[str, Any]]) -> None:
    """None of the identifiers stands in any file, in any case and with any blanks and dashes."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in built.folder.glob("*.[jm]*")}
    assert {"dropped.jsonl", "set_aside.jsonl", "review.jsonl", "README.md", "croissant.json"} <= texts.keys()
    texts["rows"] = orjson.dumps(rows).decode()
    squeezed = {name: re.sub(r"\W|_", "", text).casefold() for name, text in texts.items()}
    left = [(name, item) for item in identifiers() for name, text in squeezed.items()
            if re.sub(r"\W|_", "", item["text"]).casefold() in text]  # fmt: skip
    assert left == []


def test_texts_stay_useful(rows: list[dict[str, Any]]) -> None:
    """Order numbers stay, blanks are single, and few texts hold a placeholder at all."""
    raw = (RAW / "tickets.jsonl").read_text(encoding="utf-8")
    assert sum("ORD-" in row["text"] for row in rows) > 450
    assert all(number in raw or row["source"] != "tickets" for row in rows
               for number in re.findall(r"ORD-\d{5}", row["text"]))  # fmt: skip
    assert not any(re.search(r"\s\s|\r|\n", row["text"]) for row in rows)
    assert sum("<" in row["text"] for row in rows) < 0.1 * len(rows)


def test_columns(rows: list[dict[str, Any]]) -> None:
    """Each row has the columns that adapters and the contamination report read, with the values of mart.yaml."""
    wanted = {"id", "source", "group_id", "text", "intent", "urgency", "action", "channel", "tier", "language"}
    assert all(wanted <= row.keys() for row in rows)
    older = [row for row in rows if row["source"] == "labelled_messages"]
    assert older and all(row["urgency"] is None and row["action"] is None and row["intent"] for row in older)
    assert {row["tier"] for row in rows} == {"standard", "gold"}
    assert {row["language"] for row in rows} == {"en"}
    spelt = {row["order_id"] for row in rows if row["order_id"]}
    assert all(re.fullmatch(r"ORD-\d{5}", number) for number in spelt)


def test_customers_stand_in_one_split(built: BuiltMart) -> None:
    """No customer's tickets stand in two splits, and the shares are near what was asked for."""
    groups = {name: {row["group_id"] for row in built.rows(name)} for name in built.counts}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))
    assert abs(built.counts["train"] / sum(built.counts.values()) - built.mart.splits["train"]) < 0.05
    assert all(len({row["intent"] for row in built.rows(name)}) == 14 for name in built.counts)


def test_wrong_urgencies_are_listed(built: BuiltMart) -> None:
    """Of the wrong urgencies of the export at least one is among those to look at."""
    wrong = {ticket for ticket, field in faults("Wrong labels") if field == "urgency"}
    assert wrong & {row["id"] for row in lines(built, "review.jsonl")}
