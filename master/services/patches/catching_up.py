"""Nodes that did not run when their turn came: they are patched before they start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.rows.records import Node, PatchNode, PatchNodeState
from master.services.patches.book import PatchBook
from master.services.patches.showing import document_of
from master.services.patches.statuses import PatchStatuses
from master.services.patches.targets import difference
from master.services.patches.ways import Ways
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
        folder_of: Callable[[Node], Path],
        clock: Clock,
    ) -> None:
        self._ledger, self._book, self._statuses, self._ways = ledger, book, statuses, ways
        self._folder_of = folder_of
        self._clock = clock

    async def before_start(self, node: Node) -> None:
        """Patch a node that waits for it. Whatever goes wrong, it starts: with what it ran before."""
        for row in self._book.absent_of(node.id):
            patch = self._book.get(row.patch_id)
            if patch is None or patch.state not in _IN_FORCE or self._ledger.away is not None:
                continue
            try:
                await self._patch(node, row)
            except FleetError as error:
                log.warning("a node starts without its patch", extra={"node": node.name, "why": error.message})
                self._set(row, "failed", error.message)
            except TimeoutError:
                log.warning("a node starts without its patch: the ledger is slow", extra={"node": node.name})

    async def _patch(self, node: Node, row: PatchNode) -> None:
        patch = self._book.get(row.patch_id)
        if patch is None:
            return
        differs = await asyncio.to_thread(difference, self._folder_of(node), document_of(patch))
        # A master that was killed as it restarted a node leaves one that does not run, and has the patch in force.
        if differs and not await self._ways.is_in_force(node, patch):
            self._set(row, "skipped", differs)
            return
        self._set(row, "ordered")
        async with asyncio.timeout(ON_RECORD_WITHIN_S):
            await self._book.flush()
        before, release = await self._ways.put_in_folder(node, patch)
        steps: tuple[tuple[PatchNodeState, int], ...] = (("received", before), ("applied", release))
        for state, number in steps:
            now = self._book.node(row.patch_id, row.node_id)
            if now is not None:
                self._statuses.move(now, state, "before its start", release=number)

    def _set(self, row: PatchNode, state: PatchNodeState, detail: str = "") -> None:
        moved = replace(row, state=state, detail=detail, changed_at=self._clock.now())
        self._book.put_node(moved)
        self._statuses.on_moved(moved)
