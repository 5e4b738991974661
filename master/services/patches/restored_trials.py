"""Trials of releases that were restored on nodes which speak the protocol: no roll-out calls them good.

A release that went back before it was good is on trial again when an operator restores it. Its node tells that it is
healthy, of a patch that is not under way: it is asked to call it good by itself, once it has worked for a while.
"""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from handshake.messages import PatchStatus
from master.errors import FleetError
from master.events import AlertLevel
from master.ledger.database import Ledger
from master.ledger.rows import generations
from master.ledger.rows.records import Node, PatchNode
from master.services.core.alerts import Alerts
from master.services.patches.book import PatchBook
from master.services.patches.statuses import PatchStatuses
from master.services.patches.ways import order_of
from master.services.trust.orders import NodeOrders
from master.supervision.supervisor import Supervisor
from master.wording import visible

log = logging.getLogger(__name__)

TRIAL_S = 5.0
"""An operator wanted exactly this release: it is to live, and need not be compared with others."""
ATTEMPTS, AGAIN_S = 5, 2.0
"""To send the order: the node may have another one under way."""
_OVER = ("rolled_back", "rollback_failed", "failed")


class RestoredTrials:
    """See the trials of restored releases to their end."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        supervisor: Supervisor,
        orders: NodeOrders,
        book: PatchBook,
        statuses: PatchStatuses,
        alerts: Alerts,
    ) -> None:
        self._ledger, self._supervisor, self._orders = ledger, supervisor, orders
        self._book, self._alerts = book, alerts
        self._asked: dict[str, int | None] = {}
        """By node: the process that was asked last, which tells once more that it is healthy."""
        self._tasks: set[asyncio.Task[None]] = set()
        statuses.on_stale = self._heed

    def _heed(self, node: Node, row: PatchNode, body: PatchStatus) -> None:
        """Take a status that does not move the node's row; never blocks."""
        if row.state not in _OVER or body.status not in ("healthy", "rolled_back"):
            return
        pid = self._supervisor.view(node.id).pid
        if body.status == "healthy" and self._asked.get(node.id) == pid:
            return
        self._asked[node.id] = pid if body.status == "healthy" else None
        task = asyncio.get_running_loop().create_task(self._follow(node, body, pid), name=f"restored {node.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, node: Node, body: PatchStatus, pid: int | None) -> None:
        try:
            known = await self._ledger.read(lambda connection: generations.newest(connection, "node", node.id))
            if known is None or known.cause != "restored":
                return
            if body.status == "rolled_back":
                self._tell_back(node, body)
            else:
                await self._ask(node, body.patch_id, pid)
        except FleetError as error:
            log.warning(
                "a restored release is not called good: it may go back at the next start",
                extra={"node": node.name, "why": error.message},
            )
        except Exception:
            log.exception("the trial of a restored release failed", extra={"node": node.name})

    async def _ask(self, node: Node, patch_id: str, pid: int | None) -> None:
        """Have the node call the release good after a while: it does so whatever becomes of this master."""
        patch = await self._book.load(patch_id)
        if patch is None:
            return
        order = replace(order_of(patch), good_after_s=TRIAL_S)
        for attempt in range(ATTEMPTS):
            try:
                # Of a patch that is in force already: the node begins to watch itself.
                await self._orders.send(node, "patch", patch=order)
                return
            except FleetError:
                if attempt == ATTEMPTS - 1 or self._supervisor.view(node.id).pid != pid:
                    raise
            await asyncio.sleep(AGAIN_S)

    def _tell_back(self, node: Node, body: PatchStatus) -> None:
        """Tell an operator that what was restored did not last."""
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            f"{node.name} went back from what was restored",
            key=f"restored:{node.id}:{body.release}",
            text=f"{visible(body.detail[:400])}.",
            node=node.name,
        )
