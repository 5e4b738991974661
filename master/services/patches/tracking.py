"""Who reacted to a patch with what, and when: a view and a request. What proves anything is a node's signed status."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.identifiers import new_ulid, ulid_after
from master.ledger.rows import patch_tracking
from master.ledger.rows.records import PatchTrack
from master.ledger.writer.entries import PatchTracked
from master.services.core.directory import NodeDirectory
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

MOST_PATCHES = 64
"""Patches whose reactions are kept in memory; those of any other are read again."""
READ_BACK = "read back"
"""The detail of what came or went while the master was away: when it did is not known."""
MESSAGE_GONE = "message deleted"
"""The detail of reactions that went with their message."""

Reaction = tuple[int, str]
"""Of whom, and with which emoji."""


class PatchTracking:
    """Write each reaction that comes or goes to ``patch_tracking``, once.

    The rows of one moment are written together, by the ledger's writer; while the ledger is away they are spooled.
    """

    def __init__(self, ledger: Ledger, directory: NodeDirectory, clock: Clock) -> None:
        self._ledger = ledger
        self._directory = directory
        self._clock = clock
        self._standing: dict[str, set[Reaction]] = {}
        """Of each patch the reactions that are there."""
        self._last_id = ""

    async def note(self, patch_id: str, user_id: int, emoji: str, *, came: bool, detail: str = "") -> bool:
        """Write down that a reaction came or went; False if that is known already."""
        standing = await self.standing(patch_id)
        reaction = (user_id, emoji)
        if came == (reaction in standing):
            return False
        if came:
            standing.add(reaction)
        else:
            standing.discard(reaction)
        node = self._directory.by_user(user_id)
        track = PatchTrack(
            id=self._next_id(),
            at=self._clock.now(),
            patch_id=patch_id,
            node_id=None if node is None else node.id,
            kind="reaction" if came else "unreaction",
            user_id=user_id,
            emoji=emoji,
            detail=detail,
        )
        self._ledger.write_soon(PatchTracked(track=track))
        return True

    async def compare(self, patch_id: str, present: Iterable[Reaction]) -> list[Reaction]:
        """Write down what came and went while nobody listened, and return what came."""
        there = set(present)
        standing = set(await self.standing(patch_id))
        for user_id, emoji in sorted(standing - there):
            await self.note(patch_id, user_id, emoji, came=False, detail=READ_BACK)
        came = sorted(there - standing)
        for user_id, emoji in came:
            await self.note(patch_id, user_id, emoji, came=True, detail=READ_BACK)
        return came

    async def of_patch(self, patch_id: str, *, limit: int = 1_000) -> list[PatchTrack]:
        """Return what was written down of a patch, oldest first.

        Raises
        ------
        LedgerError
        """
        return await self._ledger.read(lambda connection: patch_tracking.of_patch(connection, patch_id, limit=limit))

    def _next_id(self) -> str:
        """Make an id above all before: rows of one moment are read in the order in which they were made."""
        made = new_ulid(self._clock)
        self._last_id = made if made > self._last_id else ulid_after(self._last_id)
        return self._last_id

    async def standing(self, patch_id: str) -> set[Reaction]:
        """Return the reactions that are there, by what was written down; while the ledger is away none is known."""
        known = self._standing.get(patch_id)
        if known is not None:
            return known
        try:
            known = await self._ledger.read(lambda connection: patch_tracking.standing(connection, patch_id))
            for entry in await self._ledger.pending_entries():
                if isinstance(entry, PatchTracked) and entry.track.patch_id == patch_id:
                    _apply(entry.track, known)
        except LedgerError as error:
            log.warning("reactions to a patch are written down without what was before", extra={"why": error.message})
            return set()
        # Another reaction may have been first while this one waited.
        known = self._standing.setdefault(patch_id, known)
        while len(self._standing) > MOST_PATCHES:
            del self._standing[next(iter(self._standing))]
        return known


def _apply(track: PatchTrack, standing: set[Reaction]) -> None:
    if track.user_id is None:
        return
    if track.kind == "reaction":
        standing.add((track.user_id, track.emoji))
    else:
        standing.discard((track.user_id, track.emoji))
