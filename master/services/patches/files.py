"""Patch files on an author's machine: read whole, written whole. Needs neither a ledger nor a master."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from handshake import patch_bundle
from handshake.files import read_regular
from handshake.patch_bundle import BundleError, RawBundle
from handshake.patch_document import SUFFIX, PatchDocument
from master.durable import replace_file
from master.errors import ExitCode
from master.services.patches.errors import PatchError, PatchRefused


class PatchFileMissing(PatchError):
    """There is no such patch file."""

    code: ClassVar[str] = "patch_file_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class PatchFileExists(PatchError):
    """A file of that name is there already."""

    code: ClassVar[str] = "patch_file_exists"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class PatchFile:
    """A patch as its author has it: read, and not believed by anybody yet.

    Parameters
    ----------
    size
        Bytes of the whole file.
    """

    path: Path
    size: int
    raw: RawBundle
    document: PatchDocument

    @property
    def is_signed(self) -> bool:
        """Whether it carries a signature, which nobody has checked here."""
        return bool(self.raw.signature)

    def contents(self) -> dict[str, bytes]:
        """Return the content of each file that it brings, by path.

        Raises
        ------
        PatchRefused
            The archive is damaged, or not the one of the document.
        """
        try:
            return patch_bundle.read_files(self.document, self.raw.archive)
        except BundleError as error:
            raise PatchRefused(f"{self.path.name}: {error}", hint="build it anew") from error


def read_patch_file(path: Path) -> PatchFile:
    """Read a patch file.

    Raises
    ------
    PatchFileMissing, PatchRefused
    """
    try:
        content = read_regular(path.resolve(), patch_bundle.MAX_BUNDLE_BYTES + 1)
    except FileNotFoundError as error:
        hint = f"a patch is a file *{SUFFIX}, made by `fleet patch build`"
        raise PatchFileMissing(f"there is no file {path}", hint=hint) from error
    if len(content) > patch_bundle.MAX_BUNDLE_BYTES:
        raise PatchRefused(f"{path.name} is larger than a patch may be ({patch_bundle.MAX_BUNDLE_BYTES >> 20} MB)")
    try:
        raw = patch_bundle.unpack(content)
        document = patch_bundle.read_document(raw.document)
    except BundleError as error:
        raise PatchRefused(f"{path.name}: {error}", hint="build it anew, or copy it again") from error
    return PatchFile(path, len(content), raw, document)


def write_patch_file(path: Path, raw: RawBundle) -> None:
    """Write a patch file, whole or not at all.

    Raises
    ------
    OSError
    """
    replace_file(path, patch_bundle.pack(raw))
