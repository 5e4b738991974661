"""Read and write bundles of patches, within bounds. What is read of one is hostile until its signature is verified."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import msgspec

from handshake.errors import BundleError
from handshake.patch_archive import read_archive
from handshake.patch_document import (
    DOCUMENTS,
    MAGIC,
    MAX_ARCHIVE_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_UNPACKED_BYTES,
    PatchDocument,
)
from handshake.patch_paths import NEVER_PATCHED, check_path, check_together

__all__ = [
    "MAX_BUNDLE_BYTES",
    "NEVER_PATCHED",
    "BundleError",
    "RawBundle",
    "check_path",
    "pack",
    "read_document",
    "read_files",
    "unpack",
]

_LENGTHS = struct.Struct(">III")
MAX_BUNDLE_BYTES = len(MAGIC) + _LENGTHS.size + MAX_DOCUMENT_BYTES + MAX_SIGNATURE_BYTES + MAX_ARCHIVE_BYTES


@dataclass(frozen=True, slots=True)
class RawBundle:
    """The three parts of a bundle, of which nothing is believed yet."""

    document: bytes
    signature: bytes
    """SSHSIG, armoured; empty: it is not signed yet."""
    archive: bytes


def pack(bundle: RawBundle) -> bytes:
    """Return a bundle as one file."""
    lengths = _LENGTHS.pack(len(bundle.document), len(bundle.signature), len(bundle.archive))
    return MAGIC + lengths + bundle.document + bundle.signature + bundle.archive


def unpack(content: bytes) -> RawBundle:
    """Take a file apart, by its lengths alone.

    Raises
    ------
    BundleError
        It is no bundle, cut off, has something after its end, or is too large.
    """
    head = len(MAGIC) + _LENGTHS.size
    if not content.startswith(MAGIC) or len(content) < head:
        raise BundleError("this is no patch: it does not begin as one")
    lengths = _LENGTHS.unpack_from(content, len(MAGIC))
    for length, most, what in zip(
        lengths,
        (MAX_DOCUMENT_BYTES, MAX_SIGNATURE_BYTES, MAX_ARCHIVE_BYTES),
        ("document", "signature", "archive"),
        strict=True,
    ):
        if length > most:
            raise BundleError(f"the {what} is longer than {most} bytes")
    if len(content) != head + sum(lengths):
        raise BundleError(f"the file has {len(content)} bytes, and {head + sum(lengths)} are announced: it is damaged")
    document_end, signature_end = head + lengths[0], head + lengths[0] + lengths[1]
    return RawBundle(content[head:document_end], content[document_end:signature_end], content[signature_end:])


def read_document(document: bytes) -> PatchDocument:
    """Read the document of a bundle whose signature was verified, strictly.

    Raises
    ------
    BundleError
        It is invalid; the text says what, and where.
    """
    try:
        read = DOCUMENTS.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for text that is not UTF-8
        raise BundleError(f"the patch's document is invalid: {error}") from error
    _check_files(read)
    return read


def read_files(document: PatchDocument, archive: bytes) -> dict[str, bytes]:
    """Return the content of each file that a patch brings, by its path.

    Raises
    ------
    BundleError
        The archive is another one, or holds anything but exactly these files.
    """
    if len(archive) != document.archive_bytes or hashlib.sha256(archive).hexdigest() != document.archive_sha256:
        raise BundleError("the archive is not the one that was signed")
    return read_archive(archive, {file.path: file for file in document.files})


def _check_files(document: PatchDocument) -> None:
    paths = [*(file.path for file in document.files), *(file.path for file in document.removed)]
    for path in paths:
        check_path(path)
    check_together(paths)
    if sum(file.length for file in document.files) > MAX_UNPACKED_BYTES:
        raise BundleError(f"its files are larger than {MAX_UNPACKED_BYTES >> 20} MB together")
