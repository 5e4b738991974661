"""The demo on a small screen, and all the ways in which somebody ends it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

COLUMNS, ROWS = 60, 20
LAST = "every step passed"
COMMAND = [sys.executable, "-m", "master.cli", "demo"]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A demo in a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            environment = {**os.environ, "TMPDIR": str(folder), "TERM": "xterm"}
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                environment.pop(name, None)
            os.execve(sys.executable, [*COMMAND, *arguments], environment)  # noqa: S606 - ourselves
        self.seen = ""

    def read_until(self, pattern: str, timeout_s: float = 150) -> None:
        """Read what it shows until that has the pattern, or it has ended."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.seen, re.DOTALL):
            assert select.select([self.screen], [], [], max(deadline - time.monotonic(), 0))[0], self.seen[-2000:]
            try:
                said = os.read(self.screen, 65_536)
            except OSError:  # EIO: it has ended (pty(7))
                return
            self.seen += said.decode("utf-8", "replace")

    def wait(self, timeout_s: float = 100) -> int:
        """Wait for its end; returns its exit code, or minus the signal."""
        process = os.pidfd_open(self.pid)
        assert select.select([process], [], [], timeout_s)[0]
        os.close(process)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def processes_in(folder: Path) -> list[str]:
    found = psutil.process_iter(["cmdline", "cwd"])
    return [str(p.info) for p in found if str(folder) in f"{p.info['cwd']} {p.info['cmdline']}"]


def test_a_small_screen_shows_the_whole_summary_last(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--nodes", "12", "--once")
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
    terminal = Terminal(tmp_path, "--nodes", "2")
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
