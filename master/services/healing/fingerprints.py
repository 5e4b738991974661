"""Which group of errors something that was seen belongs to, and what the group is called."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from master.services.core.exit_meaning import last_words, without_stamp
from master.services.healing.sighting import SeenIn, Sighting
from master.services.healing.templates import Templates, looks_like_error, mask
from nodekit.fingerprints import ReadError, digest, own_places, read_error
from nodekit.fingerprints import fingerprint as fingerprint_of

TITLE_CHARACTERS = 400
"""As many as the ledger has room for."""
_MESSAGE_CHARACTERS, _MAX_LINES = 200, 400
_TRACEBACKS = 500
_ENDED = re.compile(r"^(?:(.{1,300}?): )?(exited(?: with code -?\d+)?|killed by (?:signal )?\w+)(?:;|\Z)")
"""How a process ended, and before that why the supervisor or the kernel ended it."""


class Identity(NamedTuple):
    """The group of errors that a sighting belongs to."""

    fingerprint: str
    kind: Literal["exception", "exit", "line", "state"]
    title: str


def parts_of_report(text: str, exception: str) -> tuple[str, str, str, str]:
    """Return source, place, exception and message from the first line of a report."""
    source, _, rest = text.partition("\n")[0].partition(" ")
    if exception:
        where, _, message = rest.partition(f": {exception}")
        return source, where, exception, message.removeprefix(":").strip()
    where, _, rest = rest.partition(": ")
    kind, _, message = rest.partition(": ")
    return source, where, kind, message


class Identifier:
    """Tell which group a sighting belongs to.

    Parameters
    ----------
    templates
        Of the lines of logs.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._tracebacks: OrderedDict[tuple[str, str, str], Identity] = OrderedDict()
        """Whole tracebacks by node, exception and message: the end of one in a process's last lines is known again."""

    def identify(self, sighting: Sighting) -> Identity | None:
        """Return the group of what was seen; None if it does not look like an error."""
        match sighting.seen_in:
            case SeenIn.REPORT:
                return self._of_report(sighting)
            case SeenIn.EXIT:
                # Killed from outside of the fleet: no error of the node's.
                killed = sighting.text.partition("\n")[0].startswith("killed by SIGKILL")
                return None if killed else self.of_exit(sighting.node_id, sighting.text)
            case SeenIn.STDERR | SeenIn.STDOUT:
                return self._of_output(sighting)
            case SeenIn.GATEWAY_CLOSE | SeenIn.STATE:
                line = sighting.text.partition("\n")[0]
                title = mask(line) if sighting.seen_in is SeenIn.STATE else line
                return _identity(sighting.fingerprint or digest("state", title), "state", title)

    def of_exit(self, node_id: str, text: str) -> Identity:
        """Return the group of a process's end.

        Parameters
        ----------
        text
            As a sighting of an exit has it: how it ended, then its last lines.
        """
        first, _, rest = text.partition("\n")
        lines = [without_stamp(line) for line in rest.splitlines()]
        ended = _ENDED.match(first)
        if ended is not None and ended[1]:
            # The supervisor or the kernel ended it: what it wrote last is not why.
            title = f"{mask(ended[1])}: {ended[2]}"
            return _identity(digest("exit", title), "exit", title)
        how = first.partition(";")[0] if ended is None else ended[2]
        if how == "exited with code 1" and (read := read_error(lines)) is not None:
            known = self._tracebacks.get(_key(node_id, read))
            return known or _identity(read.fingerprint, "exception", _title(read, ""))
        words = last_words(lines)
        cause = mask(f"{how}: {words}" if words else how)
        # How it ended is no number that varies.
        title = f"{how}{cause[len(mask(how)) :]}"
        return _identity(digest("exit", title), "exit", title)

    def _of_report(self, sighting: Sighting) -> Identity:
        first, _, rest = sighting.text.partition("\n")
        _, where, exception, message = parts_of_report(first, sighting.exception)
        read = read_error(_lines(rest))
        title = f"{exception} in {where}: {message[:_MESSAGE_CHARACTERS]}".removesuffix(": ")
        if sighting.fingerprint:
            identity = _identity(sighting.fingerprint, "exception", title)
        elif read is not None:
            identity = _identity(read.fingerprint, "exception", title)
        else:
            identity = _identity(fingerprint_of(exception, f"{message} {where}", ()), "exception", title)
        if read is not None:
            self._note(sighting.node_id, read, identity)
        return identity

    def _of_output(self, sighting: Sighting) -> Identity | None:
        lines = _lines(sighting.text)
        read = read_error(lines)
        if read is not None:
            identity = _identity(read.fingerprint, "exception", _title(read, ""))
            if read.is_whole:
                self._note(sighting.node_id, read, identity)
                return identity
            return self._tracebacks.get(_key(sighting.node_id, read), identity)
        line = next((line for line in reversed(lines) if looks_like_error(line)), None)
        if line is None:
            return None
        fingerprint = self._templates.take(line)
        return _identity(fingerprint, "line", self._templates.title_of(fingerprint))

    def _note(self, node_id: str, read: ReadError, identity: Identity) -> None:
        key = _key(node_id, read)
        self._tracebacks[key] = identity
        self._tracebacks.move_to_end(key)
        if len(self._tracebacks) > _TRACEBACKS:
            self._tracebacks.popitem(last=False)


def _identity(fingerprint: str, kind: Literal["exception", "exit", "line", "state"], title: str) -> Identity:
    return Identity(fingerprint, kind, title[:TITLE_CHARACTERS])


def _lines(text: str) -> Sequence[str]:
    return [without_stamp(line) for line in text.splitlines()[-_MAX_LINES:]]


def _key(node_id: str, read: ReadError) -> tuple[str, str, str]:
    return node_id, read.exception.rpartition(".")[2], read.message[:_MESSAGE_CHARACTERS]


def _title(read: ReadError, where: str) -> str:
    exception = read.exception.rpartition(".")[2]
    places = own_places(read.places)
    where = where or (str(places[-1]) if places else "")
    named = f"{exception} in {where}" if where else exception
    return f"{named}: {read.message[:_MESSAGE_CHARACTERS]}".removesuffix(": ")
