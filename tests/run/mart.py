"""A mart for the repositories of tests: tickets, of which three or none are cases of the suite."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

TICKETS = (
    "the kettle i bought leaks at the seam between lid and jug",
    "could somebody tell me whether the oak shelf carries forty kilos",
    "my daughter lost the second key of the piano lid last summer",
    "please send the invoice of the garden hose to our office in the north",
    "the app signs me out whenever i open my wish list on the phone",
    "two of the six glasses came broken although the box looked fine",
    "is there a discount for schools that order more than thirty desks",
    "i would like to exchange the red coat for the one in dark green",
)
MART = """\
name: tickets
licence: none
sources:
  raw:
    from: path:raw/tickets.jsonl
    format: jsonl
    licence: none
    columns: {id: VARCHAR, customer: VARCHAR, body: VARCHAR}
key: id
group: customer
text: text
splits: {train: 0.5, test: 0.5}
"""
SQL = "CREATE TABLE tickets AS SELECT id, customer, body AS text FROM raw;\n"


def mart_files(more: Sequence[str] = (), *, mart: str = MART) -> dict[str, str]:
    """The files of the mart; the texts ``more`` are its last tickets."""
    rows = [
        {"id": f"T-{number:02}", "customer": f"C-{number:02}", "body": text}
        for number, text in enumerate((*TICKETS, *more))
    ]
    raw = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows).decode()
    return {
        "data/tickets/mart.yaml": mart,
        "data/tickets/sql/01_tickets.sql": SQL,
        "data/tickets/raw/tickets.jsonl": raw,
    }
