"""Looking while servers write, and being killed while looking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness.run.watch import Watch, watch
from harness.serve.gateway.telemetry import TraceLog
from harness.spec.serving import Traces
from tests.monitor.traffic import AT, MONITOR, log_of, traffic, watched_project, write_log
from tests.run.project import ROOT
from tests.serve.turns import finished

SLIS = MONITOR[: MONITOR.index("drift:")]


def test_looking_disturbs_no_server_and_the_other_way_round(tmp_path: Path) -> None:
    """While one server writes, closes files and turns them into Parquet, every look reads whole rows only, and in the
    end all of them are there once."""
    project = watched_project(tmp_path, SLIS)
    log = TraceLog(log_of(project), str, Traces(megabytes=0.05))
    total, done = 1500, threading.Event()

    def serve() -> None:
        for number in range(total):
            turn = finished(id=f"q{number}", app="desk", user=f"u{number}", received=time.time() - 60, steps={})
            log.observe(turn)
            if number % 100 == 0:
                log.flush()
        log.close()
        done.set()

    server = threading.Thread(target=serve)
    server.start()
    seen = []
    while not done.is_set() and len(seen) < 20:
        seen.append(_look(project.root, log_of(project)))
    server.join()
    last = _look(project.root, log_of(project))
    assert len(list(log_of(project).glob("*.parquet"))) > 3
    assert [each["torn"] + each["damaged"] for each in (*seen, last)].count(0) >= len(seen)
    counts = [each["requests"] for each in seen]
    assert counts == sorted(counts) and last["requests"] == total == last["n"]


def _look(root: Path, traces: Path) -> dict[str, int]:
    report = watch(Watch(root, traces, datetime.now(UTC) + timedelta(seconds=1)))["apps"]["desk"]
    available = next(each for each in report["indicators"] if each["id"] == "available")
    return {**report["traffic"], "n": available["n"]}


def test_a_kill_leaves_a_folder_that_nobody_takes_for_whole(tmp_path: Path) -> None:
    """Killed in mid-look, the run folder has no run.json, ``latest`` does not point to it, and the next look works."""
    project = watched_project(tmp_path, SLIS)
    write_log(log_of(project), traffic(30_000, seed=2))
    command = [sys.executable, "-m", "harness", "monitor", "run", "--root", str(project.root), "--now", AT]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reports = project.root / "reports/monitor"
    deadline = time.monotonic() + 60
    while not list(reports.glob("*/measurements/monitor.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    (killed,) = [path for path in reports.iterdir() if path.name != "latest"]
    assert not (killed / "run.json").exists() and not (reports / "latest").exists()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert (reports / "latest").resolve() != killed.resolve()
    assert (reports / "latest" / "run.json").is_file()
