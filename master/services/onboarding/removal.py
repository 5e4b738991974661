"""Removing nodes: the process ends, licence and token go, name and bot are free again; history stays in the ledger.

A crash at any step leaves either the node, stopped, or none: what is to become of its files is noted first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msgspec import structs
from sqlalchemy import Connection

from master.configuration.node_options import decode_options
from master.configuration.reading import expanded
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.ledger.errors import LedgerUnavailable
from master.ledger.rows import licences, nodes, tokens
from master.ledger.rows.records import Lifecycle, Node
from master.services.core.auditing import AuditEntry
from master.services.core.directory import NodeDirectory
from master.services.core.errors import FolderRefused
from master.services.core.ledger_cache import LedgerCache
from master.services.core.views import RemovalView
from master.services.fleet.fleet import Fleet
from master.services.fleet.launching import token_variable_of
from master.services.onboarding.coming_back import commands_back
from master.services.onboarding.file_work import FileWork, FileWorks
from master.services.onboarding.node_locks import NodeLocks
from master.supervision.clock import Clock
from master.supervision.logs import NodeLogs
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

Fate = Literal["keep", "archive", "purge"]
_DONE = {"keep": "kept", "archive": "archived", "purge": "purged"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRequest:
    """What is to become of a removed node's files.

    Parameters
    ----------
    fate
        ``keep``: the folder and the logs stay. ``archive``: they go into an archive in the state folder. ``purge``:
        they go, with all else that was the node's.
    foreign_folder
        With ``purge``: remove the folder also if it is not below BOTS_BASE_PATH, or if other nodes use it too.
    """

    fate: Fate = "keep"
    foreign_folder: bool = False


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of one node."""

    folder: Path
    logs: tuple[Path, ...]
    home: Path
    env_file: Path | None
    transient: tuple[Path, ...]
    """Of no use to anybody without the node: its session, its run record, its temporary files."""


