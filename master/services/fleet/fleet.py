"""Starting, stopping, restarting and showing nodes: the ledger's desired state and the supervisor's deeds in one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Literal

from msgspec.structs import replace

from master import __version__
from master.configuration.settings import Settings
from master.errors import ExitCode, FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError, LedgerUnavailable
from master.ledger.rows import nodes, pulse_snapshots, tokens
from master.ledger.rows.records import DesiredState, Node, ReadinessKind
from master.ledger.writer.entries import Entry, FlagTakenOff, Wanted
from master.services.core.actors import Actor
from master.services.core.auditing import Auditor
from master.services.core.directory import NodeDirectory
from master.services.core.ledger_cache import LedgerCache
from master.services.core.views import (
    ActionResult,
    FleetStatus,
    LogPaths,
    MasterStatus,
    NodeHistoryView,
    NodeStatus,
    Series,
    StrayStatus,
)
from master.services.fleet.launching import NODE_ID_VARIABLE, Launcher
from master.services.fleet.pulse_snapshots import EVERY_S as SNAPSHOTS_EVERY_S
from master.supervision.clock import Clock
from master.supervision.history import Ring
from master.supervision.logs import NodeLogs
from master.supervision.own_usage import OwnUsage
from master.supervision.probe import find_marked, map_processes
from master.supervision.states import NodeState
from master.supervision.supervisor import NodeView, Supervisor

log = logging.getLogger(__name__)

Verb = Literal["start", "stop", "restart", "kill", "release", "clear"]
_WEEK_OF_SNAPSHOTS = 7 * 24 * 12
_SETTLED = (NodeState.READY, NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.MISSING, NodeState.STOPPED)


class Fleet:
    """The operator's verbs over nodes.

    Every verb is authorised and audited, sets the desired state in the ledger first (so that it survives a crash
    right after), then acts.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        directory: NodeDirectory,
        ledger_cache: LedgerCache,
        supervisor: Supervisor,
        launcher: Launcher,
        logs: NodeLogs,
        auditor: Auditor,
        clock: Clock,
        discord_state: Callable[[], str],
        merged_bytes: Callable[[], int | None],
        old_keys: Callable[[], int | None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._ledger_cache = ledger_cache
        self._supervisor = supervisor
        self._launcher = launcher
        self._logs = logs
        self._auditor = auditor
        self._clock = clock
        self._discord_state = discord_state
        self._merged_bytes = merged_bytes
        self._old_keys = old_keys
        self._began = clock.monotonic()
        self._own_usage = OwnUsage()

    async def load(self) -> None:
        """Load the nodes, and take back those that still run; nothing is started yet.

        Raises
        ------
        LedgerError
            The ledger cannot be read; or it is away, and nothing is remembered of it.
        """
        await self._load_nodes()
        for node in self._directory:
            self.register(node)
        left = [node for node in self._directory if not self._adopt(node)]
        await self._adopt_by_environment([node for node in left if node.readiness is ReadinessKind.PROCESS])

    async def _load_nodes(self) -> None:
        away = self._ledger.away
        if away is None:
            active, sealed = await self._ledger.read(lambda c: (nodes.list_active(c), tokens.load_all(c)))
            if not active and (known := await self._ledger_cache.count()):
                # An empty ledger where a full one was: a disk that is not mounted, another database.
                raise LedgerError(
                    f"the ledger holds no node, but {known} are remembered: is DATABASE the one you mean?",
                    hint=f"if it is, and they are to be forgotten: rm {self._settings.ledger_cache_path}",
                )
            for node in active:
                self._directory.put(node)
                if node.id in sealed:
                    self._ledger_cache.keep_token(node.id, sealed[node.id])
        elif not await self._ledger_cache.recall():
            raise LedgerUnavailable(
                f"the ledger is away, and nothing is remembered of its nodes: {away.why}", hint=away.hint
            )
        else:
            self._take_in(await self._ledger.waiting())

    def _take_in(self, waiting: Sequence[Entry]) -> None:
        """Bring what is remembered up to what was written last, and waits for the ledger."""
        for entry in waiting:
            if isinstance(entry, Wanted):
                self._directory.update(entry.node_id, partial(replace, desired_state=entry.desired))

    async def open(self) -> None:
        """Bring every node to its desired state, those of the lowest priority number first."""
        async with asyncio.TaskGroup() as opening:
            for node in self._directory:
                running = self._supervisor.pid_of(node.id) is not None
                if node.desired_state is DesiredState.RUNNING and not running:
                    opening.create_task(self._start_at_opening(node))
                elif node.desired_state is DesiredState.STOPPED and running:
                    opening.create_task(self._supervisor.stop(node.id))

    def _adopt(self, node: Node) -> bool:
        """Take a node back; the local record is fresher than the ledger, which may have been away."""
        recorded = self._supervisor.recorded(node.id)
        if recorded is not None and self._supervisor.adopt(node.id, recorded.pid, recorded.started_at):
            return True
        if node.pid is None or node.pid_started_at is None:
            return False
        return self._supervisor.adopt(node.id, node.pid, node.pid_started_at)

    async def _adopt_by_environment(self, left: Sequence[Node]) -> None:
        """Find bots that wait for no boot document, and began in the moment in which a master died."""
        if not left:
            return
        running = await asyncio.to_thread(find_marked, NODE_ID_VARIABLE)
        for node in left:
            if node.id in running:
                self._supervisor.adopt(node.id, *running[node.id])

    async def _start_at_opening(self, node: Node) -> None:
        """Start one node; its trouble is its own and must not keep the others from starting."""
        try:
            await self._supervisor.start(node.id)
        except FleetError as error:
            log.error("node could not be started", extra={"node": node.name, "why": str(error)})

    def register(self, node: Node) -> None:
        """Make a node known to the supervisor, without starting it."""
        self._supervisor.register(self._launcher.spec(node))

    async def start_wanted(self, node_id: str) -> None:
        """Start a node whose desired state is already written."""
        await self._supervisor.start(node_id)

    def state_of(self, node_id: str) -> str:
        """Return the observed state of a node."""
        return self._supervisor.view(node_id).state.value

    def find(self, name: str) -> Node:
        """Return the node called ``name``.

        Raises
        ------
        NoSuchNode
        """
        return self._directory.find(name)

    def matching(self, fragment: str, *, limit: int = 25) -> list[NodeStatus]:
        """Return nodes for autocompletion."""
        return [self._status_of(node) for node in self._directory.matching(fragment, limit=limit)]

    def choose(self, names: Sequence[str], *, everyone: bool = False) -> list[Node]:
        """Return the nodes that names (or ``all``) mean, in the order of their priority.

        Raises
        ------
        NoSuchNode
            For the first name that no node has; nothing has been done then.
        """
        if everyone:
            return list(self._directory)
        chosen = {node.id: node for node in map(self._directory.find, names)}
        return sorted(chosen.values(), key=lambda node: node.priority)

    async def act(self, actor: Actor, verb: Verb, chosen: Sequence[Node]) -> AsyncIterator[ActionResult]:
        """Do one thing to many nodes at once; yields each result as it comes in.

        Raises
        ------
        NotAuthorised
            Before anything is done.
        """
        pending = [asyncio.create_task(self._act_on(actor, verb, node)) for node in chosen]
        try:
            for finished in asyncio.as_completed(pending):
                yield await finished
        finally:
            # Left early (the caller hung up): what was asked for is still carried out, nothing is left unowned.
            await asyncio.gather(*pending, return_exceptions=True)

    async def _act_on(self, actor: Actor, verb: Verb, node: Node) -> ActionResult:
        try:
            await getattr(self, verb)(actor, node.name)
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
        return ActionResult(node=node.name, ok=True, state=self.state_of(node.id))

    async def start(self, actor: Actor, name: str) -> NodeStatus:
        """Want a node running, and start it now, also out of backoff or quarantine."""
        return await self._do(actor, "start", name, DesiredState.RUNNING, self._supervisor.start)

    async def stop(self, actor: Actor, name: str) -> NodeStatus:
        """Want a node stopped; SIGTERM, then SIGKILL to its group after the grace period."""
        return await self._do(actor, "stop", name, DesiredState.STOPPED, self._supervisor.stop)

    async def restart(self, actor: Actor, name: str) -> NodeStatus:
        """Stop a node and start it again; afterwards it is wanted running."""
        return await self._do(actor, "restart", name, DesiredState.RUNNING, self._supervisor.restart)

    async def kill(self, actor: Actor, name: str) -> NodeStatus:
        """SIGKILL a node's whole process group at once, and want it stopped."""
        return await self._do(actor, "kill", name, DesiredState.STOPPED, self._supervisor.kill)

    async def release(self, actor: Actor, name: str) -> NodeStatus:
        """End a node's backoff or quarantine, and forget its past exits."""
        async with self._auditor.action(actor, "release") as entry:
            node = self._directory.find(name)
            entry.node_id, entry.detail = node.id, node.name
            self._supervisor.release(node.id)
            return self._status_of(node)

    async def clear(self, actor: Actor, name: str) -> NodeStatus:
        """Take a node's flag off."""
        async with self._auditor.action(actor, "clear") as entry:
            node = self._directory.find(name)
            entry.node_id, entry.detail = node.id, f"{node.name}: {node.flag_reason}"
            now = self._clock.now()
            await self._ledger.write_durable(FlagTakenOff(node_id=node.id, at=now))
            self._directory.update(
                node.id, lambda known: replace(known, flagged_at=None, flag_reason="", updated_at=now)
            )
            return self._status_of(self._directory.get(node.id) or node)

    async def _do(
        self, actor: Actor, verb: Verb, name: str, desired: DesiredState, deed: Callable[[str], Awaitable[None]]
    ) -> NodeStatus:
        async with self._auditor.action(actor, verb) as entry:
            node = self._directory.find(name)
            entry.node_id, entry.detail = node.id, node.name
            await self._want(node, desired)
            await deed(node.id)
            return self._status_of(self._directory.get(node.id) or node)

    async def _want(self, node: Node, desired: DesiredState) -> None:
        if node.desired_state is desired:
            return
        now = self._clock.now()
        await self._ledger.write_durable(Wanted(node_id=node.id, desired=desired, at=now))
        self._directory.update(node.id, lambda known: replace(known, desired_state=desired, updated_at=now))

    async def roll(self, actor: Actor, chosen: Sequence[Node], *, width: int) -> AsyncIterator[ActionResult]:
        """Restart nodes a few at a time; halt on the first that does not come back ready, and leave the rest alone.

        Nodes that are stopped are left so.

        Parameters
        ----------
        width
            How many are replaced at the same time.

        Raises
        ------
        NotAuthorised
            Before anything is done.
        """
        waiting = [node for node in chosen if node.desired_state is DesiredState.RUNNING]
        failed = ""
        while waiting and not failed:
            batch, waiting = waiting[:width], waiting[width:]
            for result in await asyncio.gather(*(self._roll_one(actor, node) for node in batch)):
                failed = failed or ("" if result.ok else result.node)
                yield result
        for node in waiting:
            yield ActionResult(
                node=node.name,
                ok=False,
                state=self.state_of(node.id),
                detail=f"left as it is: {failed} did not come back",
                hint=f"`fleet logs {failed}` shows why",
                code="halted",
                exit_code=ExitCode.FAILED,
            )

    async def _roll_one(self, actor: Actor, node: Node) -> ActionResult:
        result = await self._act_on(actor, "restart", node)
        if not result.ok:
            return result
        spawned = self._supervisor.view(node.id).restarts
        timeout_s = self._settings.supervision.ready_timeout_s
        try:
            await self._supervisor.wait_state(node.id, _SETTLED, timeout_s=timeout_s)
        except FleetError as error:
            return replace(result, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)
        view = self._supervisor.view(node.id)
        if view.state is NodeState.READY and view.restarts == spawned:
            return replace(result, state=view.state.value)
        detail = view.last_exit if view.restarts != spawned else (view.detail or view.last_exit)
        return replace(result, ok=False, state=view.state.value, detail=detail, exit_code=ExitCode.FAILED)

    async def history(self, name: str) -> NodeHistoryView:
        """Return what a node used in the last minutes and hours, and read its details now.

        Raises
        ------
        NoSuchNode
        """
        node = self._directory.find(name)
        self._supervisor.watch_closely()
        await self._supervisor.read_details(node.id)
        history = self._supervisor.history(node.id)
        return NodeHistoryView(
            node=self._status_of(node),
            seconds=_series(history.fine),
            minutes=_series(history.coarse),
            week=await self._week_of(node.id),
        )

    async def _week_of(self, node_id: str) -> Series:
        try:
            found = await self._ledger.read(partial(pulse_snapshots.recent, node_id=node_id, limit=_WEEK_OF_SNAPSHOTS))
        except LedgerError as error:
            log.info("a node's week could not be read", extra={"why": error.message})
            return Series(slot_s=SNAPSHOTS_EVERY_S, cpu_percent=(), rss_mb=())
        memory = [row.memory_bytes / 1e6 for row in reversed(found) if row.memory_bytes is not None]
        return Series(slot_s=SNAPSHOTS_EVERY_S, cpu_percent=(), rss_mb=tuple(round(value, 1) for value in memory))

    def log_paths(self, chosen: Sequence[Node]) -> list[LogPaths]:
        """Say where the nodes' output is kept."""
        found = []
        for node in chosen:
            stdout_path, stderr_path = self._logs.paths(node.name)
            found.append(LogPaths(node=node.name, stdout_path=str(stdout_path), stderr_path=str(stderr_path)))
        return found

    async def status(self, *, strays: bool = False) -> FleetStatus:
        """Return the whole fleet; with ``strays``, walk the process table as well."""
        self._supervisor.watch_closely()
        return FleetStatus(
            at=self._clock.now().timestamp(),
            master=self.master_status(),
            nodes=tuple(self._status_of(node) for node in self._directory),
            strays=await self._strays() if strays else (),
        )

    async def _strays(self) -> tuple[StrayStatus, ...]:
        known = {view.pid for view in self._supervisor.snapshot() if view.pid is not None}
        found = await asyncio.to_thread(map_processes, self._settings.identity.bots_base_path, known)
        return tuple(
            StrayStatus(pid=stray.pid, folder=str(stray.folder), command=stray.command, started_at=stray.started_at)
            for stray in found
        )

    def master_status(self) -> MasterStatus:
        """Return the master's own figures."""
        return MasterStatus(
            pid=os.getpid(),
            version=__version__,
            uptime_s=round(self._clock.monotonic() - self._began, 3),
            cpu_percent=self._own_usage.cpu_percent(),
            cpu_seconds=round(self._own_usage.cpu_seconds(), 3),
            rss_bytes=self._own_usage.rss_bytes(),
            discord=self._discord_state(),
            ledger=self._ledger.dialect + (" away" if self._ledger.away is not None else ""),
            merged_bytes=self._merged_bytes(),
            old_keys=self._old_keys(),
            home=str(self._settings.home),
        )

    def _status_of(self, node: Node) -> NodeStatus:
        view = self._supervisor.view(node.id)
        return _merge(node, view)


def _series(ring: Ring) -> Series:
    cpu, rss = ring.read()
    return Series(slot_s=ring.slot_s, cpu_percent=tuple(cpu), rss_mb=tuple(rss))


def _merge(node: Node, view: NodeView) -> NodeStatus:
    return NodeStatus(
        id=node.id,
        name=node.name,
        state=view.state.value,
        desired=node.desired_state.value,
        readiness=node.readiness.value,
        folder=node.folder,
        bot_user_id=str(node.bot_user_id),
        tags=node.tags,
        pid=view.pid,
        uptime_s=view.uptime_s,
        cpu_percent=view.cpu_percent,
        rss_bytes=view.rss_bytes,
        pss_bytes=view.pss_bytes,
        open_files=view.open_files,
        connections=view.connections,
        threads=view.threads,
        restarts=view.restarts,
        last_pulse_s_ago=view.last_pulse_s_ago,
        latency_ms=view.latency_ms,
        guilds=view.guilds,
        version=view.version or node.template_version,
        flag_reason=node.flag_reason,
        last_exit=view.last_exit,
        next_start_in_s=view.next_start_in_s,
        detail=view.detail,
    )
