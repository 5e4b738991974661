"""Read-only views of the fleet: states, figures, history."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial

from master import __version__
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import pulse_snapshots
from master.ledger.rows.records import Node, ReadinessKind
from master.services.core.directory import NodeDirectory
from master.services.core.views import (
    FleetStatus,
    LogPaths,
    MasterStatus,
    NodeHistoryView,
    NodeStatus,
    Series,
    StrayStatus,
)
from master.services.fleet.pulse_snapshots import EVERY_S as SNAPSHOTS_EVERY_S
from master.supervision.clock import Clock
from master.supervision.history import Ring
from master.supervision.logs import NodeLogs
from master.supervision.own_usage import OwnUsage
from master.supervision.probe import map_processes
from master.supervision.process import ExitReport
from master.supervision.supervisor import NodeView, Supervisor
from master.wording import encodable
from nodekit.exit_codes import NodeExit

log = logging.getLogger(__name__)

_WEEK_OF_SNAPSHOTS = 7 * 24 * 12


class Overview:
    """Build the views of nodes and master.

    Parameters
    ----------
    discord_state
        Returns the state of the master's connection to Discord.
    commands_problem
        Returns why the slash commands are not registered; empty if they are.
    merged_bytes
        Returns the memory saved by merging; None if merging is off.
    old_keys
        Returns how many nodes run with a key of the previous secret; None outside of a rotation.
    isolation
        Returns what isolates the nodes, and which it does not.
    is_revoked
        Tells of a node's id whether its licence is revoked; asked for each node of each status.
    troubles
        Returns what is wrong with the master's own files and ports.
    sentry
        Returns whether the intake for sentry-sdk listens; empty if it is not wanted.
    mailboxes
        Returns the mailboxes that are watched, with their states.
    start_trouble
        Returns why nodes start in another way than they should; empty when they do not.
    box_states
        Returns what is wrong with the box.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        directory: NodeDirectory,
        supervisor: Supervisor,
        logs: NodeLogs,
        clock: Clock,
        discord_state: Callable[[], str],
        commands_problem: Callable[[], str],
        merged_bytes: Callable[[], int | None],
        old_keys: Callable[[], int | None],
        isolation: Callable[[], str],
        is_revoked: Callable[[str], bool],
        troubles: Callable[[], tuple[str, ...]] = lambda: (),
        sentry: Callable[[], str] = str,
        mailboxes: Callable[[], tuple[str, ...]] = lambda: (),
        start_trouble: Callable[[], str],
        box_states: Callable[[], tuple[str, ...]],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._supervisor = supervisor
        self._logs = logs
        self._clock = clock
        self._discord_state = discord_state
        self._commands_problem = commands_problem
        self._merged_bytes = merged_bytes
        self._old_keys = old_keys
        self._isolation = isolation
        self._is_revoked = is_revoked
        self._troubles = troubles
        self._sentry = sentry
        self._mailboxes = mailboxes
        self._start_trouble = start_trouble
        self._box_states = box_states
        self._began = clock.monotonic()
        self._own_usage = OwnUsage()

    def node(self, node: Node) -> NodeStatus:
        """Return the status of one node."""
        view, now = self._supervisor.view(node.id), self._clock.now().timestamp()
        return _merge(node, view, now, licence_revoked=self._is_revoked(node.id))

    def matching(self, fragment: str, *, limit: int = 25) -> list[NodeStatus]:
        """Return nodes for autocompletion."""
        return [self.node(node) for node in self._directory.matching(fragment, limit=limit)]

    async def history(self, name: str) -> NodeHistoryView:
        """Return the usage history of a node, with details read now.

        Raises
        ------
        NoSuchNode
        """
        node = self._directory.find(name)
        self._supervisor.watch_closely()
        await self._supervisor.read_details(node.id)
        history = self._supervisor.history(node.id)
        return NodeHistoryView(
            node=self.node(node),
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
        """Return the nodes' log files."""
        found = []
        for node in chosen:
            stdout_path, stderr_path = self._logs.paths(node.name)
            found.append(LogPaths(node=node.name, stdout_path=str(stdout_path), stderr_path=str(stderr_path)))
        return found

    async def status(self, *, strays: bool = False) -> FleetStatus:
        """Return the status of the fleet; with ``strays``, scan the process table too."""
        self._supervisor.watch_closely()
        return FleetStatus(
            at=self._clock.now().timestamp(),
            master=self.master_status(),
            nodes=tuple(self.node(node) for node in self._directory),
            strays=await self._strays() if strays else (),
        )

    async def _strays(self) -> tuple[StrayStatus, ...]:
        known = {view.pid for view in self._supervisor.snapshot() if view.pid is not None}
        found = await asyncio.to_thread(map_processes, self._settings.identity.bots_base_path, known)
        return tuple(
            StrayStatus(
                pid=stray.pid,
                folder=encodable(str(stray.folder)),
                command=encodable(stray.command),
                started_at=stray.started_at,
            )
            for stray in found
        )

    def master_status(self) -> MasterStatus:
        """Return the master's own figures."""
        connectivity = self._supervisor.connectivity
        lost = connectivity.outage or connectivity.gateway_lost
        discord = self._discord_state()
        if discord == "connecting" and lost is not None:
            discord = "offline"
        elif discord == "ready" and connectivity.gateway_lost is not None:
            # discord.py stays ready once it was.
            discord = "offline"
        return MasterStatus(
            pid=os.getpid(),
            version=__version__,
            uptime_s=round(self._clock.monotonic() - self._began, 3),
            cpu_percent=self._own_usage.cpu_percent(),
            cpu_seconds=round(self._own_usage.cpu_seconds(), 3),
            rss_bytes=self._own_usage.rss_bytes(),
            discord=discord,
            offline_since=None if lost is None else round(lost.since.timestamp(), 3),
            offline_why="" if lost is None else lost.why or "the master is not connected to Discord",
            commands=self._commands_problem(),
            ledger=self._ledger.dialect + (" away" if self._ledger.away is not None else ""),
            merged_bytes=self._merged_bytes(),
            old_keys=self._old_keys(),
            isolation=self._isolation(),
            troubles=self._troubles(),
            sentry=self._sentry(),
            mailboxes=self._mailboxes(),
            start_trouble=self._start_trouble(),
            box=self._box_states(),
            home=str(self._settings.home),
        )


def _series(ring: Ring) -> Series:
    cpu, rss = ring.read()
    return Series(slot_s=ring.slot_s, cpu_percent=tuple(cpu), rss_mb=tuple(rss))


def _merge(node: Node, view: NodeView, now: float, *, licence_revoked: bool) -> NodeStatus:
    return NodeStatus(
        id=node.id,
        name=node.name,
        state=view.state.value,
        offline_since=None if view.offline_for_s is None else round(now - view.offline_for_s, 3),
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
        licence_revoked=licence_revoked,
        last_exit=view.last_exit,
        todo=_todo(node, view),
        next_start_in_s=view.next_start_in_s,
        detail=view.detail,
        cogs_failed=view.cogs_failed,
    )


def _todo(node: Node, view: NodeView) -> str:
    """Return what an operator has to do for a node that no restart can help."""
    has_dead_token = view.last_exit.endswith(str(ExitReport(exit_code=NodeExit.TOKEN)))
    if has_dead_token and view.pid is None and node.readiness is ReadinessKind.HANDSHAKE:
        return f"Discord refuses its token: fleet set-token {node.name}"
    return ""