class Removal:
    """Remove nodes from the fleet."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Ledger,
        ledger_cache: LedgerCache,
        directory: NodeDirectory,
        fleet: Fleet,
        supervisor: Supervisor,
        logs: NodeLogs,
        works: FileWorks,
        locks: NodeLocks,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._ledger_cache = ledger_cache
        self._directory = directory
        self._fleet = fleet
        self._supervisor = supervisor
        self._logs = logs
        self._works = works
        self._locks = locks
        self._clock = clock

    async def plan(self, node: Node, request: RemovalRequest) -> RemovalView:
        """Return what a removal would do.

        Raises
        ------
        FolderRefused
            The folder is not the node's alone.
        """
        return (await self._look(node, request))[1]

    async def _look(self, node: Node, request: RemovalRequest) -> tuple[_Files, RemovalView]:
        others = [other for other in self._directory if other.id != node.id]

        def look() -> tuple[_Files, RemovalView]:
            files = self._files_of(node, others)
            self._check_folder(node, files.folder, others, request)
            return files, self._view(node, files, request)

        return await asyncio.to_thread(look)

    async def remove(self, entry: AuditEntry, node: Node, request: RemovalRequest) -> RemovalView:
        """Remove a node; its audit row is committed with it.

        Raises
        ------
        NoSuchNode
            It was removed meanwhile.
        FolderRefused, LedgerError
            Nothing was done.
        FilesFailed
            It was stopped, and is still there.
        """
        async with self._locks.holding(node) as current:
            files, planned = await self._look(current, request)
            away = self._ledger.away
            if away is not None:
                raise LedgerUnavailable(f"the ledger is away, so no node can be removed: {away.why}", hint=away.hint)
            entry.detail = f"{current.name}: folder {planned.fate}"
            await self._fleet.stop(current)
            if planned.archive:
                # Imported where it is used: tarfile is 0.15 MB, and nodes are seldom archived.
                from master.services.onboarding.archiving import write_archive

                await asyncio.to_thread(write_archive, Path(planned.archive), _members(current, files))
            work = FileWork(
                node_id=current.id,
                expects=("lifecycle", Lifecycle.REMOVED.value),
                remove=tuple(map(str, (*files.transient, *_gone(files, request)))),
                forget_manifest_in=str(files.folder) if request.fate == "keep" else "",
            )
            # To its end also when the caller is cut off: a node that is half removed would be neither.
            problems = await asyncio.shield(asyncio.ensure_future(self._finish(entry, current, work)))
        return structs.replace(planned, notes=(*problems, *planned.notes))

    async def _finish(self, entry: AuditEntry, node: Node, work: FileWork) -> tuple[str, ...]:
        await self._works.note(work)
        try:
            await self._commit(entry, node)
        except LedgerUnavailable:
            # It may be committed: by its note, the next master sees to that.
            raise
        except BaseException:
            await self._works.drop(work)
            raise
        await asyncio.to_thread(work.hide)
        # Without an await in between: nobody meets a node that is known and not supervised.
        retiring = asyncio.ensure_future(self._supervisor.forget(node.id))
        self._directory.discard(node.id)
        self._ledger_cache.forget(node.id)
        await retiring
        await self._ledger_cache.save()
        return await self._works.finish(work)

    async def _commit(self, entry: AuditEntry, node: Node) -> None:
        now = self._clock.now()

        def write(connection: Connection) -> None:
            nodes.mark_removed(connection, node.id, host=node.host, at=now)
            tokens.delete(connection, node.id)
            licences.revoke_of_node(connection, node.id)
            entry.append(connection)

        await self._ledger.write(write)
        entry.written = True

    def _files_of(self, node: Node, others: Sequence[Node]) -> _Files:
        settings = self._settings()
        path = _env_file_of(node, settings)
        is_ours = path is not None and path.parent.resolve() == settings.environments_dir.resolve()
        used = [_env_file_of(other, settings) for other in others]
        used += [own.env_file for name, own in settings.nodes.items() if name != node.name.casefold()]
        is_shared = path is not None and any(other is not None and other.resolve() == path.resolve() for other in used)
        logs = [found for log in self._logs.paths(node.name) for found in log.parent.glob(f"{log.name}*")]
        return _Files(
            folder=settings.identity.bots_base_path / node.folder,
            logs=tuple(sorted(logs)),
            home=settings.homes_dir / node.id,
            env_file=path if is_ours and not is_shared else None,
            transient=tuple(
                folder / node.id
                for folder in (settings.sessions_dir, settings.runs_dir, settings.temporary_dir, settings.packages_dir)
            ),
        )

    def _check_folder(self, node: Node, folder: Path, others: Sequence[Node], request: RemovalRequest) -> None:
        """Check that a folder that goes is the node's alone.

        Raises
        ------
        FolderRefused
        """
        if request.fate == "keep":
            return
        settings, real = self._settings(), folder.resolve()
        base = settings.identity.bots_base_path.resolve()
        precious = (settings.home, settings.state_dir, base, settings.identity.template_path, Path.home())
        if any(path.resolve().is_relative_to(real) for path in precious):
            raise FolderRefused(
                f"the folder of {node.name}, {folder}, holds more than a bot", hint="--keep-folder leaves it as it is"
            )
        sharing = [other.name for other in others if (base / other.folder).resolve().is_relative_to(real)]
        why = f"it is also the folder of {', '.join(sharing)}" if sharing else ""
        if not why and not real.is_relative_to(base):
            why = "it is not below BOTS_BASE_PATH"
        if why and not (request.fate == "purge" and request.foreign_folder):
            raise FolderRefused(
                f"the folder of {node.name}, {folder}, is not removed: {why}",
                hint="--keep-folder leaves it as it is; --purge --foreign-folder removes it all the same",
            )

    def _view(self, node: Node, files: _Files, request: RemovalRequest) -> RemovalView:
        stamp = f"{self._clock.now():%Y%m%d-%H%M%S}"
        archive = self._settings().removed_dir / f"{node.name}-{stamp}.tar.gz"
        notes = self._left_in_config(node)
        if request.fate == "keep" and files.home.is_dir() and any(files.home.iterdir()):
            notes = (f"what it kept in its home stays: {files.home}", *notes)
        return RemovalView(
            node=node.name,
            ok=True,
            folder=str(files.folder),
            fate=_DONE[request.fate],
            archive=str(archive) if request.fate == "archive" else "",
            gone=tuple(str(path) for path in _gone(files, request) if path.exists() or path.is_symlink()),
            back=self._commands_back(node, files.folder) if request.fate == "keep" else (),
            notes=notes,
        )

    def _commands_back(self, node: Node, folder: Path) -> tuple[str, ...]:
        return commands_back(node, folder, self._settings().home, token_variable_of(folder))

    def _left_in_config(self, node: Node) -> tuple[str, ...]:
        settings, name = self._settings(), node.name.casefold()
        found = [f"NODES in config.py still has {node.name!r}"] if name in settings.nodes else []
        waiting = [other for other, own in settings.nodes.items() if name in map(str.casefold, own.after)]
        found += [f"AFTER of {other!r} in config.py still names {node.name!r}" for other in waiting]
        return tuple(found)


def _env_file_of(node: Node, settings: Settings) -> Path | None:
    env_file = decode_options(node.options).get("ENV_FILE")
    return settings.home / expanded(env_file) if isinstance(env_file, str) else None


def _gone(files: _Files, request: RemovalRequest) -> list[Path]:
    """Return what goes with the node, beside what is of no use without it.

    Never the count of its IDENTIFYs: Discord goes on counting for the bot, which may be registered again today.
    """
    if request.fate == "keep":
        return []
    found = [files.folder, *files.logs, files.home]
    if files.env_file is not None:
        found.append(files.env_file)
    return found


def _members(node: Node, files: _Files) -> dict[str, Path]:
    """Return what goes into a node's archive, by its name there."""
    found = {node.name: files.folder, "home": files.home}
    found.update({f"logs/{path.name}": path for path in files.logs})
    if files.env_file is not None:
        found[f"env/{files.env_file.name}"] = files.env_file
    return found
