"""Note what becomes of nodes, the template, patches and solutions: a signed generation for each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.patch_document import PatchDocument
from master.bus import EventBus
from master.errors import FleetError
from master.events import Event, NodeAdded, NodePatched, PatchChanged, SolutionChanged
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows import duplications, generations, nodes, patch_nodes, patches, solution_versions
from master.ledger.rows.generations import Kind
from master.ledger.rows.patch_nodes import HELD
from master.ledger.rows.records import Generation, Node
from master.services.patches.code_files import Code, is_code, read_code
from master.services.patches.manifest import Manifest, ManifestSigner, read_manifest
from master.services.patches.showing import document_of
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

TEMPLATE = "template"
"""The one subject of its kind."""
_WENT_BACK = ("rolled_back", "failed")
_VERSION = "VERSION"
_EVENTS = 2_000
_TEXT = 400


class _Change(NamedTuple):
    """What is to be noted."""

    kind: Kind
    subject: str
    cause: str
    name: str = ""
    version: str = ""
    actor: str = ""
    detail: str = ""
    origin: str = ""
    parent: str = ""
    release: int = 0
    depends_on: tuple[str, ...] = ()
    permissions: Mapping[str, str] = {}
    code: Code = Code(files={})


class LineageKeeper:
    """Keep the lineage.

    Parameters
    ----------
    folder_of
        Returns a node's folder.
    permissions_of
        Returns what a node may do, in words.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        bus: EventBus,
        clock: Clock,
        signer: ManifestSigner,
        template: Path,
        folder_of: Callable[[Node], Path],
        permissions_of: Callable[[Node], dict[str, str]],
    ) -> None:
        self._ledger, self._bus, self._clock, self._signer = ledger, bus, clock, signer
        self._template, self._folder_of, self._permissions_of = template, folder_of, permissions_of
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Note what was missed while no master ran, then what happens, until cancelled."""
        with self._bus.subscribe(NodeAdded, NodePatched, PatchChanged, SolutionChanged, capacity=_EVENTS) as events:
            await self._trying(self.catch_up())
            async for event in events:
                await self._trying(self.take(event))

    async def _trying(self, work: Awaitable[None]) -> None:
        """Note something; what the ledger does not take now is noted by the next master that finds it missing."""
        try:
            await work
        except FleetError as error:
            log.warning("lineage: a change is not noted", extra={"why": error.message})

    async def catch_up(self) -> None:
        """Note what is not on record yet: nodes that were there before, patches that no master saw come in force.

        Raises
        ------
        LedgerError
        """
        active, known = await self._ledger.read(lambda c: (nodes.list_active(c), generations.known_subjects(c, "node")))
        for node in active:
            if node.id not in known:
                await self.note_added(node.id)
            await self._catch_up_patches(node.id)

    async def _catch_up_patches(self, node_id: str) -> None:
        rows = await self._ledger.read(lambda connection: patch_nodes.of_node(connection, node_id))
        told = [row for row in rows if row.state in (*HELD, *_WENT_BACK)]
        if told:
            newest = max(told, key=lambda row: row.changed_at)
            await self.note_patched(node_id, newest.patch_id, newest.state)

    async def take(self, event: Event) -> None:
        """Note what an event tells.

        Raises
        ------
        LedgerError
        """
        match event:
            case NodeAdded():
                await self.note_added(event.node_id)
            case NodePatched(state="applied" | "healthy" | "good" | "rolled_back" | "failed"):
                await self.note_patched(event.node_id, event.patch_id, event.state)
            case PatchChanged(state="received"):
                await self._note_patch(event.patch_id, event.actor)
            case SolutionChanged():
                await self._note_solution(event.solution)

    # Nodes

    async def note_added(self, node_id: str) -> None:
        """Note a node that was registered or cloned, unless there is a generation of it."""

        def read(connection: Connection) -> tuple[Node | None, str, Generation | None]:
            known = generations.newest(connection, "node", node_id)
            return nodes.get(connection, node_id), duplications.source_of(connection, node_id), known

        node, source, known = await self._ledger.read(read)
        if node is None or known is not None:
            return
        parent = await self._source_of(source) if source else None
        await self._note(
            _Change(
                kind="node",
                subject=node_id,
                cause="cloned" if source else "registered",
                name=node.name,
                version=source,
                parent="" if parent is None else parent.id,
                permissions=self._permissions_of(node),
                code=await self._code_of(self._folder_of(node)),
            )
        )

    async def _source_of(self, source: str) -> Generation | None:
        """Return the newest generation of what a node was cloned from."""
        if source.startswith(TEMPLATE):
            return await self.note_template()

        def read(connection: Connection) -> Generation | None:
            node = nodes.find_by_name(connection, source)
            return None if node is None else generations.newest(connection, "node", node.id)

        return await self._ledger.read(read)

    async def note_patched(self, node_id: str, patch_id: str, state: str) -> None:
        """Note that a node runs a patch, or that it went back; what is on record already is not noted again."""

        def read(connection: Connection) -> tuple[Node | None, PatchDocument | None, list[Generation], int]:
            patch = patches.get(connection, patch_id)
            rows = [row for row in patch_nodes.of_node(connection, node_id) if row.patch_id == patch_id]
            release = (rows[0].release_after or 0) if rows else 0
            known = generations.of_subject(connection, "node", node_id)
            return nodes.get(connection, node_id), None if patch is None else document_of(patch), known, release

        node, document, known, release = await self._ledger.read(read)
        last = next((one for one in known if read_manifest(one).origin == patch_id), None)
        has_it = last is not None and last.cause == "patched"
        if node is None or document is None or has_it == (state in HELD):
            return
        code = await self._code_of(self._folder_of(node))
        change = _Change(
            kind="node",
            subject=node_id,
            cause="patched" if state in HELD else "rolled_back",
            name=node.name,
            version=f"{document.name} {document.version}",
            detail=document.note.partition("\n")[0] if state in HELD else "",
            origin=patch_id,
            release=release,
            depends_on=document.depends_on,
            permissions=self._permissions_of(node),
            code=code,
        )
        if state in HELD and known:
            await self._note_edit(node, known[0], before_patch(code, document))
        await self._note(change)

    async def _note_edit(self, node: Node, newest: Generation, was: Code) -> None:
        """Note what somebody changed in the folder by hand since the newest generation."""
        manifest = read_manifest(newest)
        if was.files == manifest.files:
            return
        await self._note(
            _Change(
                kind="node",
                subject=node.id,
                cause="edited",
                name=node.name,
                version=manifest.version,
                detail="by hand",
                release=manifest.release,
                permissions=manifest.permissions,
                code=was,
            )
        )

    async def note_restored(self, node: Node, wanted: Generation, release: int, actor: str) -> Generation:
        """Note that a node is again what it was."""
        return await self._note(
            _Change(
                kind="node",
                subject=node.id,
                cause="restored",
                name=node.name,
                version=f"generation {wanted.generation}",
                actor=actor,
                detail=read_manifest(wanted).version or wanted.cause,
                origin=wanted.id,
                release=release,
                permissions=self._permissions_of(node),
                code=await self._code_of(self._folder_of(node)),
            )
        )

    # Template, patches, solutions

    async def note_template(self) -> Generation:
        """Return the newest generation of the template, noted now if it was changed."""
        code = await self._code_of(self._template)
        version = await asyncio.to_thread(_version_of, self._template / _VERSION)
        known = await self._ledger.read(lambda connection: generations.newest(connection, "template", TEMPLATE))
        if known is not None and read_manifest(known).files == code.files:
            return known
        was = "" if known is None else read_manifest(known).version
        cause = "released" if was != version else "edited"
        return await self._note(_Change(kind="template", subject=TEMPLATE, cause=cause, version=version, code=code))

    async def _note_patch(self, patch_id: str, actor: str) -> None:
        patch = await self._ledger.read(lambda connection: patches.get(connection, patch_id))
        known = None
        if patch is not None:
            name = patch.name
            known = await self._ledger.read(lambda connection: generations.newest(connection, "patch", name))
        if patch is None or (known is not None and read_manifest(known).origin == patch_id):
            return
        document = document_of(patch)
        await self._note(
            _Change(
                kind="patch",
                subject=patch.name,
                cause="released",
                name=patch.name,
                version=str(patch.version),
                actor=actor or patch.received_from,
                detail=f"by {patch.author or patch.key_id}",
                origin=patch_id,
                depends_on=document.depends_on,
                code=Code(files={file.path: file.sha256 for file in document.files}),
            )
        )

    async def _note_solution(self, solution_id: str) -> None:
        def read(connection: Connection) -> tuple[list[tuple[int, str]], Generation | None]:
            found = solution_versions.list_of(connection, solution_id, limit=1)
            known = generations.newest(connection, "solution", solution_id)
            return [(one.version, one.actor) for one in found], known

        found, known = await self._ledger.read(read)
        if found and (known is None or read_manifest(known).version != str(found[0][0])):
            version, actor = found[0]
            await self._note(
                _Change(kind="solution", subject=solution_id, cause="released", version=str(version), actor=actor)
            )

    # Writing

    async def _note(self, change: _Change) -> Generation:
        """Write a generation; its number is the next one."""
        now, uid = self._clock.now(), new_ulid(self._clock)

        def write(connection: Connection) -> Generation:
            before = generations.newest(connection, change.kind, change.subject)
            made = Generation(
                id=uid,
                kind=change.kind,
                subject=change.subject,
                generation=1 if before is None else before.generation + 1,
                at=now,
                cause=change.cause,
                parent=change.parent or ("" if before is None else before.id),
                actor=change.actor[:120],
                detail=change.detail[:_TEXT],
            )
            signed = self._signer.signed(_manifest(made, change), made)
            generations.insert(connection, signed)
            return signed

        async with self._one_at_a_time:
            return await self._ledger.write(write)

    async def _code_of(self, folder: Path) -> Code:
        try:
            return await asyncio.to_thread(read_code, folder)
        except OSError as error:
            log.warning("lineage: a folder cannot be read", extra={"folder": str(folder), "why": error.strerror})
            return Code(files={})


def before_patch(now: Code, document: PatchDocument) -> Code:
    """Return the code that a folder had before a patch, from what it has with it."""
    files = dict(now.files)
    for file in document.files:
        if is_code(file.path):
            files.pop(file.path, None)
            if file.base is not None:
                files[file.path] = file.base
    files |= {file.path: file.base for file in document.removed if is_code(file.path)}
    return replace(now, files=dict(sorted(files.items())))


def _manifest(made: Generation, change: _Change) -> Manifest:
    return Manifest(
        uid=made.id,
        kind=made.kind,
        subject=made.subject,
        name=change.name,
        version=change.version,
        generation=made.generation,
        parent=made.parent,
        at=int(made.at.timestamp()),
        cause=made.cause,
        actor=made.actor,
        detail=made.detail,
        origin=change.origin,
        release=change.release,
        depends_on=change.depends_on,
        permissions=dict(change.permissions),
        files=change.code.files,
        left_out=change.code.left_out,
    )


def _version_of(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()[:40]
    except (OSError, UnicodeDecodeError):
        return ""
