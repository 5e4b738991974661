"""Keeps three releases: what is older becomes one with the next, so that the folder before any patch can be had back.

Of releases that were taken back the newest are kept too. Whoever is cut off leaves folders that the index does not
name; the next one removes them.
"""

from __future__ import annotations

import msgspec

from nodekit.releases.records import Change, FolderMade, Index, Manifest, ReleaseState, Side
from nodekit.releases.shelf import Shelf, folder_of

KEPT = 3


def line_of(shelf: Shelf, number: int) -> list[Manifest]:
    """Return a release and those that it was made on, the newest first, without the folder before any patch.

    Raises
    ------
    NoSuchRelease, ReleaseDamaged
    """
    found = list[Manifest]()
    while number:
        found.append(shelf.manifest(number))
        number = found[-1].parent
    return found


def prune(shelf: Shelf, index: Index) -> Index:
    """Keep three releases up to the one in force, and as many others; returns the new index.

    Raises
    ------
    ReleaseError, OSError
        Nothing that is needed was lost.
    """
    line = line_of(shelf, index.current)
    while len(line) > KEPT:
        line[-2:] = [_squash(shelf, below=line[-1], above=line[-2])]
    kept = {manifest.number for manifest in line}
    others = [
        number
        for number, standing in sorted(index.releases.items(), reverse=True)
        if number not in kept and _is_of_use(shelf, number, standing.state, kept)
    ]
    kept |= set(others[:KEPT])
    pruned = msgspec.structs.replace(
        index, releases={number: standing for number, standing in index.releases.items() if number in kept}
    )
    if pruned != index:
        shelf.write_index(pruned)
    for number in shelf.numbers():
        if number not in kept:
            shelf.discard(number)
    return pruned


def _is_of_use(shelf: Shelf, number: int, state: ReleaseState, kept: set[int]) -> bool:
    """Tell whether a release that is not in force, nor below it, could be put in force on one that is kept."""
    if state is ReleaseState.STAGED:
        return True
    # A good one that is older than all that are kept has become one with another.
    is_merged = state is ReleaseState.GOOD and number < min(kept, default=0)
    return not is_merged and shelf.manifest(number).parent in {0, *kept}


def _squash(shelf: Shelf, *, below: Manifest, above: Manifest) -> Manifest:
    """Make one release of two: what they changed together, under the number of the one above.

    The contents come first and the manifest, which replaces the other atomically, last.
    """
    paths = {change.path: change for change in below.changes}
    merged = list[Change]()
    for change in above.changes:
        older = paths.pop(change.path, None)
        merged.append(Change(path=change.path, old=older.old if older else change.old, new=change.new))
    changes = tuple(change for change in (*merged, *paths.values()) if change.old != change.new)
    folder = folder_of(above.number)
    for change in below.changes:
        for side in Side:
            version = change.on(side)
            # Of what the one above changed again, its own content counts.
            if version is not None and (side is Side.OLD or change.path in paths):
                shelf.keep(folder, side, shelf.content(below.number, side, version, change.path), version.sha256)
    squashed = msgspec.structs.replace(
        above,
        parent=below.parent,
        changes=changes,
        made=_sum(below.made, above.emptied, above.made, below.emptied),
        emptied=_sum(below.emptied, above.made, above.emptied, below.made),
        packages=tuple(dict.fromkeys((*above.packages, *below.packages))),
    )
    shelf.sync_release(folder)
    shelf.write_manifest(folder, squashed)
    shelf.sync_release(folder)
    return squashed


def _sum(
    below: tuple[FolderMade, ...],
    undone_above: tuple[FolderMade, ...],
    above: tuple[FolderMade, ...],
    undone_below: tuple[FolderMade, ...],
) -> tuple[FolderMade, ...]:
    """Return the folders of both, without those that one made and the other took away."""
    first, second = {folder.path for folder in undone_above}, {folder.path for folder in undone_below}
    return (
        *(folder for folder in below if folder.path not in first),
        *(folder for folder in above if folder.path not in second),
    )
