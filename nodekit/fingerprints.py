"""What identifies an error: its type, its code, and the program's own functions, without line numbers.

A node takes it from an exception, the master from a traceback in a log: both have the same fingerprint. Imports nothing
heavy.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WRAPPERS = frozenset({"CommandInvokeError", "HybridCommandError", "ConversionError", "ExtensionFailed"})
"""Exceptions that discord.py raises from the one that counts."""
PLACES = 4
"""Innermost functions of the program's own that count: what a few lines of a log still show."""
_CODE_CHARACTERS = 500
_LIBRARY = re.compile(r"[/\\](?:site|dist)-packages[/\\]|[/\\]lib(?:64)?[/\\]python\d|[/\\]nodekit[/\\]\w+\.py\Z|^<")
_CODES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\d{3} [^(\n]{0,60}\(error code: \d{1,6}\)",  # discord.HTTPException
        r"WebSocket closed with \d{3,5}",  # discord.ConnectionClosed
        r"\[Errno -?\d{1,5}\]",
        r"\('[0-9A-Z]{5}',",  # SQLSTATE, as pyodbc writes it
        r"\[SSL: [A-Z0-9_]{3,60}\]",
        r"No module named '[\w.]{1,80}'",
        r"cannot import name '\w{1,80}' from '[\w.]{1,80}'",
        r"has no attribute '\w{1,80}'",
        r"name '\w{1,80}' is not defined",
        r" \[[A-Z][A-Za-z ]{4,60}\]$",  # aiohttp.ClientConnectorError
    )
)
"""Parts of a message that tell errors apart that are raised in one place, by the weight that they have."""
_MAY_HAVE_CODE = re.compile(r"[('\[]|closed with")
_STATES = re.compile(r"(?:Operational|Integrity|Programming|Database)Error\Z")
_STATE_WORDS = re.compile(r"^(?:\([\w.]{1,60}\) )?([A-Za-z]+(?: [A-Za-z]+){0,2})")
"""SQLite's errors have no code in their messages: `database is locked`, `no such table: x`."""


class Place(NamedTuple):
    """A function in a traceback."""

    path: str
    function: str
    """Empty for the file of a syntax error."""

    def __str__(self) -> str:
        name = re.split(r"[/\\]", self.path)[-1]
        return f"{name}:{self.function}" if self.function else name


def code_in(message: str) -> str:
    """Return the part of a message that is the error's code; empty if it has none."""
    line = message.partition("\n")[0][:_CODE_CHARACTERS]
    if not _MAY_HAVE_CODE.search(line):
        return ""
    return next((found[0] for pattern in _CODES if (found := pattern.search(line))), "")


def own_places(places: Sequence[Place]) -> list[Place]:
    """Return the innermost places in the program's own files, or, if there are none, in any; runs of one are one."""
    own = [place for place in places if not _LIBRARY.search(place.path)] or list(places)
    folded = [place for at, place in enumerate(own) if not at or str(own[at - 1]) != str(place)]
    return folded[-PLACES:]


def fingerprint(exception: str, message: str, places: Sequence[Place]) -> str:
    """Return 16 hex digits that identify an error.

    Parameters
    ----------
    exception
        Its type; the module before it does not count.
    message
        Only its code counts: messages have ids and names in them.
    places
        The outermost first.
    """
    name = exception.rpartition(".")[2]
    code = code_in(message)
    if not code and _STATES.search(name) and (words := _STATE_WORDS.match(message)):
        code = words[1]
    return digest("exception", name, code, *map(str, own_places(places)))


def digest(*parts: str) -> str:
    """Return 16 hex digits of some texts."""
    return hashlib.sha256("|".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def fingerprint_of(error: BaseException) -> str:
    """Return the fingerprint of an exception; of one that wraps another, the other's."""
    error = _innermost(error)
    places = [Place(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append(Place(error.filename or "", ""))
    return fingerprint(type(error).__qualname__, text_of(error), places)


def _innermost(error: BaseException) -> BaseException:
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
        elif type(error).__name__ in WRAPPERS and error.__cause__ is not None:
            error = error.__cause__
        else:
            return error


def text_of(error: BaseException) -> str:
    """Return what an exception says; empty if it fails to say it."""
    try:
        return str(error)
    except Exception:
        return ""  # It is to be reported all the same.


# From text


class ReadError(NamedTuple):
    """An error as a traceback in a log tells it."""

    exception: str
    message: str
    """Its first line."""
    places: tuple[Place, ...]
    is_whole: bool
    """Whether the traceback's beginning is there."""

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits that identify the error."""
        return fingerprint(self.exception, self.message, self.places)


_BEGINS = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s+File "([^"]+)", line \d+(?:, in (.+))?\Z')
_ENDING = re.compile(r"^([A-Za-z_][\w.]{0,150}(?:<locals>\.\w{1,100})?)(?:: (.*))?\Z")
_GROUP_RULE = re.compile(r"^ *(?:\| ?|\+[-+ \d.]*)")
_NODE_FRAME = re.compile(r"^\s+at ")
_NODE_ENDING = re.compile(r"^(?:Uncaught )?(\w{0,80}(?:Error|Exception))(?: \[\w{1,60}\])?(?:: (.*))?\Z")
_MAX_LINES, _MAX_CHARACTERS = 1_000, 1_000


def read_error(lines: Iterable[str]) -> ReadError | None:
    """Return the last error that lines of a log tell with a traceback, Python's or Node's; None if there is none.

    Of chained exceptions the last counts, unless it only wraps the one before it.

    Parameters
    ----------
    lines
        Without the time at their beginnings.
    """
    found = _read([line[:_MAX_CHARACTERS] for line in lines][-_MAX_LINES:])
    if not found:
        return None
    at = len(found) - 1
    while at and found[at].exception.rpartition(".")[2] in WRAPPERS:
        at -= 1
    return found[at]


def _read(lines: Sequence[str]) -> list[ReadError]:
    """Return all errors that have a traceback, in their order."""
    found, places, whole = list[ReadError](), list[Place](), False
    in_group = False
    for at, raw in enumerate(lines):
        in_group = in_group or "Exception Group Traceback" in raw
        line = _GROUP_RULE.sub("", raw, count=1) if in_group else raw
        if line.rstrip().endswith(_BEGINS):
            places, whole = [], True
        elif frame := _FRAME.match(line):
            places.append(Place(frame[1], frame[2] or ""))
        elif _NODE_FRAME.match(line):
            if at and not _NODE_FRAME.match(lines[at - 1]) and (error := _node_error(lines, at)):
                found.append(error)
        elif (places or whole) and line and not line[0].isspace():
            if ending := _ENDING.match(line):
                found.append(ReadError(ending[1], ending[2] or "", tuple(places), whole))
            places, whole = [], False
    return found


def _node_error(lines: Sequence[str], at: int) -> ReadError | None:
    """Return the error of Node's above the frames that begin at a line; they have the innermost first."""
    ending = _NODE_ENDING.match(lines[at - 1])
    if ending is None:
        return None
    places = list[Place]()
    for line in lines[at:]:
        if not _NODE_FRAME.match(line):
            break
        where = line.strip()[3:].removeprefix("async ")
        function, bracket, path = where.rpartition(" (")
        path = path.removesuffix(")").rsplit(":", 2)[0].removeprefix("file://")
        is_library = path.startswith("node:") or "/node_modules/" in path
        places.append(Place(f"<{path}" if is_library else path, function if bracket else ""))
    return ReadError(ending[1], ending[2] or "", tuple(reversed(places)), is_whole=True)
