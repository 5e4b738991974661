"""Puts one side of a release in place, file by file. Done again after it was cut off, it ends in the same."""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath

from handshake.patch_document import MAX_UNPACKED_BYTES
from nodekit.releases.beneath import Beneath, beside, parents_of
from nodekit.releases.errors import UnsafeFolder
from nodekit.releases.records import FOLDER, Change, Manifest, Side
from nodekit.releases.shelf import EDITED, Shelf, folder_of

_CACHE = "__pycache__"
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700


class Placing:
    """Puts a side of one release in place.

    Parameters
    ----------
    manifest
        What the release changed.
    """

    def __init__(self, beneath: Beneath, shelf: Shelf, manifest: Manifest) -> None:
        self._beneath = beneath
        self._shelf = shelf
        self._manifest = manifest
        self._edited = dict[str, str]()
        """Where what was at a file's place is kept, by its path, if neither side has it; empty: nothing was there."""

    def differing(self, side: Side) -> list[str]:
        """Return the files that are not as one side has them.

        Raises
        ------
        UnsafeFolder, OSError
        """
        return [change.path for change in self._manifest.changes if not self._is_on(change, side)]

    def check_kept(self, side: Side) -> None:
        """Check that all contents of a side are there and whole.

        Raises
        ------
        ReleaseDamaged, OSError
        """
        for change in self._manifest.changes:
            version = change.on(side)
            if version is not None:
                self._shelf.content(self._manifest.number, side, version, change.path)

    def put(self, side: Side) -> None:
        """Put a side in place, durably. What files held that were as neither side has them is kept.

        Raises
        ------
        ReleaseError, OSError
            A part of the files may be in place.
        """
        for change in self._manifest.changes:
            if change.on(side) is None:
                self._take_away(change)
        self._clear_folders(side.other)
        for folder in sorted(self._manifest.folders(side), key=lambda folder: folder.path):
            self._beneath.make_folder(folder.path, folder.mode)
        for change in self._manifest.changes:
            if change.on(side) is not None:
                self._bring(change, side)
        for folder_path in self._touched():
            self._beneath.sync(folder_path)

    def put_edited_back(self) -> None:
        """Put back what files held that were as neither side has them.

        Raises
        ------
        ReleaseError, OSError
        """
        for path, kept in self._edited.items():
            folder = str(PurePosixPath(path).parent)
            if kept.startswith(FOLDER):
                version = self._beneath.version(path, MAX_UNPACKED_BYTES)
                content = self._beneath.read(kept, MAX_UNPACKED_BYTES)
                self._beneath.write(path, content, version.mode if version else _PRIVATE_FILE)
            else:
                self._beneath.remove(path)
                if kept:
                    self._beneath.move_aside(kept, PurePosixPath(path).name)
            self._beneath.sync("" if folder == "." else folder)

    def _is_on(self, change: Change, side: Side) -> bool:
        found = self._beneath.version(change.path, MAX_UNPACKED_BYTES)
        wanted = change.on(side)
        return (found and found.sha256) == (wanted and wanted.sha256)

    def _take_away(self, change: Change) -> None:
        self._beneath.remove(beside(change.path))
        if self._beneath.look(change.path) is None:
            return
        self._keep_edited(change)
        self._beneath.remove(change.path)
        self._forget_bytecode(change.path)

    def _bring(self, change: Change, side: Side) -> None:
        wanted = change.on(side)
        assert wanted is not None  # noqa: S101
        with contextlib.suppress(UnsafeFolder):
            if self._beneath.version(change.path, MAX_UNPACKED_BYTES) == wanted:
                self._beneath.remove(beside(change.path))
                return
        self._keep_edited(change)
        for parent in parents_of(change.path):
            if self._beneath.look(parent) is None:
                self._beneath.make_folder(parent, _PRIVATE_FOLDER)
        content = self._shelf.content(self._manifest.number, side, wanted, change.path)
        self._beneath.write(change.path, content, wanted.mode)
        self._forget_bytecode(change.path)

    def _keep_edited(self, change: Change) -> None:
        """Keep what is at a file's place, unless a release brought it."""
        path, number = change.path, self._manifest.number
        try:
            found = self._beneath.version(path, MAX_UNPACKED_BYTES)
        except UnsafeFolder:
            if self._beneath.look(path) is None:
                raise
            # No plain file, or a very large one: it stays where it is, under another name.
            aside = PurePosixPath(path).with_name(f"{PurePosixPath(path).name}.{EDITED}-{number}")
            self._beneath.move_aside(path, aside.name)
            self._edited.setdefault(path, str(aside))
            return
        if found is None:
            if change.old and change.new:
                self._edited.setdefault(path, "")
            return
        if found.sha256 in {version.sha256 for version in (change.old, change.new) if version}:
            return
        kept = f"{folder_of(number)}/{EDITED}/{path}"
        while (before := self._beneath.version(kept, MAX_UNPACKED_BYTES)) and before.sha256 != found.sha256:
            kept += "~"
        for parent in parents_of(kept):
            if self._beneath.look(parent) is None:
                self._beneath.make_folder(parent, _PRIVATE_FOLDER)
        self._beneath.write(kept, self._beneath.read(path, MAX_UNPACKED_BYTES), _PRIVATE_FILE)
        for parent in parents_of(kept):
            self._beneath.sync(parent)
        self._edited.setdefault(path, kept)

    def _clear_folders(self, side: Side) -> None:
        """Remove the folders that only ``side`` has; whatever else somebody put there stays, with its folder."""
        for folder in sorted(self._manifest.folders(side), key=lambda folder: folder.path, reverse=True):
            self._beneath.remove_folder(f"{folder.path}/{_CACHE}")
            self._beneath.remove_folder(folder.path)

    def _forget_bytecode(self, path: str) -> None:
        """Remove what Python compiled of a file: without its source it would keep the folder alive."""
        pure = PurePosixPath(path)
        if pure.suffix != ".py":
            return
        cache = str(pure.parent / _CACHE)
        with contextlib.suppress(UnsafeFolder):
            for name in self._beneath.names(cache):
                if name.startswith(f"{pure.stem}.") and name.endswith(".pyc"):
                    self._beneath.remove(f"{cache}/{name}")

    def _touched(self) -> list[str]:
        paths = [*(change.path for change in self._manifest.changes)]
        paths += [folder.path for folder in (*self._manifest.made, *self._manifest.emptied)]
        return sorted({"" if (parent := str(PurePosixPath(path).parent)) == "." else parent for path in paths})
