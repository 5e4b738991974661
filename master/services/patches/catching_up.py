"""Nodes that did not run when their turn came: they are patched before they start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.records import Node, Patch, PatchNode, PatchNodeState
from master.services.patches.book import PatchBook
from master.services.patches.errors import PatchRefused
from master.services.patches.showing import document_of
from master.services.patches.silent_trials import SilentTrials
from master.services.patches.statuses import PatchStatuses
from master.services.patches.targets import difference
from master.services.patches.trusting import LedgerAcceptance
from master.services.patches.ways import Way, Ways
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

ON_RECORD_WITHIN_S = 3.0
_IN_FORCE = ("rolling", "soaking", "asking", "done")
"""States of a roll-out in which further nodes may get the patch."""


class CatchingUp:
    """Patch nodes before they start.

    Parameters
    ----------
    folder_of
        Returns a node's folder.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        book: PatchBook,
        statuses: PatchStatuses,
        ways: Ways,
        trials: SilentTrials,
        folder_of: Callable[[Node], Path],
        acceptance: LedgerAcceptance,
        clock: Clock,
    ) -> None:
        self._acceptance = acceptance
        self._ledger, self._book, self._statuses, self._ways = ledger, book, statuses, ways
        self._trials = trials
        self._folder_of = folder_of
        self._clock = clock

    async def before_start(self, node: Node) -> Mapping[str, str]:
        """Patch a node that waits for it, and settle its folder; returns variables that tell its process of that.

        Whatever goes wrong, it starts: with what it ran before.
        """
        await self._catch_up(node)
        return await self._trials.before_start(node)

    async def _catch_up(self, node: Node) -> None:
        """Patch a node that waits for it.

        Of several it gets the oldest: what comes after is put on top of what is good.
        """
        try:
            for row, patch in self._waiting(node):
                if await self._is_next(node, row, patch):
                    await self._put(node, row, patch)
                    return
        except TimeoutError:
            log.warning("a node starts without its patch: the ledger is slow", extra={"node": node.name})
        except LedgerError as error:
            log.warning("a node starts without its patch", extra={"node": node.name, "why": error.message})

    async def once_good(self, node: Node) -> None:
        """Have a node that runs take the next patch that it waits for, now that the one before is good on it."""
        try:
            for row, patch in self._waiting(node):
                if self._ways.way_of(node) is Way.LATER:
                    return
                if await self._is_next(node, row, patch):
                    await self._order(node, row, patch)
                    return
        except (TimeoutError, LedgerError):
            log.warning("a node gets its next patch before its next start", extra={"node": node.name})

    def _waiting(self, node: Node) -> list[tuple[PatchNode, Patch]]:
        """Return the patches that a node waits for, the oldest first."""
        if self._ledger.away is not None:
            return []
        found = [(row, self._book.get(row.patch_id)) for row in self._book.absent_of(node.id)]
        return [(row, patch) for row, patch in found if patch is not None and patch.state in _IN_FORCE]

    async def _is_next(self, node: Node, row: PatchNode, patch: Patch) -> bool:
        """Tell whether a node gets a patch now; one that it is not to get any more is passed over."""
        try:
            await self._ledger.read(lambda connection: self._acceptance.require_trusted(connection, patch.key_id))
        except PatchRefused as error:
            log.warning("a node does not get a patch", extra={"node": node.name, "why": error.message})
            self._set(row, "skipped", error.message)
            return False
        differs = await asyncio.to_thread(difference, self._folder_of(node), document_of(patch))
        # A master that was killed as it restarted a node leaves one that does not run, and has the patch in force.
        if differs and not await self._ways.is_in_force(node, patch):
            self._set(row, "skipped", differs)
            return False
        self._set(row, "ordered")
        async with asyncio.timeout(ON_RECORD_WITHIN_S):
            await self._book.flush()
        return True

    async def _put(self, node: Node, row: PatchNode, patch: Patch) -> None:
        try:
            before, release = await self._ways.put_in_folder(node, patch)
        except FleetError as error:
            log.warning("a node starts without its patch", extra={"node": node.name, "why": error.message})
            self._set(row, "failed", error.message)
            return
        steps: tuple[tuple[PatchNodeState, int], ...] = (("received", before), ("applied", release))
        for state, number in steps:
            now = self._book.node(row.patch_id, row.node_id)
            if now is not None:
                self._statuses.move(now, state, "before its start", release=number)

    async def _order(self, node: Node, row: PatchNode, patch: Patch) -> None:
        try:
            await self._ways.give(node, patch, row, self._statuses.move_if_newer)
        except FleetError as error:
            log.warning("a node gets a patch before its next start", extra={"node": node.name, "why": error.message})
            now = self._book.node(row.patch_id, row.node_id)
            if now is not None and now.state == "ordered":
                self._set(now, "absent", f"it gets it before it starts: {error.message}")

    def _set(self, row: PatchNode, state: PatchNodeState, detail: str = "") -> None:
        moved = replace(row, state=state, detail=detail, changed_at=self._clock.now())
        self._book.put_node(moved)
        self._statuses.on_moved(moved)
