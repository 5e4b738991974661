"""The releases of one node's folder: staged beside the code, put in force atomically, and taken back.

The folder stays a plain one. Killed at any point, the next call finds it wholly as it was or wholly new. All functions
block.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from handshake.patch_document import PatchDocument
from nodekit.releases.beneath import Beneath, OnStep
from nodekit.releases.changing import Changing, packages_of, require_no_trial, settled_of
from nodekit.releases.errors import NoSuchRelease, NotNow, as_release_error
from nodekit.releases.pruning import line_of, prune
from nodekit.releases.records import Index, Manifest, Outcome, Release, ReleaseState, Settled, Standing
from nodekit.releases.shelf import LOCK, Shelf
from nodekit.releases.staging import changes_of, folders_emptied, folders_made

LOCKED_WITHIN_S = 10.0


class Releases:
    """What was changed in a node's folder by patches, and what is in force.

    A release begins on trial. It is good once the node, or who watches it, says so (:meth:`mark_good`); one whose trial
    began and that is not good by the next start is rolled back by :meth:`settle`.

    Parameters
    ----------
    folder
        The node's folder.
    clock
        Returns the Unix time.
    on_step
        Called before each change of the disk; for tests.

    Attributes
    ----------
    folder
        The node's folder.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time, on_step: OnStep | None = None) -> None:
        self.folder = folder
        self._clock = clock
        self._on_step = on_step

    # Looking

    def current(self) -> int:
        """Return the number of the release in force; 0 for the folder before any patch.

        Raises
        ------
        ReleaseError
        """
        with self._reading("the release in force cannot be read") as (_, shelf):
            return shelf.index().current

    def list(self) -> tuple[Release, ...]:
        """Return the releases that are kept, the oldest first; the first is 0, the folder before any patch.

        Raises
        ------
        ReleaseError
        """
        with self._reading("the releases cannot be read") as (_, shelf):
            index = shelf.index()
            found = [_baseline(index)]
            for number, standing in sorted(index.releases.items()):
                try:
                    found.append(_release(shelf.manifest(number), standing, index))
                except NoSuchRelease:
                    if number == index.current:
                        raise
                    # Another process removes it at this moment.
            return tuple(found)

    def changed_paths(self, number: int) -> tuple[str, ...]:
        """Return the files that a release changed in the one before it.

        Raises
        ------
        ReleaseError
        """
        with self._reading(f"release {number} cannot be read") as (_, shelf):
            return tuple(change.path for change in shelf.manifest(number).changes) if number else ()

    def packages(self) -> tuple[str, ...]:
        """Return the folders of packages that the release in force needs, the newest first.

        Raises
        ------
        ReleaseError
        """
        with self._reading("the packages of the release in force cannot be read") as (_, shelf):
            return packages_of(shelf, shelf.index())

    def edited(self, number: int) -> tuple[str, ...]:
        """Return the files that somebody had edited when a release was taken back: what they wrote is kept.

        Raises
        ------
        ReleaseError
        """
        with self._reading(f"release {number} cannot be read") as (_, shelf):
            return tuple(shelf.edited(number))

    # Changing

    def stage(
        self, document: PatchDocument, files: Mapping[str, bytes], *, patch_id: str, packages: Sequence[str] = ()
    ) -> int:
        """Write a patch beside the code, durably; returns the number of the release. Nothing of the bot is changed.

        What was staged before, and never put in force, is removed.

        Parameters
        ----------
        files
            The content of each file that the patch brings, by its path.
        packages
            Folders of the packages that it needs.

        Raises
        ------
        BaseDiffers
            The folder is not what the patch was made for; the error names the files.
        NotNow
            The release in force is still on trial.
        ReleaseError
        """
        with self._changing("the patch cannot be staged", make=True) as (beneath, shelf):
            index = shelf.index()
            require_no_trial(index)
            changes = changes_of(beneath, document, files)
            manifest = Manifest(
                number=max(index.last, *shelf.numbers(), 0) + 1,
                parent=index.current,
                patch_id=patch_id,
                name=document.name,
                version=document.version,
                channel=document.channel,
                at=int(self._clock()),
                restarts=document.restarts,
                changes=changes,
                made=folders_made(beneath, changes),
                emptied=folders_emptied(beneath, changes),
                packages=tuple(packages),
            )
            return Changing(beneath, shelf).stage(index, manifest, files)

    def switch(self, number: int, *, begins: bool | None = None) -> None:
        """Put a staged release in force, on trial.

        Parameters
        ----------
        begins
            Whether its trial begins now, since its cogs are reloaded in the running node; else with the next
            :meth:`settle`. None: as the patch says.

        Raises
        ------
        BaseDiffers
            Files were changed since it was staged.
        NoSuchRelease, NotNow, ReleaseError
        """
        with self._changing(f"release {number} cannot be put in force") as (beneath, shelf):
            Changing(beneath, shelf).switch(number, begins=begins)

    def back(self) -> int:
        """Put the release before the one in force in force again; returns its number.

        Files that somebody edited since are kept in ``.releases/<n>/edited``; :meth:`edited` names them.

        Raises
        ------
        NotNow
            The folder is as it was before any patch.
        ReleaseError
        """
        with self._changing("the release in force cannot be taken back") as (beneath, shelf):
            return Changing(beneath, shelf).back()

    def restore(self, number: int) -> int:
        """Put any release that is kept in force, step by step; returns its number.

        One that is gone back to stands as it stood; one that was taken back is on trial again, from the next start on:
        no cogs are loaded anew for it.

        Raises
        ------
        NoSuchRelease, ReleaseError
            After an error between two steps a release between the two is in force, wholly.
        """
        with self._changing(f"release {number} cannot be restored") as (beneath, shelf):
            index = shelf.index()
            if number and number not in index.releases:
                raise NoSuchRelease(f"release {number} is not kept any more")
            changing = Changing(beneath, shelf)
            wanted = [manifest.number for manifest in line_of(shelf, number)]
            while (current := shelf.index().current) and current not in wanted:
                changing.back()
            for step in reversed(wanted[: wanted.index(current) if current else None]):
                changing.switch(step, begins=False)
            return number

    def mark_good(self) -> None:
        """Say that the release in force is good; of older ones three are kept.

        Raises
        ------
        ReleaseError
        """
        with self._changing("the release in force cannot be marked as good") as (_, shelf):
            index = shelf.index()
            if index.current:
                good = index.with_standing(index.current, Standing(state=ReleaseState.GOOD, began=True))
                if good != index:
                    shelf.with_room(lambda: shelf.write_index(good))
                prune(shelf, good)

    def settle(self) -> Settled:
        """Make the folder wholly old or wholly new, before any code of the node is run.

        What was cut off is finished or undone; a release whose trial had begun and that is not good is rolled back; one
        that was switched to since the last start begins its trial.

        Raises
        ------
        ReleaseError
            The folder could not be settled; a later call tries again.
        """
        with self._reading("the releases cannot be read") as (beneath, shelf):
            if not shelf.exists():
                return Settled(outcome=Outcome.NOTHING, current=0)
            if Changing(beneath, shelf).is_settled():
                return settled_of(shelf, Outcome.NOTHING)
        with self._changing("the folder cannot be settled", recovering=False) as (beneath, shelf):
            changing = Changing(beneath, shelf)
            return changing.recover() or changing.settle_trial()

    # Opening

    @contextlib.contextmanager
    def _reading(self, doing: str) -> Iterator[tuple[Beneath, Shelf]]:
        try:
            beneath = Beneath(self.folder, self._on_step)
        except OSError as error:
            raise as_release_error(doing, error) from error
        try:
            yield beneath, Shelf(beneath)
        except OSError as error:
            raise as_release_error(doing, error) from error
        finally:
            beneath.close()

    @contextlib.contextmanager
    def _changing(self, doing: str, *, make: bool = False, recovering: bool = True) -> Iterator[tuple[Beneath, Shelf]]:
        with self._reading(doing) as (beneath, shelf):
            if make:
                shelf.make()
            elif not shelf.exists():
                raise NotNow(f"{doing}: no patch was ever applied to this folder")
            with beneath.locked(LOCK, LOCKED_WITHIN_S):
                if recovering:
                    Changing(beneath, shelf).recover()
                yield beneath, shelf


def _baseline(index: Index) -> Release:
    return Release(
        number=0,
        patch_id="",
        name="",
        version=0,
        channel="",
        at=0,
        state=ReleaseState.GOOD,
        in_force=index.current == 0,
    )


def _release(manifest: Manifest, standing: Standing, index: Index) -> Release:
    return Release(
        number=manifest.number,
        patch_id=manifest.patch_id,
        name=manifest.name,
        version=manifest.version,
        channel=manifest.channel,
        at=manifest.at,
        state=standing.state,
        began=standing.began,
        in_force=index.current == manifest.number,
        parent=manifest.parent,
        files=tuple(change.path for change in manifest.changes),
        packages=manifest.packages,
    )
