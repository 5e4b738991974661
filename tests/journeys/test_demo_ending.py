"""The demo on a small screen, and all the ways in which somebody ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.terminals import ESCAPE, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COLUMNS, ROWS = 60, 20
LAST = "every step passed"
COMMAND = [sys.executable, "-m", "master.cli", "demo"]


def demo_in(folder: Path, *arguments: str) -> Terminal:
    return Terminal("demo", *arguments, columns=COLUMNS, rows=ROWS, TMPDIR=str(folder))


def processes_in(folder: Path) -> list[str]:
    found = psutil.process_iter(["cmdline", "cwd"])
    return [str(p.info) for p in found if str(folder) in f"{p.info['cwd']} {p.info['cmdline']}"]


def test_a_small_screen_shows_the_whole_summary_last(tmp_path: Path) -> None:
    terminal = demo_in(tmp_path, "--nodes", "12", "--once")
    terminal.read_until("(?!)")  # to its end
    assert terminal.wait() == 0
    plain = [ESCAPE.sub("", line).rstrip() for line in terminal.seen.replace("\r", "").split("\n")]
    rows = [line[at : at + COLUMNS] for line in plain for at in range(0, max(len(line), 1), COLUMNS)]
    screen = "\n".join(rows[-ROWS:])
    assert LAST in screen
    for figure in ("first node ready", "/dupbot to ready", "SIGKILL to ready", "a node's memory (PSS)"):
        assert figure in screen, screen
    # Each frame fits: the next one is written over it from its first row, and so none scrolls by.
    frames = [run.count("\x1b[1A") for run in re.findall(r"(?:\x1b\[1A\x1b\[2K|\r\x1b\[2K)+", terminal.seen)]
    assert 5 < max(frames) < ROWS
    frame = [ESCAPE.sub("", line) for line in terminal.seen.rpartition("and 3 more")[2].split("\n")[:6]]
    assert any("13 nodes" in line for line in frame), frame


def test_the_end_of_its_terminal_is_the_end_of_the_demo(tmp_path: Path) -> None:
    terminal = demo_in(tmp_path, "--nodes", "2")
    terminal.read_until(f"{LAST}.*The fleet keeps running")
    assert processes_in(tmp_path)
    os.close(terminal.screen)  # SIGHUP, and no terminal to write to
    assert terminal.wait() in (0, 130)
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_demo_that_was_killed_is_cleaned_up_by_the_next_but_a_living_one_is_not(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed, living = (
        subprocess.Popen([*COMMAND, "--nodes", nodes], env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for nodes in ("2", "1")
    )
    for demo in (killed, living):
        assert demo.stdout is not None
        assert any("keeps running" in line for line in demo.stdout)
    killed.kill()
    killed.wait()
    assert len(list(tmp_path.iterdir())) == 2
    done = subprocess.run(  # noqa: S603 - ourselves
        [*COMMAND, "--nodes", "1", "--once"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "removed " in done.stdout.splitlines()[0]
    (left,) = tmp_path.iterdir()
    assert (left / "config.py").is_file()
    living.send_signal(signal.SIGINT)
    assert living.wait(100) == 0
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []
