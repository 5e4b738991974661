"""Changing what a node was registered with: its entry, folder, tags, priority, limits and other options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.manifest import MANIFEST_NAME, ManifestError, read_manifest, write_manifest
from master.configuration.node_options import decode_options, encode_options, require_closed, settings_of
from master.configuration.settings import NodeLimits, NodeSettings, Settings
from master.errors import FleetError
from master.ledger.database import Ledger
from master.ledger.errors import LedgerUnavailable
from master.ledger.rows import nodes
from master.ledger.rows.records import DesiredState, Node, ReadinessKind
from master.services.core.auditing import AuditEntry
from master.services.core.directory import NodeDirectory
from master.services.core.errors import FilesFailed, FolderRefused, LinkRefused
from master.services.core.views import ChangeView, EditView, OptionsView, OptionView
from master.services.fleet.fleet import Fleet
from master.services.onboarding.file_work import FileWork, FileWorks
from master.services.onboarding.folders import require_entry
from master.services.onboarding.manifests import change_manifest, manifest_of
from master.services.onboarding.names import check_tags, place_of
from master.services.onboarding.node_locks import NodeLocks
from master.services.onboarding.option_texts import FIELDS, PRIORITY, field_of, read_option, shown_value
from master.services.trust.revocation import Revocation
from master.supervision.clock import Clock
from master.supervision.supervisor import Supervisor

_DEFAULT_PRIORITY = 100
_AT_ONCE = frozenset({"TAGS", PRIORITY, "AFTER", "MEMORY_LIMIT_BYTES"})
"""What holds for a running node; the rest does from its next start on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """What to change; None leaves it as it is.

    Parameters
    ----------
    options
        By the keys of NODES, as text; None takes one away.
    restart
        Restart the node if it should run and anything was changed.
    """

    entry: str | None = None
    folder: str | None = None
    tags: tuple[str, ...] | None = None
    priority: int | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)
    restart: bool = False


