"""A command in a terminal of its own, for tests: what it shows, what is typed, and what happens when it is closed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command in a pseudo-terminal.

    Parameters
    ----------
    command
        Instead of the command line.
    only
        The whole environment, instead of this process's own with ``environment`` laid over it.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        command: Sequence[str] = (sys.executable, "-m", "master.cli"),
        cwd: Path | None = None,
        only: Mapping[str, str] | None = None,
        **environment: str,
    ) -> None:
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            own = {**(os.environ if only is None else only), "TERM": "xterm", **environment}
            if cwd is not None:
                os.chdir(cwd)
            for name in ("COLUMNS", "LINES", "NO_COLOR"):
                own.pop(name, None)
            os.execve(command[0], [*command, *arguments], own)  # noqa: S606 - ourselves
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

    def answer(self, question: str, text: str, timeout_s: float = 60) -> str:
        """Type a line once the question is asked; returns all that was shown before, without colours."""
        self.read_until(question, timeout_s)
        shown = ESCAPE.sub("", self.seen)
        assert re.search(question, self.seen, re.DOTALL), shown[-2000:]
        self.seen = ""
        os.write(self.screen, f"{text}\n".encode())
        return shown

    def wait(self, timeout_s: float = 100) -> int:
        """Wait for its end; returns its exit code, or minus the signal."""
        process = os.pidfd_open(self.pid)
        assert select.select([process], [], [], timeout_s)[0]
        os.close(process)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
