"""Operator actions on nodes: set the desired state in the ledger, then act.

The desired state is written first, so that it survives a crash. :mod:`master.operations` authorises and audits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from msgspec.structs import replace

from master.configuration.settings import Settings
from master.errors import ExitCode, FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows.records import DesiredState, Node
from master.ledger.writer.entries import DesiredStateSet, FlagCleared
from master.services.core.directory import NodeDirectory
from master.services.core.views import ActionResult
from master.services.fleet.launching import Launcher
from master.supervision.clock import Clock
from master.supervision.states import NodeState
from master.supervision.supervisor import NodeView, Supervisor

log = logging.getLogger(__name__)

_SETTLED = (
    NodeState.READY,
    NodeState.DEGRADED,
    NodeState.BACKOFF,
    NodeState.QUARANTINED,
    NodeState.MISSING,
    NodeState.STOPPED,
    NodeState.OFFLINE,
)

UNRECORDED = "done, but not on record yet: it follows from memory (`fleet ledger status` says what is in the way)"

Act = Callable[[Node], Awaitable[bool]]
"""An action on one node; False if it was done and is not on record yet. Raises ``FleetError`` on failure."""


class Fleet:
    """Start, stop and restart nodes."""

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        directory: NodeDirectory,
        supervisor: Supervisor,
        launcher: Launcher,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._supervisor = supervisor
        self._launcher = launcher
        self._clock = clock

    def register(self, node: Node) -> None:
        """Make a node known to the supervisor, without starting it."""
        self._supervisor.register(self._launcher.spec(node))

    def update_settings(self, settings: Settings) -> None:
        """Apply changed settings: a node's soft memory limit at once, the rest at its next start."""
        self._settings = self._launcher.settings = settings
        for node in self._directory:
            self.register(node)

    @property
    def settings(self) -> Settings:
        """The settings that are in effect."""
        return self._settings

    async def check_program(self, node: Node) -> list[str]:
        """Check that what a node is to run can be found; returns what the operator should know.

        Raises
        ------
        SpawnFailed
        """
        return await asyncio.to_thread(self._launcher.check_program, node)

    async def start_wanted(self, node_id: str) -> None:
        """Start a node whose desired state is already written."""
        await self._supervisor.start(node_id)

    def state_of(self, node_id: str) -> str:
        """Return the observed state of a node; ``removed`` if it was removed meanwhile."""
        if self._directory.get(node_id) is None:
            return "removed"
        return self._supervisor.view(node_id).state.value

    def choose(self, names: Sequence[str], *, everyone: bool = False) -> list[Node]:
        """Return the named nodes, or all with ``everyone``, in order of priority.

        Raises
        ------
        NoSuchNode
            For the first unknown name.
        """
        if everyone:
            return list(self._directory)
        chosen = {node.id: node for node in map(self._directory.find, names)}
        return sorted(chosen.values(), key=lambda node: node.priority)

    def leave_stopped(self, chosen: Sequence[Node]) -> tuple[list[Node], list[ActionResult]]:
        """Return the nodes that are to run, and a result for each that is stopped and left so."""
        running = [node for node in chosen if node.desired_state is DesiredState.RUNNING]
        left = [node for node in chosen if node.desired_state is not DesiredState.RUNNING]
        return running, [
            ActionResult(node=node.name, ok=True, state=self.state_of(node.id), detail="left as it is: stopped")
            for node in left
        ]

    async def start(self, node: Node) -> bool:
        """Set a node's desired state to running, and start it now, even in backoff or quarantine."""
        recorded = await self._set_desired_state(node, DesiredState.RUNNING)
        await self._supervisor.start(node.id)
        return recorded

    async def stop(self, node: Node) -> bool:
        """Set a node's desired state to stopped; send SIGTERM, and SIGKILL to its group after the grace period."""
        return await self._end(node, self._supervisor.stop)

    async def restart(self, node: Node) -> bool:
        """Stop a node and start it again; its desired state becomes running."""
        recorded = await self._set_desired_state(node, DesiredState.RUNNING)
        await self._supervisor.restart(node.id)
        return recorded

    async def kill(self, node: Node) -> bool:
        """Send SIGKILL to a node's process group, and set its desired state to stopped."""
        return await self._end(node, self._supervisor.kill)

    async def _end(self, node: Node, end: Callable[[str], Awaitable[None]]) -> bool:
        """End a node's process while its desired state is written: a database that hangs is no reason to wait.

        The node may be what fills the disk.
        """
        recording = asyncio.ensure_future(self._set_desired_state(node, DesiredState.STOPPED))
        try:
            await end(node.id)
        except BaseException:
            await asyncio.gather(recording, return_exceptions=True)
            raise
        try:
            return await recording
        except LedgerError as error:
            log.error("a node was ended, which is not on record", extra={"node": node.name, "why": error.message})
            return False

    async def release(self, node: Node) -> bool:
        """End a node's backoff or quarantine, and forget its past exits."""
        self._supervisor.release(node.id)
        return True

    async def clear(self, node: Node) -> bool:
        """Clear a node's flag."""
        now = self._clock.now()
        recorded = await self._ledger.write_durable(FlagCleared(node_id=node.id, host=node.host, at=now))
        self._directory.update(node.id, lambda known: replace(known, flagged_at=None, flag_reason="", updated_at=now))
        return recorded

    async def _set_desired_state(self, node: Node, desired: DesiredState) -> bool:
        if node.desired_state is desired:
            return True
        now = self._clock.now()
        wanted = DesiredStateSet(node_id=node.id, host=node.host, desired=desired, at=now)
        recorded = await self._ledger.write_durable(wanted)
        self._directory.update(node.id, lambda known: replace(known, desired_state=desired, updated_at=now))
        return recorded

    async def act(self, act: Act, chosen: Sequence[Node]) -> AsyncGenerator[ActionResult, None]:
        """Run an action on several nodes concurrently; yields each result as it completes."""
        pending = [asyncio.create_task(self._act_on(act, node)) for node in chosen]
        try:
            for finished in asyncio.as_completed(pending):
                yield await finished
        except asyncio.CancelledError:
            for task in pending:
                task.cancel()
            raise
        finally:
            # The caller disconnected: the remaining actions still run to their end.
            await asyncio.gather(*pending, return_exceptions=True)

    async def _act_on(self, act: Act, node: Node) -> ActionResult:
        try:
            recorded = await act(node)
        except FleetError as error:
            return ActionResult(
                node=node.name,
                ok=False,
                state=self.state_of(node.id),
                detail=error.message,
                hint=error.hint,
                code=error.code,
                exit_code=error.exit_code,
            )
        detail = "" if recorded else UNRECORDED
        return ActionResult(node=node.name, ok=True, state=self.state_of(node.id), detail=detail)

    async def roll(self, restart: Act, chosen: Sequence[Node], *, width: int) -> AsyncGenerator[ActionResult, None]:
        """Restart nodes in batches; stops after the first batch in which one does not recover.

        A node that was degraded by failed cogs has recovered if no further cogs fail.

        Parameters
        ----------
        restart
            Restarts one node.
        width
            Size of a batch.
        """
        waiting = list(chosen)
        failed: ActionResult | None = None
        while waiting and failed is None:
            batch, waiting = waiting[:width], waiting[width:]
            for result in await asyncio.gather(*(self._roll_one(restart, node) for node in batch)):
                failed = failed or (None if result.ok else result)
                yield result
        if failed is None:
            return
        how = "came back degraded" if failed.state == NodeState.DEGRADED else "did not come back"
        for node in waiting:
            yield ActionResult(
                node=node.name,
                ok=False,
                state=self.state_of(node.id),
                detail=f"left as it is: {failed.node} {how}",
                hint=f"`fleet logs {failed.node}` shows why",
                code="halted",
                exit_code=ExitCode.FAILED,
            )

    async def _roll_one(self, restart: Act, node: Node) -> ActionResult:
        before = self._supervisor.view(node.id)
        result = await self._act_on(restart, node)
        if not result.ok:
            return result
        spawned = self._supervisor.view(node.id).restarts
        timeout_s = self._settings.supervision.ready_timeout_s
        try:
            await self._supervisor.wait_state(node.id, _SETTLED, timeout_s=timeout_s)
        except FleetError as error:
            return replace(result, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)
        view = self._supervisor.view(node.id)
        if view.restarts == spawned and (view.state is NodeState.READY or _is_no_worse(before, view)):
            return replace(result, state=view.state.value)
        detail = view.last_exit if view.restarts != spawned else (view.detail or view.last_exit)
        return replace(result, ok=False, state=view.state.value, detail=detail, exit_code=ExitCode.FAILED)


def _is_no_worse(before: NodeView, after: NodeView) -> bool:
    """Tell whether a node is degraded as before its restart, and no other cogs fail."""
    degraded = NodeState.DEGRADED
    return before.state is after.state is degraded and set(after.cogs_failed) <= set(before.cogs_failed)
