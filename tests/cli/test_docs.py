"""The documentation knows every command and option, and its commands are the real ones."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import pytest

from harness.cli.main import parser
from harness.errors import EXIT_ERROR, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_USAGE
from tests.run.project import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def subcommands(top: argparse.ArgumentParser | None = None, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """The commands by name, those of a command that has some (``keys add``) too."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in (top or parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= {f"{before}{name}": command, **subcommands(command, f"{before}{name} ")}
    return found


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_command_is_documented(name: str) -> None:
    """docs/cli.md has a section for the command that names each option, each argument and the example of --help.

    Commands below a command stand in its section.
    """
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    heading = name.split()[0]
    section = re.search(rf"^## signoff {heading}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no heading '## signoff {heading}'"
    assert f"signoff {name}" in section.group(0)
    command = subcommands()[name]
    words = [option for action in command._actions for option in action.option_strings if option != "-h"]
    nested = argparse._SubParsersAction
    words += [
        action.dest for action in command._actions if not action.option_strings and not isinstance(action, nested)
    ]
    missing = [word for word in words if f"`{word}" not in section.group(0) and word != "--help"]
    assert missing == []
    assert (command.epilog or "").split("\n")[1].strip() in section.group(0)


def test_documented_options_exist() -> None:
    """No option in docs/cli.md has been invented."""
    real = {
        option for command in subcommands().values() for action in command._actions for option in action.option_strings
    }
    told = set(re.findall(r"`(--[a-z-]+)", (ROOT / "docs/cli.md").read_text(encoding="utf-8")))
    assert told <= real | {"--version"}


def test_exit_codes_are_documented() -> None:
    """The README names each exit code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for code in (EXIT_PASS, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_ERROR, EXIT_USAGE):
        assert re.search(rf"^\| {code} \|", text, re.MULTILINE), code


@pytest.mark.parametrize("session", ["gate", "tests"])
def test_readme_names_the_sessions(session: str) -> None:
    """The commands for the gate and for the tests stand in the README in fenced blocks and are sessions of nox."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert any(f"python -m pip install nox && python -m nox -s {session}" in block for block in blocks)
    assert f"def {session}(session: nox.Session)" in (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    """Every relative link of the documentation is a file of the repository."""
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert dead == []


def test_commands_of_the_readme_parse() -> None:
    """Every ``signoff`` command in a fenced block of the README is one that the command line understands."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [
        line.split("#")[0].strip()
        for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    import shlex

    commands = [shlex.split(line)[1:] for line in lines if line.startswith("signoff ")]
    assert commands
    for argv in commands:
        parser().parse_args(argv)


def test_module_runs_as_documented() -> None:
    """``python -m harness --version`` prints the version."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"signoff \d+\.\d+\.\d+", done.stdout.strip())
