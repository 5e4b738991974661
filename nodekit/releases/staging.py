"""Finds out what a patch would change in a folder, and whether it fits."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping

from handshake.errors import HandshakeError
from handshake.patch_bundle import check_path
from handshake.patch_document import MAX_UNPACKED_BYTES, PatchDocument, PatchedFile, RemovedFile
from nodekit.releases.beneath import Beneath, kind_of, parents_of
from nodekit.releases.errors import BaseDiffers, ReleaseError, UnsafeFolder
from nodekit.releases.records import Change, FolderMade, Version

_CACHE = "__pycache__"
_NAMED = 3


def changes_of(beneath: Beneath, document: PatchDocument, files: Mapping[str, bytes]) -> tuple[Change, ...]:
    """Return what a patch would change.

    Raises
    ------
    BaseDiffers
        The folder is not what the patch was made for.
    UnsafeFolder
        A file's place is no plain file, or is reached over a link.
    ReleaseError
        ``files`` are not those of the document.
    OSError
    """
    _check_files(document, files)
    # The file's own path is checked by whoever accepts a bundle; what is written below a folder is checked here again.
    problems, changes = dict[str, str](), list[Change]()
    entries: list[PatchedFile | RemovedFile] = [*document.removed, *document.files]
    for entry in entries:
        try:
            check_path(entry.path)
        except HandshakeError as error:
            raise UnsafeFolder(str(error), paths=[entry.path]) from error
        _check_place(beneath, entry.path)
        old = beneath.version(entry.path, MAX_UNPACKED_BYTES)
        if (old and old.sha256) != entry.base:
            problems[entry.path] = _difference(entry, old)
        else:
            new = _new_version(beneath, entry, old) if isinstance(entry, PatchedFile) else None
            changes.append(Change(path=entry.path, old=old, new=new))
    if problems:
        named = [f"{path} {why}" for path, why in list(problems.items())[:_NAMED]]
        more = len(problems) - len(named)
        raise BaseDiffers("; ".join(named) + (f"; and {more} more" if more else ""), paths=list(problems))
    return tuple(change for change in changes if change.old != change.new)


def _check_files(document: PatchDocument, files: Mapping[str, bytes]) -> None:
    wanted = {file.path: file.sha256 for file in document.files}
    found = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    if wanted != found:
        differing = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
        raise ReleaseError(f"the files are not those of the patch: {', '.join(differing[:_NAMED])}", paths=differing)


def _check_place(beneath: Beneath, path: str) -> None:
    """Check that a file's place is reached over real folders of the same disk."""
    for walked in parents_of(path):
        status = beneath.look(walked)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            raise UnsafeFolder(
                f"{walked} is {kind_of(status.st_mode)}: a patch changes files in real folders only, by the path that "
                "they have",
                paths=[walked],
            )
        if status.st_dev != beneath.device:
            raise UnsafeFolder(f"{walked} is on another disk than the node's folder", paths=[walked])


def _difference(entry: PatchedFile | RemovedFile, found: Version | None) -> str:
    if found is None:
        return "is not there"
    if isinstance(entry, PatchedFile) and found.sha256 == entry.sha256:
        return "has the patch's content already"
    return "is there already" if entry.base is None else "is not the file that the patch was made for"


def _new_version(beneath: Beneath, file: PatchedFile, old: Version | None) -> Version:
    if old is not None:
        mode = old.mode & 0o666
    else:
        above = next((folder for folder in reversed(parents_of(file.path)) if beneath.look(folder) is not None), "")
        mode = (beneath.mode(above) & 0o644) | 0o600
    if file.executable:
        mode |= (mode & 0o444) >> 2
    return Version(sha256=file.sha256, length=file.length, mode=mode)


def folders_made(beneath: Beneath, changes: tuple[Change, ...]) -> tuple[FolderMade, ...]:
    """Return the folders that a patch makes: those of its files that are not there yet."""
    missing = dict[str, None]()
    for change in changes:
        if change.new is not None:
            for parent in parents_of(change.path):
                if parent not in missing and beneath.look(parent) is None:
                    missing[parent] = None
    made = list[FolderMade]()
    for path in sorted(missing):
        above = next((parent for parent in reversed(parents_of(path)) if parent not in missing), "")
        made.append(FolderMade(path=path, mode=beneath.mode(above)))
    return tuple(made)


def folders_emptied(beneath: Beneath, changes: tuple[Change, ...]) -> tuple[FolderMade, ...]:
    """Return the folders in which a patch leaves nothing but Python's caches."""
    gone = {change.path for change in changes if change.new is None}
    needed = {parent for change in changes if change.new is not None for parent in parents_of(change.path)}
    candidates = {parent for path in gone for parent in parents_of(path)} - needed
    emptied = dict[str, FolderMade]()
    for folder in sorted(candidates, key=lambda path: path.count("/"), reverse=True):
        inside = {f"{folder}/{name}" for name in beneath.names(folder) if name != _CACHE}
        if inside <= gone | emptied.keys():
            emptied[folder] = FolderMade(path=folder, mode=beneath.mode(folder))
    return tuple(emptied.values())
