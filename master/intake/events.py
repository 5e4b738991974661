"""An event as sentry-sdk describes it, as far as it is of use, and the sighting that is made of it.

Only what is named here is decoded: variables of frames, requests and users stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from master.security.tokens import hide_tokens
from master.services.healing.sighting import SeenIn, Sighting

MAX_TEXT_CHARACTERS = 8_000
MAX_EXCEPTIONS = 10
MAX_FRAMES = 50
"""Of each exception: the innermost ones."""
MAX_CRUMBS = 20
_MAX_LINE = 1_000
_MAX_WHERE = 100
_ERRORS = ("error", "fatal", "critical")


class Frame(msgspec.Struct, frozen=True):
    """A frame of a traceback."""

    filename: str | None = None
    abs_path: str | None = None
    module: str | None = None
    function: str | None = None
    lineno: int | float | None = None
    context_line: str | None = None
    in_app: bool | None = None


class Stacktrace(msgspec.Struct, frozen=True):
    """Frames, the innermost last."""

    frames: tuple[Frame | None, ...] | None = None


class ExceptionValue(msgspec.Struct, frozen=True):
    """One exception of a chain."""

    type: str | None = None
    module: str | None = None
    value: str | None = None
    stacktrace: Stacktrace | None = None

    @property
    def full_type(self) -> str:
        """Return its type as Python prints it."""
        name = self.type or "Error"
        return f"{self.module}.{name}" if self.module and self.module not in ("builtins", "__main__") else name


class ExceptionValues(msgspec.Struct, frozen=True):
    """A chain of exceptions, the one that was caught last."""

    values: tuple[ExceptionValue | None, ...] | None = None


class LogEntry(msgspec.Struct, frozen=True):
    """A message, and the message with its parameters filled in."""

    message: str | None = None
    formatted: str | None = None


class Crumb(msgspec.Struct, frozen=True):
    """Something that happened before: a line of a log, mostly."""

    category: str | None = None
    level: str | None = None
    message: str | None = None


class Crumbs(msgspec.Struct, frozen=True):
    """What happened before, the latest last."""

    values: tuple[Crumb | None, ...] | None = None


class Event(msgspec.Struct, frozen=True):
    """An error, or a message."""

    event_id: str | None = None
    level: str | None = None
    transaction: str | None = None
    logger: str | None = None
    message: str | LogEntry | None = None
    logentry: LogEntry | None = None
    exception: ExceptionValues | tuple[ExceptionValue | None, ...] | None = None
    breadcrumbs: Crumbs | tuple[Crumb | None, ...] | None = None

    def chain(self) -> list[ExceptionValue]:
        """Return its exceptions, the one that was caught last."""
        found = self.exception.values if isinstance(self.exception, ExceptionValues) else self.exception
        return [one for one in (found or ())[-MAX_EXCEPTIONS:] if one is not None]

    def said(self) -> str:
        """Return its message, if it has one."""
        for entry in (self.logentry, self.message):
            text = entry if isinstance(entry, str) else entry and (entry.formatted or entry.message)
            if text:
                return text
        return ""


def sighting_of(event: Event, *, node_id: str, at: datetime) -> Sighting | None:
    """Return what an event says of an error; None for one that is none.

    Parameters
    ----------
    at
        When it came: the node's own clock is not taken for it.
    """
    chain, said = event.chain(), event.said()
    if (event.level or "error").lower() not in _ERRORS or not (chain or said):
        return None
    if chain:
        last = chain[-1]
        name, value, traceback = last.type or "Error", last.value or "", "\n".join(_traceback(chain))
    else:
        name, value, traceback = "", said, ""
    first, *rest = value.splitlines() or [""]
    head = f"sentry {_where(event, chain)}: {_cut(name) if name else 'error'}: {_cut(first)}".rstrip(": ")
    if not chain:
        traceback = "\n".join(_cut(line) for line in rest)
    # Of a long one the innermost frames, and the exception itself.
    text = hide_tokens(f"{head}\n{traceback[-MAX_TEXT_CHARACTERS:]}".rstrip())
    return Sighting(
        node_id=node_id,
        at=at,
        seen_in=SeenIn.REPORT,
        text=text,
        lines_before=tuple(_crumbs(event)),
        exception=_cut(name)[:_MAX_WHERE],
    )


def _where(event: Event, chain: Sequence[ExceptionValue]) -> str:
    """Return where it happened, in one word if possible."""
    frames = [frame for one in chain[-1:] for frame in _frames(one)]
    own = [frame for frame in frames if frame.in_app is not False] or frames
    place = ".".join(filter(None, (own[-1].module or own[-1].filename, own[-1].function))) if own else ""
    return _cut(place or event.logger or event.transaction or "bot")[:_MAX_WHERE]


def _traceback(chain: Sequence[ExceptionValue]) -> Iterator[str]:
    """Return the lines that Python would print."""
    for number, one in enumerate(chain):
        if number:
            # Or its context, which SDKs of old do not tell apart.
            yield from ("", "The above exception was the direct cause of the following exception:", "")
        frames = _frames(one)
        if frames:
            yield "Traceback (most recent call last):"
        for frame in frames:
            line = "?" if frame.lineno is None else f"{frame.lineno:.0f}"
            path = frame.abs_path or frame.filename or "?"
            yield f'  File "{_cut(path)}", line {line}, in {_cut(frame.function or "?")}'
            if frame.context_line and frame.context_line.strip():
                yield f"    {_cut(frame.context_line.strip())}"
        first, *rest = (one.value or "").splitlines() or [""]
        yield _cut(f"{one.full_type}: {first}" if first else one.full_type)
        for line in rest:
            yield _cut(line)


def _frames(one: ExceptionValue) -> list[Frame]:
    found = one.stacktrace.frames if one.stacktrace is not None else None
    return [frame for frame in (found or ())[-MAX_FRAMES:] if frame is not None]


def _crumbs(event: Event) -> Iterator[str]:
    found = event.breadcrumbs.values if isinstance(event.breadcrumbs, Crumbs) else event.breadcrumbs
    for crumb in (found or ())[-MAX_CRUMBS:]:
        if crumb is not None and crumb.message:
            place = " ".join(filter(None, (crumb.level, crumb.category)))
            yield hide_tokens(_cut(f"{place}: {crumb.message}" if place else crumb.message))


def _cut(text: str) -> str:
    """Return text as one line of bounded length."""
    return " ".join(text[:_MAX_LINE].splitlines())
