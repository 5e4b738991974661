"""``describe`` and ``why``: all that is known of one node, with a master or without."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from master.configuration.node_options import OptionsRefused, settings_of
from master.configuration.settings import NodeSettings, Settings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import (
    audit,
    error_events,
    handshake_events,
    licences,
    nodes,
    patch_nodes,
    patches,
    process_events,
    solution_runs,
)
from master.ledger.rows.records import ErrorEvent, Licence, Node, ReadinessKind
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import DiscordPort
from master.services.core.errors import DiscordPortError, NoSuchNode
from master.services.core.exit_meaning import explain_exit
from master.services.core.telling_views import (
    UNWATCHED,
    ErrorView,
    ExitView,
    LicenceView,
    NodeDescription,
    NodeTimeline,
    PathsView,
)
from master.services.core.views import NodeStatus
from master.services.fleet.launching import node_environment
from master.services.fleet.overview import Overview
from master.services.fleet.program import program_of
from master.services.onboarding.identity import invite_url
from master.services.upkeep.conclusion import conclude, with_repairs
from master.services.upkeep.settings_in_force import settings_in_force
from master.services.upkeep.timeline import EXIT_SOURCE, NodeRows, build_timeline, errors_to_show, report_of, words_of
from master.supervision.clock import Clock
from master.supervision.errors import FileMissing
from master.supervision.logs import NodeLogs
from master.supervision.process import is_process
from master.supervision.run_records import RunRecords
from master.wording import encodable

log = logging.getLogger(__name__)

MOST_ROWS = 2_000
"""Rows of one kind that are read of a node."""
MOST_ENTRIES = 200
_ERRORS, _LINES, _REPAIRS = 3, 10, 20
_NAME_TIMEOUT_S = 2.0


class LiveNodes(Protocol):
    """What a running master knows of its nodes."""

    def find(self, name: str) -> Node:
        """Return the node with this name or id; raises ``NoSuchNode``."""
        ...

    def node(self, node: Node) -> NodeStatus:
        """Return the status of one node."""
        ...

    async def bot_name(self, user_id: int) -> str:
        """Return a bot's name at Discord; raises ``DiscordPortError``, and is empty without a connection."""
        ...


class MasterNodes:
    """What this master knows of its nodes: its directory, its supervisor, and Discord."""

    def __init__(self, directory: NodeDirectory, overview: Overview, discord: DiscordPort | None) -> None:
        self._discord = discord
        self.find = directory.find
        self.node = overview.node

    async def bot_name(self, user_id: int) -> str:
        """Return a bot's name at Discord."""
        return "" if self._discord is None else await self._discord.user_name(user_id)


