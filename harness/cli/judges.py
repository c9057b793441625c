"""``signoff judge card``: how far a judge agrees with people."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group

if TYPE_CHECKING:
    from harness.spec.judge_cards import Agreement


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``judge`` and its command on the command line."""
    nested = group(
        sub, "judge", "measure how far a judge agrees with people", "signoff judge card --app support --judge settled"
    )
    card = command(
        nested,
        "card",
        "ask a judge for every labelled output and write its card",
        "signoff judge card --app support --judge settled",
        card_command,
    )
    card.add_argument("--app", required=True, help="the app whose suite holds the judge")
    card.add_argument("--judge", required=True, help="the judge")


def card_command(args: Namespace) -> int:
    """``signoff judge card``."""
    from harness.run.judge_card import write_card
    from harness.run.options import Options

    written = write_card(Options(args.root, args.cache, (args.app,), quiet=True), args.app, args.judge)
    if args.json:
        shown = {"card": written.card.model_dump(), "path": str(written.path)}
        print_json({**shown, "advisory": written.distrust, "unusable": list(written.unusable), "exit_code": 0})
        return 0
    for line in written.unusable:
        print(f"warning: {line}")
    for who, found in (("people", written.card.human), ("models", written.card.model)):
        print(f"labels by {who}: {_told(found)}")
    print(f"card: {written.path}; commit it with the judge")
    print(f"gates over this judge stay advisory: {written.distrust}" if written.distrust else "gates may rest on it")
    return 0


def _told(found: Agreement | None) -> str:
    if found is None or not found.n:
        return "none" if found is None else f"none that the judge could score ({found.unscored} tried)"
    limits = f" ({found.low:.2f} to {found.high:.2f})" if found.low is not None and found.high is not None else ""
    kappa = f"kappa {found.kappa:.2f}{limits}" if found.kappa is not None else "kappa undefined"
    ranks = f", AUC {found.auc:.2f}" if found.auc is not None else ""
    return (
        f"{found.n} ({found.unscored} unscored), agreement {found.agreement:.2f} where always answering the commonest "
        f"label reaches {found.constant:.2f}, {kappa}{ranks}, bias {found.bias:+.2f}"
    )
