"""Reads the zip of a bundle: exactly the files that the document names, in the plainest form that a zip has.

Whoever signed the document named this archive by its digest. That does not make it harmless: its author's machine may
be another's, and readers of zip files differ in what they make of one that is odd. So each byte is accounted for here,
and one that is odd is refused; ``zipfile`` takes far more, and a node would pay for its import.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from handshake.errors import BundleError
from handshake.patch_document import PatchedFile

_END = struct.Struct("<4s4H2LH")
"""End of central directory (APPNOTE 4.3.16): signature, two disks, two counts, length, offset, length of a comment."""
_CENTRAL = struct.Struct("<4s6H3L5H2L")
"""An entry of the directory (4.3.12)."""
_LOCAL = struct.Struct("<4s5H3L2H")
"""The header before a file's content (4.3.7)."""
_UTF8 = 0x800
_NEEDED = 20
"""Version 2.0 has all that is taken here."""
_STORED, _DEFLATED = 0, 8
_KIND, _REGULAR, _SET_ID, _DOS_FOLDER = 0o170000, 0o100000, 0o7000, 0x10


class _Entry(NamedTuple):
    """What the directory says of a file."""

    path: str
    needed: int
    """Version of zip that is needed, times ten."""
    flags: int
    method: int
    crc: int
    packed: int
    length: int
    extras: int
    """Bytes of extra fields and of a comment."""
    mode: int
    at: int


def read_archive(archive: bytes, wanted: Mapping[str, PatchedFile]) -> dict[str, bytes]:
    """Return the content of each file, by its path.

    Raises
    ------
    BundleError
        It holds anything but exactly these files, one after the other, and nothing before, between or after them.
    """
    directory_at = _directory_at(archive, wanted)
    entries = list(_entries(archive, directory_at, len(wanted)))
    if sorted(entry.path for entry in entries) != sorted(wanted):
        raise BundleError("the archive does not hold exactly the files that the document names")
    found, at = dict[str, bytes](), 0
    for entry in entries:
        _check_entry(entry)
        content_at = _check_local(archive, entry, at, directory_at)
        at = content_at + entry.packed
        found[entry.path] = _content(entry, archive[content_at:at], wanted[entry.path])
    if at != directory_at:
        raise BundleError("the archive has something after its last file")
    return found


def _directory_at(archive: bytes, wanted: Mapping[str, PatchedFile]) -> int:
    """Return where the directory begins; it fills all that is between the last file and the archive's end."""
    if len(archive) < _END.size:
        raise BundleError("the archive is no zip: it is too short")
    signature, disk, first_disk, here, count, length, offset, comment = _END.unpack(archive[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise BundleError("the archive is no zip, or one with a comment")
    if count != len(wanted):
        raise BundleError("the archive does not hold exactly the files that the document names")
    expected = sum(_CENTRAL.size + len(path.encode()) for path in wanted)
    if (disk, first_disk, here) != (0, 0, count) or (length, offset + length) != (expected, len(archive) - _END.size):
        raise BundleError("the archive's directory has more in it than names, or is not at its end")
    return int(offset)


def _entries(archive: bytes, at: int, count: int) -> Iterator[_Entry]:
    end = len(archive) - _END.size
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise BundleError("the archive's directory is cut off")
        fields = _CENTRAL.unpack_from(archive, at)
        signature, _, needed, flags, method, _, _, crc, packed, length, name, extra, comment, *others = fields
        disk, _, attributes, of = others
        at += _CENTRAL.size + name
        path = _path(archive[at - name : at])
        if signature != b"PK\x01\x02" or disk or attributes & _DOS_FOLDER:
            raise BundleError(f"{path!r} has an entry in the archive that is no file's")
        yield _Entry(path, needed, flags, method, crc, packed, length, extra + comment, attributes >> 16, of)


def _path(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise BundleError("the archive has a name that is no text in UTF-8") from error


def _check_entry(entry: _Entry) -> None:
    if entry.mode & _KIND not in (0, _REGULAR) or entry.mode & _SET_ID:
        raise BundleError(f"{entry.path!r} is no plain file in the archive, but a link, a device or a folder")
    if entry.needed > _NEEDED or entry.flags & ~_UTF8 or entry.method not in (_STORED, _DEFLATED) or entry.extras:
        raise BundleError(f"{entry.path!r} is encrypted, or packed in a way that no patch needs")


def _check_local(archive: bytes, entry: _Entry, at: int, directory_at: int) -> int:
    """Return where a file's content begins, whose own header says what the directory says."""
    if entry.at != at or at + _LOCAL.size > directory_at:
        raise BundleError(f"the archive has something before {entry.path!r}, or files within others")
    signature, needed, flags, method, _, _, crc, packed, length, name, extra = _LOCAL.unpack_from(archive, at)
    content_at: int = at + _LOCAL.size + name
    said = (entry.needed, entry.flags, entry.method, entry.crc, entry.packed, entry.length)
    if signature != b"PK\x03\x04" or (needed, flags, method, crc, packed, length) != said or extra:
        raise BundleError(f"{entry.path!r}: the archive says different things of it")
    if archive[at + _LOCAL.size : content_at] != entry.path.encode():
        raise BundleError(f"{entry.path!r} has another name beside its content")
    if content_at + packed > directory_at:
        raise BundleError(f"{entry.path!r} is cut off in the archive")
    return content_at


def _content(entry: _Entry, packed: bytes, wanted: PatchedFile) -> bytes:
    if entry.length != wanted.length:
        raise BundleError(f"{entry.path!r}: its length is not the one that was signed")
    content = packed if entry.method == _STORED else _unpacked(entry, packed)
    if (len(content), hashlib.sha256(content).hexdigest()) != (wanted.length, wanted.sha256):
        raise BundleError(f"{entry.path!r}: its content is not the one that was signed")
    return content


def _unpacked(entry: _Entry, packed: bytes) -> bytes:
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # Never more than is signed for, whatever it would become.
        content = unpacking.decompress(packed, entry.length + 1)
    except zlib.error as error:
        raise BundleError(f"{entry.path!r} cannot be unpacked: {error}") from error
    if not unpacking.eof or unpacking.unused_data:
        raise BundleError(f"{entry.path!r} cannot be unpacked: it is cut off, longer than it says, or has a tail")
    return content
