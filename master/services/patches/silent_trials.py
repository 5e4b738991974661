"""Trials of releases in programs that do not settle their own folder: settled before each start, called good after it.

nodekit settles the folder of a program that it runs (:mod:`nodekit.settling`). A COMMAND, an interpreter of its own and
a program without the protocol have nobody who would: a release that crashes them would be started again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import msgspec

from master.bus import EventBus
from master.errors import FleetError
from master.events import NodeReady
from master.ledger.database import Ledger
from master.ledger.rows.records import Node, PatchNode, PatchNodeState, ReadinessKind
from master.services.core.directory import NodeDirectory
from master.services.fleet.launching import Launcher, token_variable_of
from master.services.patches.book import PatchBook
from master.services.patches.folder_patching import FolderNotPatched, FolderPatching, FolderRelease
from master.services.patches.progress import progress_of
from master.services.patches.statuses import PatchStatuses
from master.supervision.states import NodeState
from master.supervision.supervisor import Supervisor
from master.supervision.zygote import RELEASES
from nodekit.releases.records import Outcome, Settled
from nodekit.settling import NOT_SETTLED, SETTLED_VARIABLE

log = logging.getLogger(__name__)

ON_RECORD_WITHIN_S = 3.0
"""A start does not wait longer for the ledger: what it found is told by the folder as well."""
GOOD_AFTER_S = 30.0
"""Of a release that belongs to no roll-out: one that was restored."""
_UP = (NodeState.READY, NodeState.DEGRADED, NodeState.OFFLINE)


class SilentTrials:
    """Settle folders before their programs start, and call good what works."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        bus: EventBus,
        directory: NodeDirectory,
        supervisor: Supervisor,
        launcher: Launcher,
        folders: FolderPatching,
        book: PatchBook,
        statuses: PatchStatuses,
    ) -> None:
        self._ledger, self._bus, self._directory = ledger, bus, directory
        self._supervisor, self._launcher, self._folders = supervisor, launcher, folders
        self._book, self._statuses = book, statuses

    # Before a start

    async def before_start(self, node: Node) -> dict[str, str]:
        """Settle a node's folder, unless its process does; returns variables that tell the process what was done."""
        folder = self._launcher.folder_of(node)
        if await asyncio.to_thread(self._is_settled_by_nodekit, node, folder):
            return {}
        try:
            settled = await self._folders.settle(folder)
        except FolderNotPatched as error:
            # As in nodekit: half new code is better than no bot at all.
            log.error(
                "a node starts with releases that are not settled", extra={"node": node.name, "why": error.message}
            )
            return {SETTLED_VARIABLE: f"{NOT_SETTLED}{error.message}"} if _speaks(node) else {}
        if settled.outcome is Outcome.NOTHING:
            return {}
        log.info("a folder was settled", extra={"node": node.name, "outcome": settled.outcome.value})
        if _speaks(node):
            return {SETTLED_VARIABLE: msgspec.json.encode(settled).decode()}
        await self._tell(node, settled)
        return {}

    def _is_settled_by_nodekit(self, node: Node, folder: Path) -> bool:
        """Tell whether there is nothing for the master to settle. Blocks.

        Where both would, the process does not: it is told by the variable.
        """
        if not (folder / RELEASES).is_dir():
            return True
        own = self._launcher.own_settings(node)
        is_plain = not own.command and not own.interpreter and node.entry.endswith((".py", ".pyw"))
        return _speaks(node) and (is_plain or bool(token_variable_of(folder)))

    async def _tell(self, node: Node, settled: Settled) -> None:
        """Tell in the name of a program that says nothing what its start found."""
        if settled.outcome is Outcome.ROLLED_BACK:
            ended = self._supervisor.view(node.id).last_exit
            edited = f"; edited since, and kept aside: {', '.join(settled.edited)}" if settled.edited else ""
            why = "the process ended before the release was good" + (f": {ended}" if ended else "") + edited
            await self._move(node, settled.left_patch_id, "rolled_back", why, settled.current)
        # One that was undone is asked for again by its roll-out.

    async def _move(self, node: Node, patch_id: str, state: PatchNodeState, detail: str, release: int) -> None:
        row = await self._row(node, patch_id)
        if row is None:
            return
        self._statuses.move(row, state, detail, release=release)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ON_RECORD_WITHIN_S):
                await self._book.flush()

    async def _row(self, node: Node, patch_id: str) -> PatchNode | None:
        """Return how far a patch is on a node; None where that is not known, or not now."""
        if self._book.get(patch_id) is None:
            if self._ledger.away is not None:
                return None
            with contextlib.suppress(TimeoutError, FleetError):
                async with asyncio.timeout(ON_RECORD_WITHIN_S):
                    await self._book.load(patch_id)
        return self._book.node(patch_id, node.id)

    # After it

    async def run(self) -> None:
        """Call releases good that work, until cancelled; those that an earlier master started first."""
        with self._bus.subscribe(NodeReady) as readies:
            async with asyncio.TaskGroup() as group:
                for node in self._directory:
                    if self._supervisor.view(node.id).state in _UP:
                        group.create_task(self._try(node), name=f"trial on {node.name}")
                async for event in readies:
                    found = self._directory.get(event.node_id)
                    if found is not None:
                        group.create_task(self._try(found), name=f"trial on {found.name}")

    async def _try(self, node: Node) -> None:
        if _speaks(node):
            return  # It says so itself.
        try:
            await self._see_through(node)
        except FleetError as error:
            log.warning("a release was not called good", extra={"node": node.name, "why": error.message})
        except Exception:
            log.exception("the trial of a release failed", extra={"node": node.name})

    async def _see_through(self, node: Node) -> None:
        """See the trial of a program that is up to its end: it is healthy, and good if it still is so later."""
        folder, pid = self._launcher.folder_of(node), self._supervisor.view(node.id).pid
        if not await asyncio.to_thread((folder / RELEASES).is_dir):
            return
        release = await self._folders.in_force(folder)
        if release is None or not release.is_tried:
            return
        await self._move(node, release.patch_id, "healthy", "", release.number)
        patch = self._book.get(release.patch_id)
        if patch is not None and patch.state == "done":
            return  # Who carries out roll-outs calls it good.
        good_after_s = GOOD_AFTER_S if patch is None else progress_of(patch).good_after_s
        if not good_after_s:
            return  # Its roll-out says when.
        await asyncio.sleep(good_after_s)
        if self._supervisor.view(node.id).pid == pid:
            await self._call_good(node, folder, release)

    async def _call_good(self, node: Node, folder: Path, release: FolderRelease) -> None:
        row = self._book.node(release.patch_id, node.id)
        if row is not None and row.state != "healthy":
            return
        number = await self._folders.mark_good(folder, release.patch_id)
        await self._move(node, release.patch_id, "good", "", number)


def _speaks(node: Node) -> bool:
    return node.readiness is ReadinessKind.HANDSHAKE
