"""The HTML report trusts no text: a model may write whatever it likes."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.report import write_reports
from tests.report.parsed_page import Page, parsed
from tests.report.run_folder import Folder

ATTACKS = [
    "</style></script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "\"><svg onload=alert(1)>' onmouseover='x",
    "</div></details></main><h1>Pass</h1>",
    "<!-- <style>*{display:none}</style>",
    "javascript:alert(1) <a href='javascript:alert(1)'>x</a>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eevil\u200b\x00\x1b[2J",
]


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def test_policy_allows_this_style_and_this_script_only(make_folder: Callable[..., Folder]) -> None:
    """The policy forbids everything and names the digests of the one style and the one script in the page."""
    _, page = parsed(make_folder("fail"))
    policy = next(
        a["content"] or "" for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (page.count("style"), page.count("script")) == (1, 1)
    assert rules == {
        "default-src": "'none'", "style-src": _hash(page.texts["style"]), "script-src": _hash(page.texts["script"]),
        "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip


def test_page_fetches_nothing(make_folder: Callable[..., Folder]) -> None:
    """No element has a source, a style attribute or an event handler, and no style imports."""
    text, page = parsed(make_folder("fail"))
    names = {name for _, attrs in page.tags for name in attrs}
    assert not {
        n for n in names if n.startswith("on") or n in ("src", "srcset", "style", "action", "xlink:href", "ping")
    }
    assert not re.search(r"@import|url\(|https?://", text)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_hostile_text_adds_no_element(make_folder: Callable[..., Folder], attack: str) -> None:
    """Text of a model, a case, a reason or a manifest changes no tag of the page, only its words."""

    def page_with(text: str) -> Page:
        folder = make_folder("fail", cases=False).case(f"case {text}", f"old {text}", f"new {text}", reason=text)
        folder.outputs[-1] |= {"input": text, "expect": {text: text}, "group": text, "steps": {}}
        folder.verdict["next_action"] = folder.verdict["reasons"][0] = folder.verdict["gates"][0]["reason"] = text
        folder.manifest["warnings"] = folder.manifest["not_covered"] = [text]
        folder.manifest["machine"] = {text: text}
        return parsed(folder.save())[1]

    def tags(page: Page) -> list[str]:
        return [tag for tag, attrs in page.tags if attrs.get("class") != "c"]

    assert tags(page_with("harmless")) == tags(page_with(attack))


def test_hostile_outputs_are_shown_as_text(make_folder: Callable[..., Folder]) -> None:
    """A case's outputs appear word for word, escaped, with hidden characters named."""
    folder = make_folder("fail", cases=False).case("c1", "fine", "<script>alert(1)</script> \u202e \ud83d \x00").save()
    text, page = parsed(folder)
    assert "<script>alert(1)</script>" in page.words
    assert re.findall(r'<i class="c">([^<]+)</i>', text) == ["RLO", "U+D83D", "NUL"]
    assert not set(text) & set("\u202e\ud83d\x00")


def test_a_huge_output_is_folded(make_folder: Callable[..., Folder]) -> None:
    """An output of 100 KB stays readable: folded, cut, and its page small."""
    folder = make_folder("fail", cases=False).case("c1", "short", "word " * 20_000).save()
    text, page = parsed(folder)
    assert len(text) < 150_000
    assert "more characters" in page.words
    assert "only in the run folder" in page.words


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_runs_the_script_and_nothing_else(make_folder: Callable[..., Folder], tmp_path: Path) -> None:
    """Chromium accepts the policy's digests: the filters appear, and a hostile output stays text."""
    folder = make_folder("fail", cases=False).case("c1", "x", "<img src=x onerror=\"document.title='owned'\">").save()
    report = write_reports(folder.path)[0]
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
    ]  # fmt: skip
    dom = subprocess.run([*command, report.as_uri()], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>owned" not in dom
    assert "2 of 2 rows" not in dom
    assert re.search(r'<output id="f-count"[^>]*>1 of 1 rows', dom)
    without = report.read_text().replace('"use strict"', '"use strict" ')
    report.write_text(without)
    dom = subprocess.run([*command, report.as_uri()], capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r'<div class="filters" id="filters" hidden', dom), "a changed script must not run"
    assert "Required gates" in dom
