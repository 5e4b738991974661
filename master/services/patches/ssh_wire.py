"""Reads and writes SSH's binary form (RFC 4251, section 5); what can be written in two ways is taken in one."""

from __future__ import annotations

import struct

_LENGTH = struct.Struct(">I")


class WireError(ValueError):
    """The bytes are not what they should be."""


class WireReader:
    """Reads one value after the other.

    Parameters
    ----------
    content
        All bytes; nothing may be left of them: :meth:`end`.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises
        ------
        WireError
            There are not as many.
        """
        taken = self._content[self._at : self._at + length]
        if len(taken) != length:
            raise WireError("it is cut off")
        self._at += length
        return taken

    def number(self) -> int:
        """Return a ``uint32``."""
        found: int = _LENGTH.unpack(self.take(_LENGTH.size))[0]
        return found

    def string(self) -> bytes:
        """Return a ``string``."""
        return self.take(self.number())

    def text(self) -> str:
        """Return a ``string`` that is printable ASCII."""
        found = self.string()
        if not found.isascii() or not found.decode("ascii").isprintable():
            raise WireError("a name in it is no plain text")
        return found.decode("ascii")

    def positive(self) -> int:
        """Return an ``mpint`` above zero, in its only shortest form."""
        raw = self.string()
        found = int.from_bytes(raw, "big", signed=True)
        if found <= 0 or mpint(found) != raw:
            raise WireError("a number in it is not above zero, or not written in its shortest form")
        return found

    def end(self) -> None:
        """Check that nothing is left.

        Raises
        ------
        WireError
            Something is.
        """
        if self._at != len(self._content):
            raise WireError("something follows its end")


def string(content: bytes) -> bytes:
    """Return a ``string``, with its length before it."""
    return _LENGTH.pack(len(content)) + content


def number(value: int) -> bytes:
    """Return a ``uint32``."""
    return _LENGTH.pack(value)


def mpint(value: int) -> bytes:
    """Return the bytes of a positive ``mpint``, without its length."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
