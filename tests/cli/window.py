"""A terminal for tests: a command in a pty, and what stands on the screen."""

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")
PATIENCE_S = 30.0


class Window:
    """Runs ``fleet`` with a terminal of a given size; a context manager that leaves no process behind.

    Understands what the command line writes and no more: an unknown sequence fails the test.

    Parameters
    ----------
    module
        Whether to run ``fleet``; otherwise Python itself with these arguments.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        *,
        columns: int = 80,
        lines: int = 24,
        module: bool = True,
        **environment: str,
    ) -> None:
        self.columns, self.lines = columns, lines
        self._leader, follower = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(follower)
        names = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, *(["-m", "master.cli"] if module else []), *arguments],
            stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
            preexec_fn=_take_terminal,
            env={**names, "TERM": "xterm-256color", "FLEET_HOME": str(home), **environment},
        )  # fmt: skip
        self._follower = follower
        self.text = ""
        """Everything that was written, sequences included."""
        self.screen: list[str] = [""]
        self.full_screen = False
        self._unread = ""
        self._row = self._column = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)
        os.close(self._follower)

    @property
    def settings(self) -> list[object]:
        """The terminal's settings now, as :meth:`termios.tcgetattr` returns them."""
        return termios.tcgetattr(self._follower)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._leader, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Resize the window; its program gets SIGWINCH."""
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self.process.send_signal(number)

    def wait_until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen is as wanted; returns it."""
        until = time.monotonic() + PATIENCE_S
        while not holds(self.screen):
            if not self._pump(until):
                raise AssertionError("\n".join(["it did not come:", *self.screen]))
        return self.screen

    def wait(self) -> int:
        """Read until the program ends; returns its exit code."""
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert self._pump(min(until, time.monotonic() + 0.05)) or time.monotonic() < until, self.screen
        while self._pump(time.monotonic()):
            pass
        return self.process.returncode

    def _pump(self, until: float) -> bool:
        """Read what was written; returns False if nothing comes until then."""
        if not select.select([self._leader], [], [], max(until - time.monotonic(), 0))[0]:
            return False
        found = os.read(self._leader, 65_536).decode("utf-8", "replace")
        self.text += found
        self._unread += found
        while self._unread:
            taken = self._take()
            if not taken:
                break
            self._unread = self._unread[taken:]
        return True

    def _take(self) -> int:
        """Obey the first character or sequence; returns its length, 0 if it is not whole yet."""
        first = self._unread[0]
        if first == "\x1b":
            found = _SEQUENCE.match(self._unread)
            if found is None:
                assert len(self._unread) < 16, repr(self._unread[:40])
                return 0
            self._obey(found[1] + found[3], found[2])
            return found.end()
        if first == "\r":
            self._column = 0
        elif first == "\n":
            self._row += 1
        else:
            self._put(first)
        return 1

    def _obey(self, kind: str, number: str) -> None:
        line = self._line()
        if kind == "H":
            self._row = self._column = 0
        elif kind == "K":
            self.screen[self._row] = line[: self._column]
        elif kind == "J":
            del self.screen[self._row + 1 :]
        elif kind in ("?h", "?l"):
            if number == "1049":
                self.full_screen = kind == "?h"
                self.screen, self._row, self._column = [""], 0, 0
        else:
            assert kind == "m", (kind, number)

    def _line(self) -> str:
        while len(self.screen) <= self._row:
            self.screen.append("")
        return self.screen[self._row]

    def _put(self, character: str) -> None:
        line = self._line().ljust(self._column)
        self.screen[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1


def _take_terminal() -> None:
    """Make the pty the controlling terminal: Ctrl-C and Ctrl-Z reach the program as from a keyboard."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A runner in the background of a shell ignores it, which a child would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def too_wide(lines: Sequence[str], columns: int) -> list[str]:
    """Return the lines that are wider than the window."""
    return [line for line in lines if cell_len(line) > columns]
