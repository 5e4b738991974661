"""Read and write bundles of patches, within bounds. What is read of one is hostile until its signature is verified."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec

from handshake.errors import HandshakeError
from handshake.patch_document import (
    MAGIC,
    MAX_ARCHIVE_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_UNPACKED_BYTES,
    PatchDocument,
)

_LENGTHS = struct.Struct(">III")
MAX_BUNDLE_BYTES = len(MAGIC) + _LENGTHS.size + MAX_DOCUMENT_BYTES + MAX_SIGNATURE_BYTES + MAX_ARCHIVE_BYTES
NEVER_PATCHED = frozenset({".env", "node.json"})
"""Names that no patch brings or takes away, in whatever folder and case."""
_OURS = (".releases", ".fleet", ".git")
"""Folders that no patch reaches into."""


class BundleError(HandshakeError):
    """A bundle, or what it says, is not acceptable."""


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
        read = msgspec.json.decode(document, type=PatchDocument)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # the latter for text that is not UTF-8
        raise BundleError(f"the patch's document is invalid: {error}") from error
    _check_paths(read)
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
    wanted = {file.path: file for file in document.files}
    found = dict[str, bytes]()
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            names = opened.namelist()
            if sorted(names) != sorted(wanted):
                raise BundleError("the archive does not hold exactly the files that the document names")
            for name in names:
                with opened.open(name) as stream:
                    # Never more than is signed for, whatever the archive says of itself.
                    content = stream.read(wanted[name].length + 1)
                if (len(content), hashlib.sha256(content).hexdigest()) != (wanted[name].length, wanted[name].sha256):
                    raise BundleError(f"{name}: its content is not the one that was signed")
                found[name] = content
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"the archive cannot be read: {error}") from error
    return found


def _check_paths(document: PatchDocument) -> None:
    paths = [*(file.path for file in document.files), *(file.path for file in document.removed)]
    for path in paths:
        check_path(path)
    if len({path.casefold() for path in paths}) != len(paths):
        raise BundleError("two of its files have the same name, but for upper and lower case")
    if sum(file.length for file in document.files) > MAX_UNPACKED_BYTES:
        raise BundleError(f"its files are larger than {MAX_UNPACKED_BYTES >> 20} MB together")


def check_path(path: str) -> None:
    """Check that a patch may touch a path of a node's folder.

    Raises
    ------
    BundleError
        It leads elsewhere, or names what no patch may touch.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or str(pure) != path or ".." in pure.parts or path == "." or "\\" in path:
        raise BundleError(f"{path!r} is not a plain path within a node's folder")
    if not path.isprintable():
        raise BundleError(f"{path!r} has characters that cannot be shown")
    if pure.name.casefold() in NEVER_PATCHED or pure.name.casefold().startswith(".env"):
        raise BundleError(f"{path!r} holds secrets or the node's identity, which no patch touches")
    if any(part.casefold() in _OURS or part.casefold() == "__pycache__" for part in pure.parts):
        raise BundleError(f"{path!r} is in a folder that no patch reaches into")
