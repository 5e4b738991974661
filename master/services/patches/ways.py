"""How a node gets a patch: by an order to it, in its folder with a restart, or before it starts."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from handshake.messages import PatchOrder
from master.ledger.rows.records import Node, Patch, PatchNode, PatchNodeState, ReadinessKind
from master.services.fleet.launching import Launcher
from master.services.fleet.packages import PackageInstaller
from master.services.patches.folder_patching import FolderPatching
from master.services.patches.progress import progress_of
from master.services.patches.showing import document_of
from master.services.trust.orders import NodeOrders
from master.supervision.states import NodeState
from master.supervision.supervisor import Supervisor

Told = Callable[[PatchNode, PatchNodeState, str, int | None], None]
"""Takes what is told in the name of a node that says nothing itself: its row, the state, the detail, the release."""
_RUNNING = (NodeState.STARTING, NodeState.READY, NodeState.DEGRADED, NodeState.OFFLINE)
_WELL = (NodeState.READY, NodeState.DEGRADED)
_ENDED = (NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.STOPPED, NodeState.MISSING)


class Way(Enum):
    """How a node gets a patch."""

    ORDER = "order"
    """It speaks the protocol, and does it itself."""
    FOLDER = "folder"
    """It runs, and knows nothing of patches: it is patched in its folder, and restarted."""
    LATER = "later"
    """It does not run: it is patched before it starts."""


class Ways:
    """Bring patches to nodes, and take them back."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        launcher: Launcher,
        orders: NodeOrders,
        folders: FolderPatching,
        installer: PackageInstaller,
    ) -> None:
        self._supervisor = supervisor
        self._launcher = launcher
        self._orders = orders
        self._folders = folders
        self._installer = installer

    def way_of(self, node: Node) -> Way:
        """Return how a node gets a patch now."""
        view = self._supervisor.view(node.id)
        if view.pid is None or view.state not in _RUNNING:
            return Way.LATER
        return Way.ORDER if node.readiness is ReadinessKind.HANDSHAKE else Way.FOLDER

    def busyness(self, node: Node) -> tuple[bool, int]:
        """Return whether a node is not ready, and in how many servers it is; the least first is a canary."""
        view = self._supervisor.view(node.id)
        return view.state is not NodeState.READY, view.guilds or 0

    async def give(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        """Have a node take a patch; what comes of it the node tells, or ``told`` is called in its name.

        What it requires was installed before (:meth:`provide`).

        Raises
        ------
        FleetError
        """
        match self.way_of(node):
            case Way.ORDER:
                await self._orders.send(node, "patch", patch=order_of(patch))
            case Way.FOLDER:
                before, release = await self.put_in_folder(node, patch)
                told(row, "received", "", before)
                told(row, "applied", "in its folder", release)
                await self._start_trial(node, row, release, told)
            case Way.LATER:
                told(row, "absent", "it does not run, and gets it before it starts", None)

    async def put_in_folder(self, node: Node, patch: Patch) -> tuple[int, int]:
        """Patch a node's folder, for its next start; returns the release before, and the new one.

        Raises
        ------
        FolderNotPatched, NotInstalled
        """
        await self.provide(node, patch)
        folder = self._launcher.folder_of(node)
        return await self._folders.put(folder, patch_id=patch.id, sha256=patch.bundle_hash.hex())

    async def is_in_force(self, node: Node, patch: Patch) -> bool:
        """Tell whether a patch is what is in force in a node's folder.

        Raises
        ------
        FolderNotPatched
        """
        return await self._folders.is_in_force(self._launcher.folder_of(node), patch.id)

    async def provide(self, node: Node, patch: Patch) -> None:
        """Install what a patch requires and the operator allows; the rest may be in the node's libraries already.

        Raises
        ------
        NotInstalled
        """
        launcher = self._launcher
        for required in document_of(patch).requirements:
            if self._installer.allows(required):
                await self._installer.provide(node, launcher.folder_of(node), launcher.own_settings(node), required)

    async def _start_trial(self, node: Node, row: PatchNode, release: int, told: Told) -> None:
        """Restart a program with the patch in its folder, unless it was started with it: another start ends a trial.

        One that ends is started again, with what it ran before: that is told first, and what is told here is stale.
        """
        in_force = await self._folders.in_force(self._launcher.folder_of(node))
        if in_force is None or not in_force.is_tried:
            await self._supervisor.restart(node.id)
        timeout_s = self._launcher.settings.supervision.ready_timeout_s
        state = await self._supervisor.wait_state(node.id, (*_WELL, *_ENDED), timeout_s=timeout_s)
        if state in _WELL:
            told(row, "healthy", "", release)
            return
        view = self._supervisor.view(node.id)
        current = await self._folders.back(self._launcher.folder_of(node), row.patch_id)
        await self._supervisor.start(node.id)
        told(row, "failed", view.last_exit or view.detail or f"it is {state}", current)

    async def take_back(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        """Have a node go back to the release before.

        Raises
        ------
        FleetError
        """
        way = self.way_of(node)
        if way is Way.ORDER:
            await self._orders.send(node, "patch_back", patch=order_of(patch))
            return
        current = await self._folders.back(self._launcher.folder_of(node), patch.id)
        if way is Way.FOLDER:
            await self._supervisor.restart(node.id)
        told(row, "rolled_back", "", current)

    async def mark_good(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        """Have a node call a patch good.

        Raises
        ------
        FleetError
        """
        if self.way_of(node) is Way.ORDER:
            await self._orders.send(node, "patch_good", patch=order_of(patch))
        elif node.readiness is not ReadinessKind.HANDSHAKE:
            told(row, "good", "", await self._folders.mark_good(self._launcher.folder_of(node), patch.id))

    async def tell_message(self, node: Node, patch: Patch) -> None:
        """Tell a node which message shows a patch that it was ordered to take before: it reacts to it.

        Raises
        ------
        FleetError
        """
        if self.way_of(node) is Way.ORDER:
            await self._orders.send(node, "patch_posted", patch=order_of(patch))

    async def restart(self, node: Node) -> None:
        """Restart a node that has a patch in force.

        Raises
        ------
        FleetError
        """
        await self._supervisor.restart(node.id)

    async def restart_until_ready(self, node: Node) -> None:
        """Restart a node, and return once it is ready.

        Raises
        ------
        FleetError
        """
        await self._supervisor.restart(node.id)
        timeout_s = self._launcher.settings.supervision.ready_timeout_s
        await self._supervisor.wait_state(node.id, _WELL, timeout_s=timeout_s)

    def release(self, node: Node) -> None:
        """End a node's backoff or quarantine: it starts now."""
        if self._supervisor.view(node.id).state in (NodeState.BACKOFF, NodeState.QUARANTINED):
            self._supervisor.release(node.id)


def order_of(patch: Patch) -> PatchOrder:
    """Return what an order about a patch says of it."""
    return PatchOrder(
        patch_id=patch.id,
        sha256=patch.bundle_hash.hex(),
        good_after_s=progress_of(patch).good_after_s,
        channel_id=patch.message_channel_id or 0,
        message_id=patch.message_id or 0,
    )
