"""The console: text in which nothing foreign acts, JSON, errors, questions."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, NoReturn

import msgspec
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from master.errors import ExitCode, FleetError
from master.wording import json_visible, visible, visible_lines

_PIPE_COLUMNS = 200
"""What rich lays out itself is not squeezed into the 80 columns that it assumes of a file or a pipe."""


class NoTerminal(FleetError):
    """A question needs a terminal."""

    code: ClassVar[str] = "no_terminal"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class FleetConsole(Console):
    """A console on which nothing foreign acts: no text is markup, and control characters are shown as escapes.

    Texts of one line are made with :func:`one_line`, before their widths are measured; what forgets it is caught here.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        # Rich follows NO_COLOR by itself: https://no-color.org.
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; the text of each segment is escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Go on without output when its reader is gone (``fleet stop --all | head -1``): the exit code stays true."""
        discard_output()
        self.quiet = True


def discard_output() -> None:
    """Point standard output at nothing; the interpreter would otherwise fail when it flushes at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)
    os.close(nothing)


def terminal_width() -> int | None:
    """Return the columns of the terminal, or COLUMNS; None for a file or a pipe, into which nothing is cut."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        # Rich takes any dumb terminal for one of 80 columns.
        return shutil.get_terminal_size((80, 24)).columns
    return None


def terminal_height() -> int | None:
    """Return the lines of the terminal; None for a file or a pipe."""
    return shutil.get_terminal_size((80, 24)).lines if sys.stdout.isatty() else None


console = FleetConsole(width=terminal_width() or _PIPE_COLUMNS)
errors = FleetConsole(stderr=True)


def print_lines(lines: Iterable[Text]) -> None:
    """Print lines that were laid out already, as they are."""
    console.print(Text("\n").join(lines), soft_wrap=True)


def one_line(*parts: str | tuple[str, str] | Text, style: str = "") -> Text:
    """Return one line of text; parts are strings, or strings with a style, and are made visible."""
    shown = [part if isinstance(part, Text) else _visible_part(part) for part in parts]
    return Text.assemble(*shown, style=style)


def _visible_part(part: str | tuple[str, str]) -> str | tuple[str, str]:
    return visible(part) if isinstance(part, str) else (visible(part[0]), part[1])


def local_time(moment: float, pattern: str) -> str:
    """Return a moment in the box's own time; ``?`` if there is no such moment."""
    try:
        return datetime.fromtimestamp(moment).astimezone().strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return "?"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    write_out(json_text(value, indent=2))


def json_text(value: Any, *, indent: int = 0) -> str:
    """Return a JSON document; characters that a terminal would obey are escaped in it."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A file's name that is not UTF-8 has halves of characters, which only an escape can carry.
        encoded = json.dumps(msgspec.to_builtins(value)).encode()
    return json_visible(msgspec.json.format(encoded, indent=indent).decode() if indent else encoded.decode())


def write_out(text: str) -> None:
    """Write a line to standard output; a reader that is gone is no error."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        console.on_broken_pipe()


def fail(error: FleetError, *, as_json: bool = False) -> NoReturn:
    """Print an error and exit with its exit code."""
    if as_json:
        print_json(
            {
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "hint": error.hint,
                    "exit_code": int(error.exit_code),
                }
            }
        )
    else:
        errors.print(one_line(("error: ", "bold red"), error.message), soft_wrap=True)
        for hint in error.hint.splitlines():
            errors.print(one_line(("hint:  ", "cyan"), hint), soft_wrap=True)
    raise typer.Exit(int(error.exit_code))


def is_terminal() -> bool:
    """Tell whether both standard input and output are terminals."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation.

    Raises
    ------
    NoTerminal
        There is nobody to ask.
    typer.Exit
        With 0, if the answer is no.
    """
    if yes:
        return
    if not is_terminal():
        raise NoTerminal("there is no terminal to ask at", hint="give --yes")
    if not typer.confirm(visible(question)):
        raise typer.Exit(0)
