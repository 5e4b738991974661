"""One node back from its patch, whatever its roll-out does: for a repair, which knows of one node only."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from master.bus import EventBus
from master.events import NodePatched
from master.ledger.database import Ledger
from master.ledger.rows import patch_nodes
from master.ledger.rows.records import Node, Patch, PatchNode, PatchNodeState
from master.services.patches.book import PatchBook
from master.services.patches.driving import RESTART
from master.services.patches.errors import PatchError, PatchNotNow
from master.services.patches.statuses import PatchStatuses
from master.services.patches.ways import Ways
from master.supervision.clock import Clock

ANSWER_WITHIN_S = 60.0
_ON_TRIAL = ("applied", "healthy")
_DRIVEN = ("rolling", "soaking", "asking")
"""States of a patch whose roll-out takes back a node that failed, by itself."""
_GONE = ("rolled_back", "rollback_failed")


class Returning:
    """Take a patch back from one node."""

    def __init__(
        self, *, ledger: Ledger, bus: EventBus, clock: Clock, book: PatchBook, statuses: PatchStatuses, ways: Ways
    ) -> None:
        self._ledger, self._bus, self._clock = ledger, bus, clock
        self._book, self._statuses, self._ways = book, statuses, ways

    async def take_back(self, node: Node, *, within_s: float, why: str) -> str:
        """Have a node go back from its newest patch; returns what was done, in words.

        Parameters
        ----------
        within_s
            A patch that is good already is taken back only if it is no older than this.
        why
            In one line; who reads why the roll-out ended reads this.

        Raises
        ------
        PatchNotNow
            There is no such patch on the node.
        PatchError
            It did not go back.
        """
        patch, row = await self._find(node, within_s)
        label = f"{patch.name} {patch.version}"
        with self._bus.subscribe(NodePatched) as moves:
            if patch.state in _DRIVEN:
                failed = replace(row, state="failed", detail=why[:4_000], changed_at=self._clock.now())
                self._book.put_node(failed)
                await self._book.flush()
                self._statuses.on_moved(failed)
            else:
                self._book.put_node(replace(row, state="rolling_back", detail=why, changed_at=self._clock.now()))
                await self._book.flush()
                await self._ways.take_back(node, patch, row, self._told)
                await self._book.flush()
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    while (now := await self._row(patch.id, node.id)).state not in _GONE:
                        await anext(aiter(moves))
            except TimeoutError:
                raise PatchError(f"{node.name} does not say that it went back from {label}") from None
        if now.state == "rollback_failed":
            raise PatchError(f"{node.name} could not go back from {label}: {now.detail}")
        if now.detail == RESTART and patch.state not in _DRIVEN:
            await self._ways.restart(node)
        release = f"release {now.release_after}" if now.release_after else "what it was before any patch"
        return f"{label} taken back: {release} is in force"

    async def _find(self, node: Node, within_s: float) -> tuple[Patch, PatchNode]:
        """Return the patch that a node runs, if it is to be taken back."""
        await self._book.flush()
        rows = await self._ledger.read(lambda connection: patch_nodes.of_node(connection, node.id))
        held = [row for row in rows if row.state in patch_nodes.HELD]
        newest = max(held, key=lambda row: row.changed_at, default=None)
        if newest is None:
            raise PatchNotNow(f"{node.name} runs no patch")
        age_s = (self._clock.now() - newest.changed_at).total_seconds()
        patch = await self._book.load(newest.patch_id)
        row = self._book.node(newest.patch_id, node.id)
        if patch is None or row is None:
            raise PatchNotNow(f"{node.name} runs no patch")
        if row.state not in _ON_TRIAL and age_s > within_s:
            raise PatchNotNow(
                f"{patch.name} {patch.version} is on {node.name} for longer than {within_s:g} s, and good"
            )
        return patch, row

    async def _row(self, patch_id: str, node_id: str) -> PatchNode:
        """Return how far a patch is on a node; the book forgets it with the end of its roll-out."""
        held = self._book.node(patch_id, node_id)
        if held is not None:
            return held
        rows = await self._ledger.read(lambda connection: patch_nodes.of_node(connection, node_id))
        return next(row for row in rows if row.patch_id == patch_id)

    def _told(self, row: PatchNode, state: PatchNodeState, detail: str, release: int | None) -> None:
        now = self._book.node(row.patch_id, row.node_id)
        if now is not None:
            self._statuses.move(now, state, detail, release=release)
