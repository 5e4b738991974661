"""Forms of the settings that say how a node's program is run: command lines, schedules, signs of readiness."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from typing import ClassVar, Literal, Protocol

import msgspec

from master.errors import ExitCode, FleetError

_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?(?:/\S{0,500})?", re.ASCII)
_MOST_CHARACTERS = 2_000
_PATTERN_BYTES = 8 * 2**20


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None:
        """Return a match anywhere in a text; None for no match."""
        ...


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
    """Return a sign of readiness that can be parsed, with a pattern that can be compiled.

    Raises
    ------
    ProgramRefused
    """
    sign = read_ready_sign(text)
    if sign.kind == "log":
        compile_pattern(sign.value)
    return text


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern for lines of a log, which a node writes: by RE2, whose time is linear.

    Raises
    ------
    ProgramRefused
    """
    # Imported where it is used, which is nowhere in most fleets.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    try:
        compiled: Pattern = re2.compile(text, options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error
        raise ProgramRefused(
            f"{text[:60]!r} is no pattern: {why}", hint="a regular expression without look-around, as in RE2"
        ) from error
    return compiled


def check_schedule(text: str) -> str:
    """Return a cron expression of five fields that is met again.

    Raises
    ------
    ProgramRefused
    """
    # Imported where it is used, which is nowhere in most fleets.
    from cronsim import CronSim, CronSimError

    expression = " ".join(text.split())
    try:
        if len(expression.split()) != 5 or len(expression) > 100:
            raise CronSimError("it does not have five fields")
        next(CronSim(expression, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        why = f": {error}" if str(error) else ", or never met"
        raise ProgramRefused(
            f"{text[:60]!r} is no schedule{why}", hint="five fields as in cron, such as '0 5 * * *'"
        ) from error
    return expression
