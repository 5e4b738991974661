"""The whole terminal for one command: keys without Enter, a frame at a time, and all restored however it ends."""

from __future__ import annotations

import codecs
import errno
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from rich.text import Text

from master.terminal.output import FleetConsole

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # the other screen; no cursor; what is too wide does not wrap
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_ESCAPE_S = 0.05
"""So long after ESC the rest of a key's sequence may come; later, it was the key Escape."""

_SEQUENCES = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[5~": "page up", "[6~": "page down",
    "[H": "home", "OH": "home", "[1~": "home", "[F": "end", "OF": "end", "[4~": "end",
}  # fmt: skip
_CONTROLS = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "clear", "\x0c": "redraw"}


def can_draw() -> bool:
    """Tell whether the terminal can be drawn on: both ends are one, and it is no dumb one."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


class Screen:
    """Draws frames and reads keys; a context manager.

    SIGTERM and SIGHUP end the program through it, so that the terminal is restored; SIGTSTP (Ctrl-Z) gives the
    terminal back until the program goes on.
    """

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._before: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._shown = ""
        self._console = FleetConsole(width=1000)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._input)
        for number, handler in (
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
            (signal.SIGTSTP, self._suspend),
            (signal.SIGWINCH, self._resized),
        ):
            self._handlers[number] = signal.signal(number, handler)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            # Until the terminal is restored a second signal is not to interrupt that.
            signal.signal(number, signal.SIG_IGN if number in (signal.SIGTERM, signal.SIGHUP) else handler)
        try:
            self._give_back()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            os.close(self._woken)
            os.close(self._wake)

    def _take(self) -> None:
        tty.setcbreak(self._input)
        self._write(_ENTER)
        self._shown = ""

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
        finally:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)

    def _suspend(self, number: int, _frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        # To this thread: another one could take it after the next line, as one for itself.
        signal.raise_signal(signal.Signals(number))
        signal.signal(number, self._suspend)
        self._take()

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        self._shown = ""

    def wake(self) -> None:
        """Have :meth:`wait_for_keys` return; may be called from any thread."""
        with suppress(BlockingIOError):  # it is being woken already
            os.write(self._wake, b"\0")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        # Not COLUMNS and LINES: they do not follow a resize.
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            size = shutil.get_terminal_size((80, 24))
        return size.columns or 80, size.lines or 24

    def draw(self, lines: Sequence[Text]) -> None:
        """Show one frame; what is on the screen already is not sent again."""
        with self._console.capture() as captured:
            self._console.print(Text("\n").join(lines), soft_wrap=True, end="")
        rows = captured.get().split("\n")
        frame = "\x1b[H" + "\r\n".join(f"{row}\x1b[K" for row in rows) + "\x1b[J"
        if frame != self._shown:
            # Before it is written: a signal meanwhile says that it is not on the screen.
            self._shown = frame
            self._write(frame)

    def _write(self, text: str) -> None:
        left = text.encode("utf-8", "backslashreplace")
        while left:
            left = left[os.write(self._output, left) :]

    def wait_for_keys(self) -> list[str]:
        """Wait for keys or for :meth:`wake`; returns the keys: names such as ``page up``, or characters.

        Raises
        ------
        OSError
            The terminal is gone.
        """
        ready, _, _ = select.select([self._input, self._woken], [], [])
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._input not in ready:
            return []
        text = self._read()
        while text.endswith(("\x1b", "\x1b[", "\x1bO")) and select.select([self._input], [], [], _ESCAPE_S)[0]:
            text += self._read()
        return _keys_in(text)

    def _read(self) -> str:
        found = os.read(self._input, 1024)
        if not found:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._decode(found)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _keys_in(text: str) -> list[str]:
    """Split what was typed into keys; a sequence that is none of ours is passed over."""
    keys = []
    while text:
        if text[0] != "\x1b":
            keys.append(_CONTROLS.get(text[0], text[0]))
            text = text[1:]
        elif len(text) == 1 or text[1] not in "[O":
            keys.append("escape")
            text = text[1:]
        else:
            end = 2
            while end < len(text) and not "@" <= text[end] <= "~":
                end += 1
            known = _SEQUENCES.get(text[1 : end + 1])
            keys += [known] if known else []
            text = text[end + 1 :]
    return [key for key in keys if len(key) > 1 or key.isprintable()]
