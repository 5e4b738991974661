"""What is done to the releases of a folder, step by step, by whoever holds its lock.

A change is: the journal says what is about to happen, the files are put in place, ``current`` is replaced, the journal
goes. Until ``current`` says otherwise an interrupted change leads to the older of the two releases, which is the one
that is known to be good.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from nodekit.releases.beneath import Beneath
from nodekit.releases.errors import BaseDiffers, HalfChanged, NoSuchRelease, NotNow, ReleaseError, reason_of
from nodekit.releases.placing import Placing
from nodekit.releases.pruning import line_of
from nodekit.releases.records import Index, Journal, Manifest, Outcome, ReleaseState, Settled, Side, Standing
from nodekit.releases.shelf import Shelf

_NAMED = 3


class Changing:
    """Changes the releases of one folder.

    Parameters
    ----------
    beneath
        The folder, whose lock is held.
    """

    def __init__(self, beneath: Beneath, shelf: Shelf) -> None:
        self._beneath = beneath
        self._shelf = shelf

    def stage(self, index: Index, manifest: Manifest, files: Mapping[str, bytes]) -> int:
        """Write a release beside the code; returns its number."""
        shelf, folder = self._shelf, self._shelf.begin_staging()
        earlier = {number for number, standing in index.releases.items() if standing.state is ReleaseState.STAGED}
        try:
            self._write_contents(folder, manifest, files)
            shelf.write_manifest(folder, manifest)
            shelf.sync_release(folder)
            shelf.reserve_room(sum(change.old.length for change in manifest.changes if change.old))
            shelf.end_staging(manifest.number)
        except OSError:
            with contextlib.suppress(OSError):
                shelf.abandon_staging()
            raise
        releases = {number: standing for number, standing in index.releases.items() if number not in earlier}
        releases[manifest.number] = Standing(state=ReleaseState.STAGED)
        shelf.write_index(Index(current=index.current, last=manifest.number, releases=releases))
        for number in earlier:
            shelf.discard(number)
        return manifest.number

    def _write_contents(self, folder: str, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        for change in manifest.changes:
            if change.new is not None:
                self._shelf.keep(folder, Side.NEW, files[change.path], change.new.sha256)
            if change.old is not None:
                content = self._beneath.read(change.path, change.old.length)
                self._shelf.keep(folder, Side.OLD, content, change.old.sha256)

    def switch(self, number: int, *, begins: bool | None) -> None:
        """Put a release in force that was made on the one that is."""
        shelf, index = self._shelf, self._shelf.index()
        standing, manifest = standing_of(index, number), shelf.manifest(number)
        if index.current == number:
            return
        if manifest.parent != index.current:
            raise NotNow(f"release {number} was made on release {manifest.parent}, and {index.current} is in force")
        require_no_trial(index)
        placing = Placing(self._beneath, shelf, manifest)
        for side in Side:
            placing.check_kept(side)
        _require_base(placing, number)
        if standing.state is not ReleaseState.GOOD:
            began = not manifest.restarts if begins is None else begins
            standing = Standing(state=ReleaseState.TRIAL, began=began)
        try:
            shelf.write_journal(Journal(release=number, direction="switch"))
            placing.put(Side.NEW)
            shelf.write_index(index.with_standing(number, standing, current=number))
            shelf.remove_journal()
        except (OSError, ReleaseError) as error:
            self._stay(placing, index, Side.OLD, error, "is undone")
            raise

    def back(self) -> int:
        """Put the release before the one in force in force again; returns its number."""
        shelf, index = self._shelf, self._shelf.index()
        if not index.current:
            raise NotNow("the folder is as it was before any patch: there is nothing to go back to")
        manifest = shelf.manifest(index.current)
        placing = Placing(self._beneath, shelf, manifest)
        placing.check_kept(Side.OLD)
        try:
            shelf.with_room(lambda: shelf.write_journal(Journal(release=manifest.number, direction="back")))
            self._finish_back(placing, index, manifest)
        except (OSError, ReleaseError) as error:
            self._stay(placing, index, Side.NEW, error, "is finished")
            raise
        return manifest.parent

    def _finish_back(self, placing: Placing, index: Index, manifest: Manifest) -> None:
        self._shelf.with_room(lambda: placing.put(Side.OLD))
        standing = standing_of(index, manifest.number)
        if standing.state is ReleaseState.TRIAL:
            standing = Standing(state=ReleaseState.BAD, began=True)
        after = index.with_standing(manifest.number, standing, current=manifest.parent)
        self._shelf.with_room(lambda: self._shelf.write_index(after))
        self._shelf.remove_journal()

    def _stay(self, placing: Placing, index: Index, side: Side, why: Exception, later: str) -> None:
        """Leave everything as it was before a change that failed; killed here, the journal still says what to do.

        Raises
        ------
        HalfChanged
            That failed too: the journal stays.
        """
        try:
            if self._shelf.journal() is None:
                return
            if self._shelf.index() != index:
                self._shelf.with_room(lambda: self._shelf.write_index(index))
            self._shelf.with_room(lambda: placing.put(side))
            placing.put_edited_back()
            self._shelf.remove_journal()
        except (OSError, ReleaseError) as error:
            raise HalfChanged(
                f"{reason_of(why)}; the files are half changed, which {later} before the next start "
                f"(now it cannot be: {reason_of(error)})"
            ) from why

    def recover(self) -> Settled | None:
        """Finish or undo what was cut off; returns what was done, None for nothing."""
        shelf, journal = self._shelf, self._shelf.journal()
        shelf.abandon_staging()
        if journal is None:
            return None
        index, manifest = shelf.index(), shelf.manifest(journal.release)
        placing = Placing(self._beneath, shelf, manifest)
        if journal.direction == "back":
            self._finish_back(placing, index, manifest)
            return self._left(Outcome.ROLLED_BACK, manifest)
        if index.current == manifest.number:
            shelf.remove_journal()
            return None
        shelf.with_room(lambda: placing.put(Side.OLD))
        shelf.remove_journal()
        return self._left(Outcome.UNDONE, manifest)

    def is_settled(self) -> bool:
        """Tell whether nothing was cut off, and no release is on trial."""
        index = self._shelf.index()
        on_trial = index.current and standing_of(index, index.current).state is ReleaseState.TRIAL
        return not on_trial and self._shelf.journal() is None

    def settle_trial(self) -> Settled:
        """Begin the trial of the release in force, or take it back if it had begun."""
        shelf, index = self._shelf, self._shelf.index()
        number = index.current
        if not number or standing_of(index, number).state is not ReleaseState.TRIAL:
            return settled_of(shelf, Outcome.NOTHING)
        if standing_of(index, number).began:
            self.back()
            return self._left(Outcome.ROLLED_BACK, shelf.manifest(number))
        began = index.with_standing(number, Standing(state=ReleaseState.TRIAL, began=True))
        shelf.with_room(lambda: shelf.write_index(began))
        return settled_of(shelf, Outcome.BEGAN)

    def _left(self, outcome: Outcome, manifest: Manifest) -> Settled:
        return settled_of(self._shelf, outcome, manifest)


def settled_of(shelf: Shelf, outcome: Outcome, left: Manifest | None = None) -> Settled:
    """Return how a folder stands.

    Parameters
    ----------
    left
        The release that was rolled back or undone.
    """
    index = shelf.index()
    line = line_of(shelf, index.current)
    return Settled(
        outcome=outcome,
        current=index.current,
        patch_id=line[0].patch_id if line else "",
        left=left.number if left else 0,
        left_patch_id=left.patch_id if left else "",
        edited=tuple(shelf.edited(left.number)) if left else (),
        packages=packages_of(shelf, index),
    )


def packages_of(shelf: Shelf, index: Index) -> tuple[str, ...]:
    """Return the folders of packages that the release in force and those below it need, the newest first."""
    line = line_of(shelf, index.current)
    return tuple(dict.fromkeys(package for manifest in line for package in manifest.packages))


def standing_of(index: Index, number: int) -> Standing:
    """Return how a release stands.

    Raises
    ------
    NoSuchRelease
    """
    found = index.releases.get(number)
    if found is None:
        raise NoSuchRelease(f"release {number} is not kept any more")
    return found


def require_no_trial(index: Index) -> None:
    """Check that the release in force is not on trial.

    Raises
    ------
    NotNow
    """
    if index.current and standing_of(index, index.current).state is ReleaseState.TRIAL:
        raise NotNow(f"release {index.current} is still on trial: it has to be good, or to be taken back, first")


def _require_base(placing: Placing, number: int) -> None:
    differing = placing.differing(Side.OLD)
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        named = ", ".join(differing[:_NAMED]) + more
        raise BaseDiffers(f"changed since release {number} was staged: {named}", paths=differing)
