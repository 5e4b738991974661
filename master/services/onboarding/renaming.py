"""Renaming a node: its folder stays, its logs follow, its history stays with it; it keeps running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection

from master.configuration.node_options import decode_options, encode_options
from master.configuration.settings import Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import Conflict, LedgerUnavailable
from master.ledger.rows import nodes
from master.ledger.rows.records import Node
from master.services.core.auditing import AuditEntry
from master.services.core.directory import NodeDirectory
from master.services.core.errors import NameTaken
from master.services.core.views import RenameView
from master.services.fleet.fleet import Fleet
from master.services.onboarding.file_work import FileWork, FileWorks
from master.services.onboarding.names import check_name
from master.services.onboarding.node_locks import NodeLocks
from master.supervision.clock import Clock
from master.supervision.logs import NodeLogs


class Renaming:
    """Rename nodes."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Ledger,
        directory: NodeDirectory,
        fleet: Fleet,
        logs: NodeLogs,
        works: FileWorks,
        locks: NodeLocks,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._fleet = fleet
        self._logs = logs
        self._works = works
        self._locks = locks
        self._clock = clock

    async def rename(self, entry: AuditEntry, node: Node, new_name: str) -> RenameView:
        """Rename a node; its audit row is committed with it. Its process, if it runs, is not touched.

        Raises
        ------
        NameRefused, NameTaken, LedgerError
            Nothing was changed.
        """
        check_name(new_name)
        async with self._locks.holding(node) as current:
            holder = next((other for other in self._directory if other.name.casefold() == new_name.casefold()), None)
            if new_name == current.name or (holder is not None and holder.id != current.id):
                raise NameTaken(f"a node called {new_name!r} already exists", hint="choose another name")
            entry.detail = f"{current.name} is {new_name}"
            changed, moved = await asyncio.to_thread(self._renamed, current, new_name)
            waiting = self._waiting_for(current, new_name)
            # To its end also when the caller is cut off: what is committed is in memory, too.
            problems = await asyncio.shield(asyncio.ensure_future(self._finish(entry, changed, waiting, moved)))
        return RenameView(
            node=current.name,
            new_name=new_name,
            state=self._fleet.state_of(current.id),
            notes=(*problems, *self._left_in_config(current.name, new_name)),
        )

    def _renamed(self, node: Node, new_name: str) -> tuple[Node, tuple[tuple[str, str], ...]]:
        """Return the node with its new name, and which files follow. Blocks."""
        settings = self._settings()
        options = decode_options(node.options)
        moved = []
        for old_log, new_log in zip(self._logs.paths(node.name), self._logs.paths(new_name), strict=True):
            for path in sorted(old_log.parent.glob(f"{old_log.name}*")):
                moved.append((str(path), str(new_log) + path.name.removeprefix(old_log.name)))
        env_file = options.get("ENV_FILE")
        if isinstance(env_file, str):
            path = settings.home / env_file
            new_path = path.with_name(f"{new_name}.env")
            shared = any(decode_options(other.options).get("ENV_FILE") == env_file for other in self._others(node))
            if path.parent == settings.home / "env" and path.stem == node.name and not (shared or new_path.exists()):
                moved.append((str(path), str(new_path)))
                options["ENV_FILE"] = str(Path(env_file).with_name(new_path.name))
        changed = replace(
            node, name=new_name, options=encode_options(options, settings.home), updated_at=self._clock.now()
        )
        return changed, tuple(moved)

    def _others(self, node: Node) -> list[Node]:
        return [other for other in self._directory if other.id != node.id]

    def _waiting_for(self, node: Node, new_name: str) -> list[Node]:
        """Return the nodes that start after this one, with its new name in their options."""
        found = []
        for other in self._others(node):
            options = decode_options(other.options)
            after = options.get("AFTER", [])
            if node.name.casefold() in map(str.casefold, after):
                options["AFTER"] = [new_name if one.casefold() == node.name.casefold() else one for one in after]
                encoded = encode_options(options, self._settings().home)
                found.append(replace(other, options=encoded, updated_at=self._clock.now()))
        return found

    async def _finish(
        self, entry: AuditEntry, changed: Node, waiting: list[Node], moved: tuple[tuple[str, str], ...]
    ) -> tuple[str, ...]:
        work = FileWork(
            node_id=changed.id,
            expects=("name", changed.name),
            move=moved,
            rename_manifest_in=str(self._settings().identity.bots_base_path / changed.folder),
        )
        await self._works.note(work)

        def write(connection: Connection) -> None:
            for one in (changed, *waiting):
                nodes.change(connection, one)
            entry.append(connection)

        try:
            await self._ledger.write(write)
        except LedgerUnavailable:
            # It may be committed: by its note, the next master sees to that.
            raise
        except FleetError as error:
            await self._works.drop(work)
            if isinstance(error, Conflict):
                raise NameTaken(f"the name {changed.name!r} was taken a moment ago", hint="choose another") from error
            raise
        entry.written = True
        problems = await self._works.finish(work)
        for one in (changed, *waiting):
            self._directory.update(one.id, partial(_take_over, one))
            self._fleet.register(one)
        return problems

    def _left_in_config(self, old: str, new: str) -> tuple[str, ...]:
        settings, name = self._settings(), old.casefold()
        found = []
        if name in settings.nodes:
            found.append(f"NODES in config.py still says {old!r}: change it to {new!r}, then `fleet reload`")
        for other, own in settings.nodes.items():
            if name in map(str.casefold, own.after):
                found.append(f"AFTER of {other!r} in config.py still says {old!r}: change it, then `fleet reload`")
        return tuple(found)


def _take_over(changed: Node, known: Node) -> Node:
    return replace(known, name=changed.name, options=changed.options, updated_at=changed.updated_at)
