"""A process that changes a folder is killed at each step: the folder is as it was, or wholly new."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.hostile.effort import rounds
from tests.nodekit.releases.cuts import SCENES

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a kill leaves the same on every file system, and here it is quick


def cut(*options: str) -> dict[str, int]:
    """Kill at each step; returns how often, by what was going on."""
    home = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=home) as folder:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tests.nodekit.releases.cuts", folder, *options],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert [wrong for scene in report.values() for wrong in scene["wrong"]] == []
    return {name: scene["kills"] for name, scene in report.items()}


@pytest.mark.slow
def test_killed_at_each_step_a_folder_is_old_or_new() -> None:
    kills = cut()
    assert kills.keys() == SCENES.keys()
    assert min(kills.values()) > 15
    print(f"killed at {sum(kills.values())} steps: {kills}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_at_each_step_of_settling_a_folder_is_old_or_new() -> None:
    # Each step of settling after every twelfth step of a change: all of them are 13,000 kills.
    kills = cut(str(max(1, 12 // rounds(1))))
    print(f"killed {sum(kills.values())} times, first at a change and then at settling it: {kills}")