class Telling:
    """Describe a node, and say why it is as it is.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    live
        None without a master: then only what is on disk is known.
    """

    def __init__(self, settings: Callable[[], Settings], ledger: Ledger, clock: Clock, live: LiveNodes | None) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock
        self._live = live
        self._bot_names: dict[int, str] = {}

    async def describe(self, name: str) -> NodeDescription:
        """Return all that is known of a node.

        Raises
        ------
        NoSuchNode
        LedgerError
            Without a master, the ledger cannot be read.
        """
        node = await self._find(name)
        settings = self._settings()
        status = self._status(node)
        rows, trouble = await self._read(partial(_few_rows, node_id=node.id))
        own, wrong = _own_settings(settings, node)
        limits = settings.limits_of(own)
        paths = self._paths(settings, node, own)
        command, missing = await asyncio.to_thread(_command_of, node, own, Path(paths.folder))
        return NodeDescription(
            at=self._clock.now().timestamp(),
            status=status,
            has_master=self._live is not None,
            state_since=rows.processes[0].at.timestamp() if rows.processes else None,
            bot_name=await self._bot_name(node.bot_user_id),
            invite_url=invite_url(node.bot_user_id) if node.bot_user_id else "",
            licence=_licence_view(rows.licence),
            registered_at=node.created_at.timestamp(),
            command=command,
            last_exit=_last_exit(node, rows),
            errors=tuple(_error_view(row) for row in _newest_of_each(rows.errors)[:_ERRORS]),
            memory_limit_bytes=limits.memory_limit_bytes,
            memory_hard_limit_bytes=limits.memory_hard_limit_bytes,
            open_files_limit=limits.open_files_limit,
            cpu_weight=limits.cpu_weight,
            release=rows.release,
            paths=paths,
            settings=settings_in_force(settings, node),
            lines=tuple(await asyncio.to_thread(_logs_of(settings).tail, node.name, lines=_LINES)),
            trouble="; ".join(part for part in (trouble, wrong, missing) if part),
        )

    async def explain(self, name: str, *, since: float) -> NodeTimeline:
        """Return what happened to a node, and what is the matter with it now.

        Parameters
        ----------
        since
            Unix time in seconds.

        Raises
        ------
        NoSuchNode
        LedgerError
            Without a master, the ledger cannot be read.
        """
        node = await self._find(name)
        rows, trouble = await self._read(partial(_rows, node_id=node.id))
        entries = build_timeline(node.name, rows, speaks=node.readiness is ReadinessKind.HANDSHAKE)
        status, now = self._status(node), self._clock.now().timestamp()
        matter, todo = conclude(status, entries, now, has_master=self._live is not None)
        todo = with_repairs(todo, rows.repairs, now)
        shown = [entry for entry in entries if entry.at >= since]
        return NodeTimeline(
            node=node.name,
            at=now,
            since=since,
            state=status.state,
            entries=tuple(shown[-MOST_ENTRIES:]),
            left_out=max(len(shown) - MOST_ENTRIES, 0),
            matter=matter,
            todo=todo,
            trouble=trouble,
        )

    async def _find(self, name: str) -> Node:
        if self._live is not None:
            return self._live.find(name)
        found = await self._ledger.read(lambda connection: nodes.find_by_name(connection, name))
        if found is None:
            raise NoSuchNode(f"there is no node called {name[:60]!r}", hint="`fleet ledger status` counts the nodes")
        return found

    async def _read(self, query: Callable[[Connection], NodeRows]) -> tuple[NodeRows, str]:
        """Read from the ledger; with a master, one that is away costs the history alone."""
        try:
            return await self._ledger.read(query), ""
        except LedgerError as error:
            if self._live is None:
                raise
            log.info("a node's history could not be read", extra={"why": error.message})
            return NodeRows(), f"its history cannot be read: {error.message}"

    def _status(self, node: Node) -> NodeStatus:
        if self._live is not None:
            return self._live.node(node)
        settings = self._settings()
        record = RunRecords(settings.runs_dir).read(node.id)
        folder = settings.identity.bots_base_path / node.folder
        runs = record is not None and is_process(record.pid, record.started_at, folder, node.id)
        return NodeStatus(
            id=node.id,
            name=node.name,
            state=UNWATCHED if runs else "stopped",
            desired=node.desired_state.value,
            readiness=node.readiness.value,
            folder=node.folder,
            bot_user_id=str(node.bot_user_id),
            tags=node.tags,
            pid=record.pid if runs and record is not None else None,
            version=node.template_version,
            flag_reason=node.flag_reason,
        )

    async def _bot_name(self, user_id: int) -> str:
        """Return a bot's name at Discord, asked once; empty if that takes too long."""
        if self._live is None or not user_id:
            return ""
        if user_id not in self._bot_names:
            with contextlib.suppress(DiscordPortError, TimeoutError):
                async with asyncio.timeout(_NAME_TIMEOUT_S):
                    if found := await self._live.bot_name(user_id):
                        self._bot_names[user_id] = found
        return self._bot_names.get(user_id, "")

    def _paths(self, settings: Settings, node: Node, own: NodeSettings) -> PathsView:
        folder = settings.identity.bots_base_path / node.folder
        stdout_path, stderr_path = _logs_of(settings).paths(node.name)
        environment = next((folder / name for name in (".venv", "venv") if (folder / name / "bin").is_dir()), None)
        return PathsView(
            folder=encodable(str(folder)),
            entry=encodable(str(folder / node.entry)),
            stdout=str(stdout_path),
            stderr=str(stderr_path),
            environment="" if environment is None else encodable(str(environment)),
            env_file="" if own.env_file is None else encodable(str(own.env_file)),
        )


