"""``signoff doctor``: is everything there that a gate needs?"""

from __future__ import annotations

import argparse
from argparse import Namespace

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command
from harness.errors import EXIT_PASS, EXIT_USAGE


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put the command on the command line."""
    doctor = command(
        sub,
        "doctor",
        "say of machine, repository and workflows whether a gate can run, and what to do if not",
        "signoff doctor --github",
        doctor_command,
    )
    doctor.add_argument("--github", action="store_true", help="print the settings that make the verdict required")


def doctor_command(args: Namespace) -> int:
    """``signoff doctor``."""
    from harness.report.visible import one_line
    from harness.run.doctor import advice, examine

    findings = examine(args.root, args.cache)
    code = EXIT_USAGE if any(finding.level == "problem" for finding in findings) else EXIT_PASS
    if args.json:
        told = {"github": advice(args.root)} if args.github else {}
        print_json({"findings": [finding.as_dict() for finding in findings], **told, "exit_code": code})
        return code
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            print(f"{area}:")
        print(f"  {one_line(finding.line(), 400)}")
    if args.github:
        print(f"\n{advice(args.root)}")
    return code
