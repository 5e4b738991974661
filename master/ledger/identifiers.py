"""ULIDs: ids of 26 characters that sort by creation time (https://github.com/ulid/spec)."""

from __future__ import annotations

import secrets
from typing import Protocol

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class _Clock(Protocol):
    def now(self) -> _Moment: ...


class _Moment(Protocol):
    def timestamp(self) -> float: ...


def new_ulid(clock: _Clock) -> str:
    """Make a ULID: 48 bits of milliseconds, 80 random bits, in Crockford base32."""
    return ulid_of(clock.now())


def ulid_of(moment: _Moment) -> str:
    """Make a ULID with the given time."""
    return _encode(int(moment.timestamp() * 1000) << 80 | secrets.randbits(80))


def first_ulid_of(moment: _Moment) -> str:
    """Return the lowest ULID of a millisecond: any id below it was made earlier."""
    return _encode(int(moment.timestamp() * 1000) << 80)


def is_ulid(text: str) -> bool:
    """Tell whether a text has the form of a ULID."""
    return len(text) == 26 and set(text) <= set(_ALPHABET)


def ulid_after(earlier: str) -> str:
    """Make a ULID of the millisecond after another one's."""
    number = 0
    for character in earlier:
        number = number << 5 | _ALPHABET.index(character)
    return _encode(((number >> 80) + 1) << 80 | secrets.randbits(80))


def _encode(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))
