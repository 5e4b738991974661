"""The roll-outs that go on, in memory and in the ledger: what was changed is written before anything is done about it.

Statuses of nodes arrive faster than a ledger commits: those that came meanwhile are one transaction. While the ledger
is away they wait in memory, and :meth:`PatchBook.flush` does not return, so that nothing is done that is not on record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from sqlalchemy import Connection

from master.bus import EventBus
from master.events import NodePatched, PatchChanged
from master.ledger.database import Ledger
from master.ledger.errors import Conflict, LedgerError
from master.ledger.rows import patch_nodes, patch_tracking, patches
from master.ledger.rows.records import Patch, PatchNode, PatchTrack
from master.services.patches.progress import progress_of
from master.services.patches.template import PENDING
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

_AGAIN_S = 2.0
_REASON_CHARACTERS = 400
_UNFINISHED: dict[str, tuple[str, ...]] = {
    "done": ("absent", "ordered", "received", "staged", "applied", "healthy"),
    "aborted": ("applied", "healthy"),
}
"""By the state of a patch: states of a node that another patch has to wait for."""


class PatchBook:
    """Hold patches whose roll-out goes on, and write what changes of them.

    Parameters
    ----------
    bus
        Hears of each change, once it is on record.
    """

    def __init__(self, ledger: Ledger, bus: EventBus, clock: Clock) -> None:
        self._ledger = ledger
        self._bus = bus
        self._clock = clock
        self._patches: dict[str, Patch] = {}
        self._nodes: dict[str, dict[str, PatchNode]] = {}
        self._dirty_patches: dict[str, Patch] = {}
        self._dirty_nodes: dict[tuple[str, str], PatchNode] = {}
        self._tracks: list[PatchTrack] = []
        self._events: list[PatchChanged | NodePatched] = []
        self._writing: asyncio.Task[None] | None = None

    def keep(self, patch: Patch, nodes: Iterable[PatchNode]) -> None:
        """Hold a patch as the ledger has it."""
        self._patches[patch.id] = patch
        self._nodes[patch.id] = {node.node_id: node for node in nodes}

    def forget(self, patch_id: str) -> None:
        """Hold a patch no longer: nothing is going to change of it. What is not written yet is written all the same."""
        self._patches.pop(patch_id, None)
        self._nodes.pop(patch_id, None)

    async def load(self, patch_id: str) -> Patch | None:
        """Hold a patch, read from the ledger if it is not held; None if there is none."""
        if patch_id not in self._patches:
            await self.flush()
            found = await self._ledger.read(lambda connection: _read(connection, patch_id))
            if found is None:
                return None
            if patch_id not in self._patches:
                self.keep(*found)
        return self._patches[patch_id]

    def get(self, patch_id: str) -> Patch | None:
        """Return a patch that is held; None if it is not."""
        return self._patches.get(patch_id)

    def nodes(self, patch_id: str) -> list[PatchNode]:
        """Return how far a patch that is held is on each node."""
        return list(self._nodes.get(patch_id, {}).values())

    def node(self, patch_id: str, node_id: str) -> PatchNode | None:
        """Return how far a patch that is held is on a node; None if it was not given to it."""
        return self._nodes.get(patch_id, {}).get(node_id)

    def put(self, patch: Patch, *, actor: str = "") -> None:
        """Change a patch; it is on record after the next :meth:`flush`."""
        if len(patch.reason) > _REASON_CHARACTERS:
            raise ValueError("the reason is longer than its column")
        before = self._patches.get(patch.id)
        self._patches[patch.id] = self._dirty_patches[patch.id] = patch
        self._nodes.setdefault(patch.id, {})
        if before is None or _shown_of(before) != _shown_of(patch):
            label = f"{patch.name} {patch.version}"
            is_of_template = before is not None and _shown_of(before)[:-1] == _shown_of(patch)[:-1]
            self._events.append(
                PatchChanged(
                    at=self._clock.now(),
                    patch_id=patch.id,
                    name=label,
                    state=patch.state,
                    actor=actor,
                    detail=f"template {progress_of(patch).template}" if is_of_template else patch.reason,
                )
            )

    def put_node(self, node: PatchNode) -> None:
        """Change how far a patch is on a node; it is on record after the next :meth:`flush`."""
        patch = self._patches[node.patch_id]
        before = self._nodes[node.patch_id].get(node.node_id)
        self._nodes[node.patch_id][node.node_id] = self._dirty_nodes[node.patch_id, node.node_id] = node
        if before is None or before.state != node.state:
            self._events.append(
                NodePatched(
                    at=self._clock.now(),
                    node_id=node.node_id,
                    patch_id=node.patch_id,
                    name=f"{patch.name} {patch.version}",
                    state=node.state,
                    detail=node.detail[:400],
                )
            )

    def track(self, track: PatchTrack) -> None:
        """Put on record what a node said, with the next :meth:`flush`."""
        self._tracks.append(track)

    def absent_of(self, node_id: str) -> list[PatchNode]:
        """Return the rows of patches that a node gets before it starts, the oldest patch first."""
        rows = (self._nodes[patch_id].get(node_id) for patch_id in sorted(self._nodes))
        return [row for row in rows if row is not None and row.state == "absent"]

    def unfinished_on(self, node_id: str, *, besides: str) -> list[PatchNode]:
        """Return the rows of other patches, whose roll-out is over, that a node has on trial or is still to get."""
        found = []
        for patch_id, nodes in self._nodes.items():
            row, patch = nodes.get(node_id), self._patches.get(patch_id)
            if patch_id != besides and row and patch and row.state in _UNFINISHED.get(patch.state, ()):
                found.append(row)
        return found

    @property
    def is_flushed(self) -> bool:
        """Whether everything is on record."""
        return not (self._has_changes or self._is_writing)

    @property
    def _has_changes(self) -> bool:
        return bool(self._dirty_patches or self._dirty_nodes or self._tracks)

    @property
    def _is_writing(self) -> bool:
        # What is done has not told its callback yet: waiting for it would not let that run.
        return self._writing is not None and not self._writing.done()

    async def flush(self) -> None:
        """Return once all that was changed before is on record; an outage of the ledger is waited for.

        A caller that gives up waiting does not cut the writing off: it is one for all who wait.
        """
        while self._has_changes or self._is_writing:
            if self._writing is None or self._writing.done():
                self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="patches to the ledger")
                self._writing.add_done_callback(self._written)
            await asyncio.shield(self._writing)

    async def end(self) -> None:
        """End the writing; what is not on record by now the nodes tell the next master."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    def _written(self, task: asyncio.Task[None]) -> None:
        if self._writing is task:
            self._writing = None
        if not task.cancelled():
            task.exception()  # Whoever waits for it has it; nobody may.

    async def _write_all(self) -> None:
        while self._has_changes:
            changed, on_nodes, tracks, events = (
                self._dirty_patches,
                self._dirty_nodes,
                self._tracks,
                self._events,
            )
            self._dirty_patches, self._dirty_nodes, self._tracks, self._events = {}, {}, [], []
            try:
                await self._ledger.write(partial(_write, tuple(changed.values()), tuple(on_nodes.values()), tracks))
            except BaseException as error:
                # Changes made meanwhile are newer.
                self._dirty_patches = changed | self._dirty_patches
                self._dirty_nodes = on_nodes | self._dirty_nodes
                self._tracks = tracks + self._tracks
                self._events = events + self._events
                if not isinstance(error, LedgerError) or isinstance(error, Conflict):
                    raise  # A row that is refused is refused again.
                log.warning("the state of a patch waits to be written", extra={"why": error.message})
                await self.wait_for_ledger()
            else:
                for event in events:
                    self._bus.publish(event)

    async def wait_for_ledger(self) -> None:
        """Return once it is worth to ask the ledger again."""
        if self._ledger.away is not None:
            await self._ledger.wait_available()
        else:
            await asyncio.sleep(_AGAIN_S)


def _shown_of(patch: Patch) -> tuple[object, ...]:
    """Return what somebody who watches a roll-out wants to see change."""
    progress = progress_of(patch)
    template = "" if progress.template == PENDING else progress.template
    return patch.state, patch.wave, patch.reason, progress.approved_by, template


def _read(connection: Connection, patch_id: str) -> tuple[Patch, list[PatchNode]] | None:
    patch = patches.get(connection, patch_id)
    return None if patch is None else (patch, patch_nodes.of_patch(connection, patch_id))


def _write(
    changed: Iterable[Patch], on_nodes: Iterable[PatchNode], tracks: list[PatchTrack], connection: Connection
) -> None:
    for patch in changed:
        patches.update(connection, patch)
    patch_nodes.save(connection, on_nodes)
    patch_tracking.add_all(connection, tracks)
