"""The demo, as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest


@pytest.mark.timeout(180)
def test_the_demo_passes_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "master.cli", "demo", "--nodes", "3", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    outcome = json.loads(done.stdout)
    assert done.returncode == 0, outcome
    assert outcome["ok"]
    assert [step["ok"] for step in outcome["steps"]] == [True] * 10
    assert set(outcome["steps"][0]) == {"name", "ok", "detail", "seconds"}
    assert list(tmp_path.iterdir()) == []
    folder = str(tmp_path) if tempfile.gettempdir() != str(tmp_path) else "fleet-demo-"
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline", "cwd"]) if folder in str(p.info["cwd"])]
    assert left == []
