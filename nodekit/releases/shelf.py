"""What lies in ``.releases`` of a node's folder: the index, the journal, and of each release what it changed.

``<n>/release.json`` says what release n changed in the one before it; ``<n>/new`` and ``<n>/old`` hold the contents of
the two sides, named by their digests. What is read is compared with its digest.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from typing import TypeVar

import msgspec

from handshake.errors import HandshakeError
from handshake.patch_bundle import check_path
from handshake.patch_document import MAX_UNPACKED_BYTES
from nodekit.releases.beneath import Beneath
from nodekit.releases.errors import (
    NoSuchRelease,
    ReleaseDamaged,
    ReleaseError,
    UnsafeFolder,
    is_for_want_of_room,
)
from nodekit.releases.records import FOLDER, Index, Journal, Manifest, Side, Version

INDEX, JOURNAL = f"{FOLDER}/current", f"{FOLDER}/journal"
LOCK = f"{FOLDER}/lock"
STAGING = f"{FOLDER}/staging"
SPARE = f"{FOLDER}/spare"
"""Takes up the room that going back needs, so that a full disk cannot keep a bad release in force."""
MANIFEST = "release.json"
EDITED = "edited"
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700
_MAX_INDEX_BYTES, _MAX_MANIFEST_BYTES = 64 * 1024, 16 * 1024 * 1024
_SPARE_BYTES = 64 * 1024
"""For index, journal and folders, beside the contents."""

_T = TypeVar("_T", Index, Journal, Manifest)


def folder_of(number: int) -> str:
    """Return the folder of a release."""
    return f"{FOLDER}/{number}"


class Shelf:
    """Reads and writes what is in ``.releases``.

    Parameters
    ----------
    beneath
        The node's folder.
    """

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath

    def exists(self) -> bool:
        """Tell whether there has ever been a release here."""
        return self._beneath.look(FOLDER) is not None

    def make(self) -> None:
        """Make the folder, if it is not there."""
        if not self.exists():
            self._beneath.make_folder(FOLDER, _PRIVATE_FOLDER)
            self._beneath.sync("")

    # Index and journal

    def index(self) -> Index:
        """Return the index; an empty one if there is none.

        Raises
        ------
        ReleaseDamaged
        """
        return self._decode(INDEX, Index, _MAX_INDEX_BYTES) or Index()

    def write_index(self, index: Index) -> None:
        """Replace the index, durably. With it a switch is done."""
        self._beneath.write(INDEX, msgspec.json.encode(index), _PRIVATE_FILE)
        self._beneath.sync(FOLDER)

    def journal(self) -> Journal | None:
        """Return what was being changed when somebody was cut off; None if nobody was.

        Raises
        ------
        ReleaseDamaged
        """
        return self._decode(JOURNAL, Journal, _MAX_INDEX_BYTES)

    def write_journal(self, journal: Journal) -> None:
        """Write down, durably, what is about to be changed."""
        self._beneath.write(JOURNAL, msgspec.json.encode(journal), _PRIVATE_FILE)
        self._beneath.sync(FOLDER)

    def remove_journal(self) -> None:
        """Write down that nothing is being changed."""
        self._beneath.remove(JOURNAL)
        self._beneath.sync(FOLDER)

    # Releases

    def numbers(self) -> list[int]:
        """Return the numbers of all folders of releases, also of those that are not kept."""
        names = self._beneath.names(FOLDER)
        return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)

    def manifest(self, number: int) -> Manifest:
        """Return what a release changed.

        Raises
        ------
        NoSuchRelease, ReleaseDamaged
        """
        path = f"{folder_of(number)}/{MANIFEST}"
        found = self._decode(path, Manifest, _MAX_MANIFEST_BYTES)
        if found is None:
            raise NoSuchRelease(f"release {number} is not kept any more")
        paths = [change.path for change in found.changes]
        try:
            for one in (*paths, *(folder.path for folder in (*found.made, *found.emptied))):
                check_path(one)
        except HandshakeError as error:
            raise ReleaseDamaged(f"{path} is damaged: {error}", paths=[path]) from error
        if found.number != number or found.parent >= number or len(set(paths)) != len(paths):
            raise ReleaseDamaged(f"{path} is damaged: it cannot be the one that was written", paths=[path])
        return found

    def write_manifest(self, folder: str, manifest: Manifest) -> None:
        """Write what a release changed into its folder; the folder is not synced yet."""
        self._beneath.write(f"{folder}/{MANIFEST}", msgspec.json.encode(manifest), _PRIVATE_FILE)

    def content(self, number: int, side: Side, version: Version, path: str) -> bytes:
        """Return a content that a release keeps.

        Parameters
        ----------
        path
            Of the file, for the error.

        Raises
        ------
        ReleaseDamaged
            It is not there, or not what was kept.
        """
        kept = f"{folder_of(number)}/{side}/{version.sha256}"
        try:
            content = self._beneath.read(kept, MAX_UNPACKED_BYTES)
        except (FileNotFoundError, UnsafeFolder) as error:
            raise ReleaseDamaged(f"{path} of release {number} cannot be put back: {error}", paths=[path]) from error
        if hashlib.sha256(content).hexdigest() != version.sha256:
            raise ReleaseDamaged(f"{path} of release {number} cannot be put back: {kept} was changed", paths=[path])
        return content

    def keep(self, folder: str, side: Side, content: bytes, digest: str) -> None:
        """Keep a content of a release; its folder is not synced yet."""
        inside = f"{folder}/{side}"
        if self._beneath.look(inside) is None:
            self._beneath.make_folder(inside, _PRIVATE_FOLDER)
        self._beneath.write(f"{inside}/{digest}", content, _PRIVATE_FILE)

    def begin_staging(self) -> str:
        """Make an empty folder for a release that is not whole yet; returns its path."""
        self._beneath.remove_tree(STAGING)
        self._beneath.make_folder(STAGING, _PRIVATE_FOLDER)
        return STAGING

    def abandon_staging(self) -> None:
        """Remove what is not whole, if there is anything."""
        if self._beneath.look(STAGING) is not None:
            self._beneath.remove_tree(STAGING)

    def sync_release(self, folder: str) -> None:
        """Make what was written into the folder of a release durable."""
        for inner in (f"{folder}/{Side.OLD}", f"{folder}/{Side.NEW}", folder):
            self._beneath.sync(inner)

    def end_staging(self, number: int) -> None:
        """Rename what was staged to its number, durably."""
        self._beneath.remove_tree(folder_of(number))
        self._beneath.move_aside(STAGING, str(number))
        self._beneath.sync(FOLDER)

    def discard(self, number: int) -> None:
        """Remove a release that the index does not name any more; what an operator wrote into its files stays."""
        folder = folder_of(number)
        for name in self._beneath.names(folder):
            if name != EDITED:
                self._beneath.remove_tree(f"{folder}/{name}")
        self._beneath.remove_folder(folder)

    def edited(self, number: int) -> list[str]:
        """Return the files whose edited content is kept with a release, by the paths that they had."""
        return self._files_below(f"{folder_of(number)}/{EDITED}", "")

    def _files_below(self, folder: str, inside: str) -> list[str]:
        found = list[str]()
        for name in self._beneath.names(f"{folder}/{inside}" if inside else folder):
            path = f"{inside}/{name}".lstrip("/")
            status = self._beneath.look(f"{folder}/{path}")
            if status is not None and stat.S_ISDIR(status.st_mode):
                found += self._files_below(folder, path)
            elif status is not None:
                found.append(path)
        return found

    # Room

    def with_room(self, action: Callable[[], object]) -> None:
        """Do what leads back to a good state, in the room that was reserved for it if the disk is full."""
        try:
            action()
        except (OSError, ReleaseError) as error:
            if not (is_for_want_of_room(error) and self.free_room()):
                raise
            action()

    def reserve_room(self, size: int) -> None:
        """Take up the room that going back will need."""
        self._beneath.remove(SPARE)
        self._beneath.reserve(SPARE, size + _SPARE_BYTES)

    def free_room(self) -> bool:
        """Free what was reserved; returns whether there was anything."""
        reserved = self._beneath.look(SPARE) is not None
        self._beneath.remove(SPARE)
        return reserved

    def _decode(self, path: str, record: type[_T], most: int) -> _T | None:
        try:
            return msgspec.json.decode(self._beneath.read(path, most), type=record)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnsafeFolder, UnicodeDecodeError) as error:
            raise ReleaseDamaged(f"{path} is damaged: {error}", paths=[path]) from error
