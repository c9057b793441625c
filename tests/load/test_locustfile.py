"""A suite's own locustfile of three lines, run by plain ``locust -f``."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.load.streaming import Script, streaming
from tests.run.project import ROOT, make_project

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install 'signoff[load]'")
LOCUSTFILE = """\
from harness.load.user import AppUser


class Desk(AppUser):
    app = "desk"
"""


def test_plain_locust_asks_the_apps_cases(tmp_path: Path) -> None:
    """Its users ask the cases of the suite as streams, and its statistics hold whole answers and first tokens."""
    project = make_project(tmp_path, files={"suites/desk/locustfile.py": LOCUSTFILE})
    with streaming(Script(first_s=0.01)) as service:
        command = [sys.executable, "-m", "locust", "-f", str(project.root / "suites/desk/locustfile.py"), "--headless",
                   "-u", "2", "-r", "2", "-t", "3s", "--host", service.url.removesuffix("/v1"),
                   "--only-summary"]  # fmt: skip
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert service.sent
    assert all(sent.model == "desk" and sent.body["inputs"]["message"].startswith("message") for sent in service.sent)
    assert "TTFT" in done.stderr + done.stdout


@pytest.mark.parametrize("app", ["support", "publishing"])
def test_shipped_locustfiles_name_their_app(app: str) -> None:
    """The file lies in the suite whose app it asks."""
    text = (ROOT / f"suites/{app}/locustfile.py").read_text(encoding="utf-8")
    assert f'app = "{app}"' in text
