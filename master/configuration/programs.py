"""Forms of the settings that say how a node's program is run: command lines, schedules, signs of readiness."""

from __future__ import annotations

import re
import shlex
from typing import ClassVar, Literal

import msgspec

from master.errors import ExitCode, FleetError

_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?(?:/\S{0,500})?", re.ASCII)
_MOST_CHARACTERS = 2_000


class ProgramRefused(FleetError):
    """What is said of a node's program is not valid."""

    code: ClassVar[str] = "program_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class ReadySign(msgspec.Struct, frozen=True, kw_only=True):
    """What shows that a program is ready."""

    kind: Literal["log", "port", "http"]
    value: str
    """A regular expression (RE2) that a line of its output matches; a TCP port on this box; a URL that answers 2xx."""


def split_command(text: str) -> tuple[str, ...]:
    """Return the words of a command line, split as a shell does.

    Raises
    ------
    ProgramRefused
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ProgramRefused(f"{text[:60]!r} is no command line: {error}", hint="close the quotation mark") from error
    if not words or len(text) > _MOST_CHARACTERS or any("\0" in word for word in words):
        raise ProgramRefused(f"{text[:60]!r} is no command line", hint="such as 'node index.js'")
    return words


def check_command(text: str) -> str:
    """Return a command line that can be split.

    Raises
    ------
    ProgramRefused
    """
    split_command(text)
    return text


def read_ready_sign(text: str) -> ReadySign:
    """Parse ``log:PATTERN``, ``port:NUMBER`` or ``http://127.0.0.1:PORT/PATH``.

    Raises
    ------
    ProgramRefused
    """
    kind, _, value = text.partition(":")
    if kind == "log" and value and len(value) <= 300:
        return ReadySign(kind="log", value=value)
    if kind == "port" and value.isascii() and value.isdigit() and 0 < int(value) < 65_536:
        return ReadySign(kind="port", value=value)
    if _URL.fullmatch(text):
        return ReadySign(kind="http", value=text)
    raise ProgramRefused(
        f"{text[:60]!r} is no sign of readiness",
        hint="log:PATTERN, port:NUMBER, or http://127.0.0.1:PORT/PATH (only of this box)",
    )


def check_ready_sign(text: str) -> str:
    """Return a sign of readiness that can be parsed.

    Raises
    ------
    ProgramRefused
    """
    read_ready_sign(text)
    return text


def check_schedule(text: str) -> str:
    """Return a cron expression of five fields.

    Raises
    ------
    ProgramRefused
    """
    if len(text.split()) == 5 and len(text) <= 100:
        return " ".join(text.split())
    raise ProgramRefused(f"{text[:60]!r} is no schedule", hint="five fields as in cron, such as '0 5 * * *'")