def _rows(connection: Connection, *, node_id: str) -> NodeRows:
    return NodeRows(
        processes=process_events.recent(connection, node_id, limit=MOST_ROWS),
        errors=error_events.recent(connection, node_id=node_id, limit=MOST_ROWS),
        messages=handshake_events.recent(connection, node_id=node_id, limit=MOST_ROWS),
        actions=audit.search(connection, limit=MOST_ROWS, node_ids=(node_id,)),
        repairs=solution_runs.recent(connection, node_id=node_id, limit=_REPAIRS),
    )


def _few_rows(connection: Connection, *, node_id: str) -> NodeRows:
    processes = process_events.recent(connection, node_id, limit=_ERRORS * 20)
    errors = error_events.recent(connection, node_id=node_id, limit=_ERRORS * 20)
    return NodeRows(
        processes=processes,
        errors=errors,
        licence=licences.newest_of_node(connection, node_id),
        release=_release(connection, node_id),
    )


def _release(connection: Connection, node_id: str) -> str:
    """Return which patch a node runs, in words; empty if none."""
    held = [row for row in patch_nodes.of_node(connection, node_id) if row.state in patch_nodes.HELD]
    newest = max(held, key=lambda row: row.changed_at, default=None)
    patch = None if newest is None else patches.get(connection, newest.patch_id)
    if newest is None or patch is None:
        return ""
    state = "good" if newest.state == "good" else f"{newest.state}, not good yet"
    number = f"release {newest.release_after}, " if newest.release_after else ""
    return f"{patch.name} {patch.version} ({number}{state})"


def _last_exit(node: Node, rows: NodeRows) -> ExitView | None:
    ended = next((row for row in rows.processes if row.kind in ("exited", "stopped", "killed")), None)
    if ended is None:
        return None
    meaning = explain_exit(
        node.name,
        report_of(ended),
        detail=ended.detail,
        kind=ended.kind,
        lines=words_of(ended, rows.errors),
        speaks=node.readiness is ReadinessKind.HANDSHAKE,
    )
    return ExitView(at=ended.at.timestamp(), text=meaning.text, todo=meaning.todo)


def _newest_of_each(errors: Sequence[ErrorEvent]) -> list[ErrorEvent]:
    """Return the newest row of each error, those of exits for what was seen in the log too."""
    found = dict[str, ErrorEvent]()
    for row in [*errors_to_show(errors), *(row for row in errors if row.source == EXIT_SOURCE)]:
        known = found.get(row.fingerprint)
        if known is None or (known.last_at or known.at) < (row.last_at or row.at):
            found[row.fingerprint] = row
    return sorted(found.values(), key=lambda row: row.last_at or row.at, reverse=True)


def _error_view(row: ErrorEvent) -> ErrorView:
    last_at = (row.last_at or row.at).timestamp()
    return ErrorView(last_at=last_at, summary=row.summary, count=row.count, fingerprint=row.fingerprint)


def _licence_view(licence: Licence | None) -> LicenceView | None:
    if licence is None:
        return None
    return LicenceView(
        tier=licence.tier,
        state=licence.state.value,
        issued_at=licence.issued_at.timestamp(),
        expires_at=None if licence.expires_at is None else licence.expires_at.timestamp(),
    )


def _own_settings(settings: Settings, node: Node) -> tuple[NodeSettings, str]:
    try:
        return settings_of(settings, node.name, node.options), ""
    except OptionsRefused as error:
        return settings.node(node.name), f"what it was registered with is not valid: {error.message}"


def _command_of(node: Node, own: NodeSettings, folder: Path) -> tuple[str, str]:
    """Return the command line that starts a node, and why it could not be started; blocks."""
    try:
        program = program_of(folder, node.entry, own, node_environment(os.environ))
    except FileMissing as error:
        return own.command or node.entry, f"{error.message}: {error.hint}" if error.hint else error.message
    return encodable(shlex.join(program.command)), ""


def _logs_of(settings: Settings) -> NodeLogs:
    supervision = settings.supervision
    return NodeLogs(settings.logs_dir, max_bytes=supervision.log_max_bytes, files=supervision.log_files)
