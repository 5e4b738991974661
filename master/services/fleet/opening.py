"""Start of the fleet: load the nodes, adopt running ones, start those that should run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError, LedgerUnavailable
from master.ledger.rows import licences, nodes, tokens
from master.ledger.rows.records import DesiredState, Node, ReadinessKind
from master.ledger.writer.entries import DesiredStateSet, Entry
from master.services.core.directory import NodeDirectory
from master.services.core.ledger_cache import LedgerCache
from master.services.fleet.fleet import Fleet
from master.supervision.probe import find_by_variable
from master.supervision.process import NODE_ID_VARIABLE
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)


class Opening:
    """Bring the nodes up when the master starts."""

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        directory: NodeDirectory,
        ledger_cache: LedgerCache,
        supervisor: Supervisor,
        fleet: Fleet,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._ledger_cache = ledger_cache
        self._supervisor = supervisor
        self._fleet = fleet

    async def load(self) -> None:
        """Load the nodes, and adopt those that still run; starts nothing.

        Raises
        ------
        LedgerError
            The ledger cannot be read, or is away and there is no ledger cache.
        """
        await self._load_nodes()
        for node in self._directory:
            self._fleet.register(node)
        left = [node for node in self._directory if not self._adopt(node)]
        await self._adopt_by_environment([node for node in left if node.readiness is ReadinessKind.PROCESS])

    async def _load_nodes(self) -> None:
        away = self._ledger.away
        found = await self._read_nodes()
        if found is not None:
            active, sealed, revoked = found
            if not active and (unknown := await self._unknown_ids()):
                # The ledger is empty and the cache is not: a disk is not mounted, or it is another database.
                raise LedgerError(
                    f"the ledger holds no node, but {unknown} are remembered: is DATABASE the one you mean?",
                    hint=f"if it is, and they are to be forgotten: rm {self._settings.ledger_cache_path}",
                )
            # Before the first node is put into the directory: that has the cache's file written anew.
            await self._ledger_cache.remember_licences()
            for node in active:
                self._directory.put(node)
                if node.id in sealed:
                    self._ledger_cache.keep_token(node.id, sealed[node.id])
            self._ledger_cache.keep_revoked(revoked)
        elif away is None or not await self._ledger_cache.recall():
            raise LedgerUnavailable(
                f"the ledger is away, and nothing is remembered of its nodes: {away.why if away else ''}",
                hint=away.hint if away else "",
            )
        if away is not None:
            self._apply_pending(await self._ledger.pending_entries())

    async def _unknown_ids(self) -> int:
        """Return how many nodes are remembered of which the ledger knows nothing; it knows those that were removed."""
        remembered = await self._ledger_cache.node_ids()
        if not remembered:
            return 0
        return await self._ledger.read(
            lambda connection: sum(nodes.get(connection, node_id) is None for node_id in remembered)
        )

    async def _read_nodes(self) -> tuple[list[Node], dict[str, bytes], frozenset[str]] | None:
        """Read nodes, sealed tokens, and whose licences are revoked; None if the ledger is away.

        One on a full disk can be read all the same.

        Raises
        ------
        LedgerError
        """
        away = self._ledger.away
        if away is not None and not away.disk_full:
            return None
        try:
            return await self._ledger.read(
                lambda c: (nodes.list_active(c), tokens.load_all(c), licences.list_revoked(c))
            )
        except LedgerError as error:
            if away is None:
                raise
            log.warning("the ledger cannot be read on a full disk", extra={"why": error.message})
            return None

    def _apply_pending(self, waiting: Sequence[Entry]) -> None:
        """Apply spooled writes to the cached nodes."""
        for entry in waiting:
            if isinstance(entry, DesiredStateSet):
                self._directory.update(entry.node_id, partial(replace, desired_state=entry.desired))

    async def open(self) -> None:
        """Bring every node to its desired state, lowest priority number first."""
        async with asyncio.TaskGroup() as opening:
            for node in self._directory:
                running = self._supervisor.pid_of(node.id) is not None
                if node.desired_state is DesiredState.RUNNING and not running:
                    opening.create_task(self._start_node(node))
                elif node.desired_state is DesiredState.STOPPED and running:
                    opening.create_task(self._supervisor.stop(node.id))

    def _adopt(self, node: Node) -> bool:
        """Adopt a node's process; the local record is newer than the ledger, which may have been away."""
        recorded = self._supervisor.recorded(node.id)
        if recorded is not None and self._supervisor.adopt(node.id, recorded.pid, recorded.started_at):
            return True
        if node.pid is None or node.pid_started_at is None:
            return False
        return self._supervisor.adopt(node.id, node.pid, node.pid_started_at)

    async def _adopt_by_environment(self, left: Sequence[Node]) -> None:
        """Adopt bots without a boot document that started just as a master died: no record has their pid."""
        if not left:
            return
        running = await asyncio.to_thread(find_by_variable, NODE_ID_VARIABLE)
        for node in left:
            if node.id in running:
                self._supervisor.adopt(node.id, *running[node.id])

    async def _start_node(self, node: Node) -> None:
        """Start one node; a failure is logged and does not affect the others."""
        try:
            await self._supervisor.start(node.id)
        except FleetError as error:
            log.error("node could not be started", extra={"node": node.name, "why": str(error)})