class Editing:
    """Change nodes, and show what can be changed."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        ledger: Ledger,
        directory: NodeDirectory,
        fleet: Fleet,
        supervisor: Supervisor,
        revocation: Revocation,
        works: FileWorks,
        locks: NodeLocks,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._directory = directory
        self._fleet = fleet
        self._supervisor = supervisor
        self._revocation = revocation
        self._works = works
        self._locks = locks
        self._clock = clock

    def options(self, node: Node) -> OptionsView:
        """Return what can be set of a node, and what is.

        Raises
        ------
        OptionsRefused
            What the ledger has is not valid.
        """
        return OptionsView(node=node.name, options=tuple(self._options(node).values()))

    def _options(self, node: Node) -> dict[str, OptionView]:
        settings = self._settings()
        own, said = settings_of(settings, node.name, node.options), settings.node(node.name)
        stored, unset = decode_options(node.options), NodeSettings()
        found = {
            key: OptionView(key=key, value=value, source="node", effect=_effect_of(key), how=how)
            for key, value, how in (
                ("ENTRY", node.entry, "--entry FILE"),
                ("FOLDER", node.folder, "--folder FOLDER"),
                ("TAGS", ", ".join(node.tags), "--tag TAG, --no-tags"),
                (PRIORITY, str(node.priority if own.priority is None else own.priority), "--priority NUMBER"),
            )
        }
        if said.priority is not None:
            found[PRIORITY] = replace(found[PRIORITY], source="config.py")
        for key, known in FIELDS.items():
            if key == PRIORITY:
                continue
            value, source = getattr(own, known.name), "node" if key in stored else "default"
            if getattr(said, known.name) != getattr(unset, known.name):
                source = "config.py"
            if value is None and known.name in (*NodeLimits.__struct_fields__, "isolated"):
                value, source = getattr(settings.supervision, known.name), "fleet"
            found[key] = OptionView(
                key=key,
                value=shown_value(key, value),
                source=source,
                effect=_effect_of(key),
                how="in config.py" if key == "ENV" else f"--set {key}=VALUE",
            )
        return found

    async def edit(self, entry: AuditEntry, node: Node, request: EditRequest) -> EditView:
        """Change a node; its audit row is committed with it.

        Raises
        ------
        FleetError
            What was asked for is not valid: nothing was changed.
        """
        async with self._locks.holding(node) as current:
            before = self._options(current)
            changed, folder = await self._changed(current, request)
            notes = await self._fleet.check_program(changed) if _program(changed) != _program(current) else []
            after = self._options(changed)
            changes = self._changes(before, after, _stored_differently(current, changed))
            entry.detail = f"{current.name}: {', '.join(f'{one.key}={one.after}' for one in changes) or 'unchanged'}"
            if changed != current:
                # To its end also when the caller is cut off: what is committed is in memory, too.
                notes += await asyncio.shield(asyncio.ensure_future(self._finish(entry, current, changed, folder)))
            effective = any(one.effect != "never" for one in changes)
            restarted, trouble = await self._restart(changed) if request.restart and effective else (False, ())
        overruled = [one.key for one in changes if one.effect == "never"]
        if overruled:
            notes.append(f"NODES in config.py says otherwise, and wins: {', '.join(overruled)}")
        return EditView(
            node=changed.name,
            changes=tuple(changes),
            restarted=restarted,
            state=self._fleet.state_of(changed.id),
            notes=(*notes, *trouble),
        )

    async def _changed(self, node: Node, request: EditRequest) -> tuple[Node, Path | None]:
        """Return the node as it is to be, and its new folder if that changes.

        Raises
        ------
        FleetError
        """
        settings = self._settings()
        options, priority = decode_options(node.options), request.priority
        for name, text in request.options.items():
            known = field_of(name)
            if known.key == PRIORITY:
                priority = priority if text is None else read_option(known, text)
                priority = _DEFAULT_PRIORITY if text is None else priority
            options[known.key] = None if text is None else read_option(known, text)
        if priority is not None:
            # Checked as the option that it is, and kept in its column.
            encode_options({PRIORITY: priority}, settings.home)
            options.pop(PRIORITY, None)
        folder, stored = None, node.folder
        if request.folder is not None:
            folder, stored = place_of(
                settings.identity.bots_base_path, request.folder, settings.private_paths, settings.secret_paths
            )
        changed = replace(
            node,
            entry=node.entry if request.entry is None else request.entry,
            folder=stored,
            tags=node.tags if request.tags is None else check_tags(request.tags),
            priority=node.priority if priority is None else priority,
            options=encode_options(options, settings.home),
        )
        await asyncio.to_thread(self._check_program, node, changed)
        if changed == node:
            return node, None
        return replace(changed, updated_at=self._clock.now()), folder if stored != node.folder else None

    def _check_program(self, node: Node, changed: Node) -> None:
        """Check that the node's program is where it is said to be. Blocks.

        Raises
        ------
        OptionsRefused, FolderRefused, LinkRefused
        """
        own = settings_of(self._settings(), changed.name, changed.options)
        require_closed(self._settings(), own)
        if own.ready_when and changed.readiness is ReadinessKind.HANDSHAKE:
            raise LinkRefused(
                "a node that speaks the protocol says itself when it is ready", hint="READY_WHEN is for other programs"
            )
        moved = changed.folder != node.folder
        if (moved or changed.entry != node.entry) and not own.command:
            require_entry(self._settings().identity.bots_base_path / changed.folder, changed.entry)

    def _changes(
        self, before: Mapping[str, OptionView], after: Mapping[str, OptionView], stored: frozenset[str]
    ) -> list[ChangeView]:
        found = []
        for key, now in after.items():
            if before[key].value != now.value:
                found.append(ChangeView(key=key, before=before[key].value, after=now.value, effect=now.effect))
            elif key in stored and now.source == "config.py":
                found.append(ChangeView(key=key, before=before[key].value, after=now.value, effect="never"))
        return found

    async def _work(self, node: Node, changed: Node, folder: Path | None) -> FileWork | None:
        """Prepare what has to follow the change in the node's folders; None if nothing has to.

        Raises
        ------
        FolderRefused, FilesFailed
        """
        base = self._settings().identity.bots_base_path
        old = base / node.folder
        if folder is None or changed.readiness is not ReadinessKind.HANDSHAKE:
            return None
        if not await asyncio.to_thread(self._needs_manifest, node, old, folder):
            return None
        work = FileWork(
            node_id=node.id,
            expects=("folder", changed.folder),
            forget_manifest_in=str(old),
            undo_manifest_in=str(folder),
        )
        await self._works.note(work)
        try:
            await asyncio.to_thread(_copy_manifest, node, old, folder)
        except OSError as error:
            await self._works.drop(work)
            raise FilesFailed(
                f"{folder / MANIFEST_NAME} could not be written: {error.strerror or error}",
                hint="make the folder writable for the master",
            ) from error
        return work

    def _needs_manifest(self, node: Node, old: Path, folder: Path) -> bool:
        """Tell whether the manifest has to be carried over into another folder. Blocks.

        Raises
        ------
        FolderRefused
            It is another node's folder, or the manifest is in neither.
        """
        try:
            found = read_manifest(folder)
        except ManifestError:
            found = None
        if found is not None and found.node_id == node.id:
            return False
        holder = None if found is None else self._directory.get(found.node_id)
        if holder is not None:
            raise FolderRefused(
                f"the folder {folder.name!r} belongs to the node {holder.name!r}", hint="choose another folder"
            )
        if manifest_of(old, node.id) is None:
            raise FolderRefused(
                f"there is no {MANIFEST_NAME} of {node.name}, neither in {old} nor in {folder}",
                hint=f"put it there from a backup; or `fleet remove {node.name}`, and register the folder again",
            )
        return True

    async def _finish(self, entry: AuditEntry, node: Node, changed: Node, folder: Path | None) -> list[str]:
        work = await self._work(node, changed, folder)

        def write(connection: Connection) -> None:
            nodes.change(connection, changed)
            entry.append(connection)

        try:
            await self._ledger.write(write)
        except LedgerUnavailable:
            # It may be committed: by its note, the next master sees to that.
            raise
        except FleetError:
            if work is not None:
                await self._works.drop(work)
            raise
        entry.written = True
        self._directory.update(
            changed.id,
            lambda known: replace(
                known,
                entry=changed.entry,
                folder=changed.folder,
                tags=changed.tags,
                priority=changed.priority,
                options=changed.options,
                updated_at=changed.updated_at,
            ),
        )
        self._fleet.register(changed)
        problems = [] if work is None else list(await self._works.finish(work))
        place = self._settings().identity.bots_base_path / changed.folder
        try:
            await asyncio.to_thread(
                change_manifest, place, changed.id, entry=changed.entry or "bot.py", tags=changed.tags
            )
        except OSError as error:
            problems.append(f"{MANIFEST_NAME} could not be changed: {error.strerror or error}")
        return problems

    async def _restart(self, node: Node) -> tuple[bool, tuple[str, ...]]:
        """Restart a node that should run; returns whether it was, and what the operator has to know."""
        current = self._directory.get(node.id)
        if current is None or current.desired_state is not DesiredState.RUNNING:
            return False, (f"it is stopped: `fleet start {node.name}` starts it",)
        try:
            await self._revocation.require_licence(node)
            await self._supervisor.restart(node.id)
        except FleetError as error:
            return False, (f"it did not start: {error.message}" + (f" ({error.hint})" if error.hint else ""),)
        return True, ()


def _effect_of(key: str) -> str:
    known = FIELDS.get(key)
    return "now" if key in _AT_ONCE or (known is not None and known.effect == "now") else "node start"


def _program(node: Node) -> tuple[str, str, str]:
    return node.folder, node.entry, node.options


def _stored_differently(node: Node, changed: Node) -> frozenset[str]:
    """Return the keys of NODES that the ledger has otherwise than before."""
    before, after = decode_options(node.options), decode_options(changed.options)
    found = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    return frozenset(found | ({PRIORITY} if node.priority != changed.priority else set()))


def _copy_manifest(node: Node, old: Path, folder: Path) -> None:
    manifest = manifest_of(old, node.id)
    if manifest is not None:
        write_manifest(folder, manifest)
