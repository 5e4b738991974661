"""The steps that registering and duplicating share: check, reserve, clone or adopt a folder, commit, start.

A failure in any step leaves either a complete node or nothing. After a crash, :meth:`Onboarding.recover` cleans up
nodes that are still ``provisioning``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.files import read_regular
from handshake.manifest import (
    DEFAULT_TOKEN_VARIABLE,
    MANIFEST_NAME,
    ManifestError,
    NodeManifest,
    read_manifest,
    write_manifest,
)
from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.node_options import decode_options, encode_options
from master.configuration.settings import IdentitySettings
from master.errors import FleetError
from master.events import NodeAdded, OnboardingStep
from master.ledger.database import Ledger
from master.ledger.errors import Conflict, LedgerUnavailable
from master.ledger.identifiers import new_ulid
from master.ledger.rows import duplications, licences, nodes, tokens
from master.ledger.rows.records import DesiredState, Duplication, Lifecycle, Node, ReadinessKind
from master.security.errors import TokenFormatError
from master.security.tokens import check_token_text, claimed_user_id
from master.security.vault import TokenVault
from master.services.core.auditing import AuditEntry
from master.services.core.directory import NodeDirectory
from master.services.core.errors import FolderRefused, NameTaken, TokenInUse, TokenRefused
from master.services.core.views import Registered
from master.services.fleet.environment_files import new_environment_path, was_written_for, write_environment
from master.services.fleet.fleet import Fleet
from master.services.fleet.launching import token_variable_of
from master.services.onboarding import folders
from master.services.onboarding.copying import Belongings, belongings_of, require_copyable
from master.services.onboarding.file_work import FileWorks
from master.services.onboarding.identity import NO_BOT, BotIdentity, TokenInspector, invite_url
from master.services.onboarding.names import check_name, check_tags, place_of
from master.services.onboarding.programs import Plan, plan_program
from master.services.trust.licensing import IssuedLicence, Licensing
from master.supervision.clock import Clock

log = logging.getLogger(__name__)

Progress = Callable[[str], None]
"""Called with the name of each step as it begins."""

ENVIRONMENT_FOLDER = "env"
"""In the fleet's home: files of variables that nodes were registered with."""
RECOVERY_PATIENCE_S = 20.0
"""How long a request waits, once the ledger is back, for what an earlier master left incomplete to be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRequest:
    """Request for a new node, cloned from the template or from another node.

    Parameters
    ----------
    source
        Name of the node to clone; empty for the template.
    tier
        Licence tier; empty for the first in the config.
    start
        Start the node at once, and keep it running.
    """

    name: str
    token: Secret[str]
    source: str = ""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """Request to register an existing folder."""

    name: str
    token: Secret[str] | None
    """None: a program that is no Discord bot."""
    folder: str
    """A name below BOTS_BASE_PATH, or an absolute path."""
    entry: str = "bot.py"
    readiness: Literal["handshake", "process", "auto"] = "auto"
    link: bool = False
    """Link its program, which does not use nodekit, to the fleet."""
    token_env: str = DEFAULT_TOKEN_VARIABLE
    """The environment variable from which a linked program reads its token."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """By the keys of NODES."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that get a file of their own."""
    tier: str = ""
    tags: tuple[str, ...] = ()
    start: bool = True


@dataclass(frozen=True, slots=True)
class _Reserved:
    node: Node
    licence: IssuedLicence
    environment: Path | None = None
    """The file of variables that is written for it."""

    @property
    def is_licensed(self) -> bool:
        """Whether the node has a manifest, and its licence in it."""
        return self.node.readiness is ReadinessKind.HANDSHAKE


class Onboarding:
    """Add nodes to the fleet: by cloning (``clone``) or from an existing folder (``register``)."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        identity: IdentitySettings,
        vault: TokenVault,
        licensing: Licensing,
        inspector: TokenInspector,
        directory: NodeDirectory,
        fleet: Fleet,
        bus: EventBus,
        clock: Clock,
        master_user_id: Callable[[], int],
        works: FileWorks,
    ) -> None:
        self._works = works
        self._ledger = ledger
        self._identity = identity
        self._vault = vault
        self._licensing = licensing
        self._inspector = inspector
        self._directory = directory
        self._fleet = fleet
        self._bus = bus
        self._clock = clock
        self._master_user_id = master_user_id
        self._recovered = asyncio.Event()
        self._recovered.set()

    async def clone(self, entry: AuditEntry, request: CloneRequest, progress: Progress | None = None) -> Registered:
        """Create a new node: a saga, undone from the last step backwards when a step fails.

        Raises
        ------
        NameRefused, TokenRefused, CopyRefused, DiscordUnavailable, TemplateBroken, FilesFailed, LedgerError
            Nothing of the node is left.
        """
        tell = self._make_reporter(request.name, progress)
        began = time.monotonic()
        entry.detail = f"{check_name(request.name)} from {request.source or 'the template'}"
        tags = check_tags(request.tags)
        source, entry_file, version, origin = self._source_of(request)
        tell("checking the name and the token")
        bot = await self._check_name_and_token(request.name, request.token)
        await asyncio.to_thread(folders.check_source, source, entry_file)
        # A copy of a linked bot has to be linked too.
        linked = await asyncio.to_thread(token_variable_of, source) if request.source else ""
        node = self._new_node(request.name, request.name, entry_file, bot, tags, request.start)
        node, belongings = await self._with_belongings(node, request, source, linked)
        reserved = _Reserved(node, self._licensing.issue(node.id, request.tier))
        if belongings.environment:
            reserved = await self._with_environment(reserved, self._fleet.settings.home)
        try:
            tell("reserving the node in the ledger")
            await self._reserve(entry, reserved, request.token, origin)
            tell("cloning the folder")
            manifest = self._manifest(reserved, version, linked)
            await _finish_in_thread(
                folders.clone_folder,
                source,
                entry_file,
                self._identity.bots_base_path,
                node.folder,
                manifest,
                belongings.env_text,
            )
            if reserved.environment is not None:
                await _finish_in_thread(
                    partial(write_environment, node_id=reserved.node.id), reserved.environment, belongings.environment
                )
            tell("committing")
            active = await self._commit(reserved, entry)
        except BaseException as error:
            await self._undo(reserved, error, remove=self._identity.bots_base_path / node.folder)
            raise
        return await self._publish_and_start(
            active, reserved, bot, began, "duplicated", request.start, tell, notes=belongings.notes
        )

    async def _with_belongings(
        self, node: Node, request: CloneRequest, folder: Path, linked: str
    ) -> tuple[Node, Belongings]:
        """Return a copy with the options of its source, and what else it takes along; the template has neither."""
        if not request.source:
            return node, Belongings()
        source, home = self._directory.find(request.source), self._fleet.settings.home
        belongings = await asyncio.to_thread(belongings_of, source, folder, node.name, linked, home)
        options = {**decode_options(source.options), "ENV_FILE": None}
        return replace(node, priority=source.priority, options=encode_options(options, home)), belongings

    async def register(
        self, entry: AuditEntry, request: RegisterRequest, progress: Progress | None = None
    ) -> Registered:
        """Register an existing folder and issue its licence; its files are not changed.

        Raises
        ------
        NameRefused, TokenRefused, DiscordUnavailable, FolderRefused, LedgerError
        """
        tell = self._make_reporter(request.name, progress)
        began = time.monotonic()
        entry.detail = f"{check_name(request.name)} in {request.folder}"
        tags = check_tags(request.tags)
        settings = self._fleet.settings
        folder, stored = place_of(
            self._identity.bots_base_path, request.folder, settings.private_paths, settings.secret_paths
        )
        plan = await asyncio.to_thread(plan_program, folder, request, settings)
        self._require_room(folder, plan)
        tell("checking the name and the token" if request.token is not None else "checking the name")
        bot = await self._check_name_and_token(request.name, request.token)
        node = self._new_node(request.name, stored, plan.entry, bot, tags, request.start, plan.readiness)
        node = replace(node, options=plan.options)
        notes = await self._fleet.check_program(node)
        reserved = _Reserved(node, self._licensing.issue(node.id, request.tier))
        if request.environment:
            reserved = await self._with_environment(reserved, settings.home)
        try:
            tell("reserving the node in the ledger")
            await self._reserve(entry, reserved, request.token, "folder")
            if reserved.environment is not None:
                await _finish_in_thread(
                    partial(write_environment, node_id=reserved.node.id), reserved.environment, request.environment
                )
            if reserved.is_licensed:
                await _finish_in_thread(write_manifest, folder, self._manifest(reserved, "", plan.token_variable))
            tell("committing")
            active = await self._commit(reserved, entry)
        except BaseException as error:
            await self._undo(reserved, error, remove=folder / MANIFEST_NAME)
            raise
        return await self._publish_and_start(
            active, reserved, bot, began, "registered", request.start, tell, notes=tuple(notes)
        )

    async def _with_environment(self, reserved: _Reserved, home: Path) -> _Reserved:
        """Return the node with a new file of variables in its options; the file is not written yet."""
        node = reserved.node
        path = await asyncio.to_thread(new_environment_path, home / ENVIRONMENT_FOLDER, node.name)
        options = encode_options({**decode_options(node.options), "ENV_FILE": str(path)}, home)
        return _Reserved(replace(node, options=options), reserved.licence, path)

    def _require_room(self, folder: Path, plan: Plan) -> None:
        """Check that two manifests do not meet in one folder.

        Raises
        ------
        FolderRefused
        """
        if plan.readiness is not ReadinessKind.HANDSHAKE:
            return
        base = self._identity.bots_base_path
        for node in self._directory:
            if node.readiness is ReadinessKind.HANDSHAKE and (base / node.folder).resolve() == folder:
                raise FolderRefused(
                    f"the folder {folder.name!r} already belongs to the node {node.name!r}",
                    hint="`fleet status` lists the nodes",
                )

    def _make_reporter(self, name: str, progress: Progress | None) -> Progress:
        """Return a function that reports a step to the caller and on the bus."""

        def tell(step: str) -> None:
            self._bus.publish(OnboardingStep(at=self._clock.now(), node=name, step=step))
            if progress is not None:
                progress(step)

        return tell

    @property
    def held(self) -> bool:
        """Whether onboarding is suspended."""
        return not self._recovered.is_set()

    def hold(self) -> None:
        """Suspend onboarding until :meth:`recover` has run: it cannot tell incomplete nodes from new ones."""
        self._recovered.clear()

    async def recover(self) -> list[str]:
        """Remove nodes that a crash left incomplete, and finish the changes of others; returns the names of the former.

        Raises
        ------
        LedgerError
        """
        recovered = await self._recover()
        self._recovered.set()
        return recovered

    async def _recover(self) -> list[str]:
        await self._works.recover()
        left = await self._ledger.read(nodes.list_provisioning)
        base = self._identity.bots_base_path
        for node in left:
            folder = base / node.folder
            cloned = await asyncio.to_thread(_holds_manifest_of, folder, node.id)
            origin = await self._ledger.read(partial(duplications.source_of, node_id=node.id))
            remove = None
            if cloned:
                remove = folder / MANIFEST_NAME if origin == "folder" else folder
            await asyncio.to_thread(_remove, remove)
            await asyncio.to_thread(_remove_environment, node, self._fleet.settings.home)
            await self._release(node, "cleaned_up", "the master stopped during onboarding")
            log.warning("incomplete node removed", extra={"node": node.name})
        for hidden in await asyncio.to_thread(folders.hidden_leftovers, base):
            await asyncio.to_thread(folders.remove_folder, hidden)
        return [node.name for node in left]

    def registrable_folders(self, fragment: str = "") -> list[str]:
        """Return folders below BOTS_BASE_PATH that contain a bot and belong to no node."""
        known = {node.folder for node in self._directory}
        wanted = fragment.casefold()
        found = folders.unregistered_folders(self._identity.bots_base_path, known)
        return [name for name in found if wanted in name.casefold()]

    def _source_of(self, request: CloneRequest) -> tuple[Path, str, str, str]:
        """Return folder, entry file, version and origin of the source to clone."""
        if not request.source:
            template = self._identity.template_path
            version = _version_of(template)
            return template, "bot.py", version, f"template {version}".strip()
        node = self._directory.find(request.source)
        require_copyable(node)
        return (
            self._identity.bots_base_path / node.folder,
            node.entry,
            node.template_version,
            f"node {node.name}",
        )

    async def _wait_recovered(self) -> None:
        """Wait, while onboarding is suspended and the ledger is back: it is recovered within moments."""
        if self.held and self._ledger.away is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECOVERY_PATIENCE_S):
                    await self._recovered.wait()
        if self.held:
            raise LedgerUnavailable(
                "the ledger has been away since the master started", hint="bring the database back first"
            )

    async def _check_name_and_token(self, name: str, token: Secret[str] | None) -> BotIdentity:
        """Check the name and the token before anything is written; returns the token's bot, or that there is none."""
        await self._wait_recovered()
        if any(node.name.casefold() == name.casefold() for node in self._directory):
            raise NameTaken(f"a node called {name!r} already exists", hint="choose another name")
        if token is None:
            return NO_BOT
        try:
            check_token_text(token.reveal())
        except TokenFormatError as error:
            raise TokenRefused(error.message, hint=error.hint) from error
        claimed = claimed_user_id(token.reveal())
        if claimed is not None:
            self._require_unused(claimed)
        bot = await self._inspector.inspect(token)
        self._require_unused(bot.user_id)
        return bot

    def _require_unused(self, bot_user_id: int) -> None:
        holder = self._directory.by_user(bot_user_id)
        if holder is not None:
            raise TokenInUse(
                f"this bot is already the node {holder.name!r}",
                hint="each node needs its own bot: create another application in Discord's developer portal",
            )
        if bot_user_id == self._master_user_id():
            raise TokenInUse("this is the master's own token", hint="create another application for the node")

    def _new_node(
        self,
        name: str,
        folder: str,
        entry: str,
        bot: BotIdentity,
        tags: tuple[str, ...],
        start: bool,
        readiness: ReadinessKind = ReadinessKind.HANDSHAKE,
    ) -> Node:
        now = self._clock.now()
        return Node(
            id=new_ulid(self._clock),
            name=name,
            folder=folder,
            entry=entry,
            bot_user_id=bot.user_id,
            desired_state=DesiredState.RUNNING if start else DesiredState.STOPPED,
            lifecycle=Lifecycle.PROVISIONING,
            readiness=readiness,
            tags=tags,
            created_at=now,
            updated_at=now,
        )

    async def _reserve(self, entry: AuditEntry, reserved: _Reserved, token: Secret[str] | None, origin: str) -> None:
        node, licence = reserved.node, reserved.licence
        sealed = None if token is None else self._vault.seal(node.id, token)
        now = self._clock.now()
        duplication = Duplication(
            id=new_ulid(self._clock),
            at=now,
            node_id=node.id,
            source=origin,
            requested_by=entry.actor.label,
            outcome="running",
        )

        def write(connection: Connection) -> None:
            nodes.insert(connection, node)
            if sealed is not None:
                tokens.store(connection, node.id, sealed, at=now)
            licences.insert(connection, licence.record)
            duplications.insert(connection, duplication)

        try:
            await self._ledger.write(write)
        except Conflict as error:
            # Concurrent requests for the same name or bot: the ledger's unique constraint decides.
            raise NameTaken(
                f"the name {node.name!r} or its bot was taken a moment ago",
                hint="`fleet status` lists the nodes",
            ) from error

    def _manifest(self, reserved: _Reserved, version: str, token_variable: str) -> NodeManifest:
        node = reserved.node
        return NodeManifest(
            node_id=node.id,
            name=node.name,
            licence=reserved.licence.code.reveal(),
            template_version=version,
            entry=node.entry,
            created_at=node.created_at.isoformat(),
            tags=node.tags,
            token_variable=token_variable,
        )

    async def _commit(self, reserved: _Reserved, entry: AuditEntry) -> Node:
        now = self._clock.now()
        entry.node_id = reserved.node.id

        def write(connection: Connection) -> Node:
            nodes.activate(connection, reserved.node.id, host=reserved.node.host, at=now)
            duplications.finish_of_node(connection, reserved.node.id, "done", at=now)
            entry.append(connection)
            active = nodes.get(connection, reserved.node.id)
            if active is None:
                raise RuntimeError(f"node {reserved.node.id} vanished inside its own transaction")
            return active

        active = await self._ledger.write(write)
        entry.written = True
        return active

    async def _undo(self, reserved: _Reserved, error: BaseException, *, remove: Path) -> None:
        """Remove everything of a node whose onboarding failed; runs to its end even when cancelled."""
        is_ours = await asyncio.shield(asyncio.to_thread(_belongs_to, remove, reserved.node.id))
        await asyncio.shield(asyncio.to_thread(_remove, remove if is_ours else None))
        if reserved.environment is not None:
            await asyncio.shield(asyncio.to_thread(_forget_environment, reserved.environment))
        await asyncio.shield(self._release(reserved.node, "failed", f"{type(error).__name__}: {error}"[:300]))

    async def _release(self, node: Node, outcome: str, detail: str) -> None:
        now = self._clock.now()

        def write(connection: Connection) -> None:
            nodes.mark_removed(connection, node.id, host=node.host, at=now)
            tokens.delete(connection, node.id)
            licences.revoke_of_node(connection, node.id)
            duplications.finish_of_node(connection, node.id, outcome, detail=detail, at=now)

        await self._ledger.write(write)

    async def _publish_and_start(
        self,
        node: Node,
        reserved: _Reserved,
        bot: BotIdentity,
        began: float,
        kind: Literal["registered", "duplicated"],
        start: bool,
        tell: Progress,
        *,
        notes: tuple[str, ...] = (),
    ) -> Registered:
        self._directory.put(node)
        self._fleet.register(node)
        self._bus.publish(NodeAdded(at=self._clock.now(), node_id=node.id, how=kind, tier=reserved.licence.record.tier))
        trouble = ""
        if start:
            tell("starting")
            trouble = await self._start(node)
        return Registered(
            node_id=node.id,
            name=node.name,
            folder=node.folder,
            bot_user_id=str(bot.user_id),
            licence=reserved.licence.code.reveal() if reserved.is_licensed else "",
            invite_url=invite_url(bot.user_id) if bot.user_id else "",
            state=self._fleet.state_of(node.id),
            seconds=round(time.monotonic() - began, 3),
            trouble=trouble,
            notes=notes,
        )

    async def _start(self, node: Node) -> str:
        """Start a new node; returns why it did not start. It is in the fleet all the same, and is tried again."""
        try:
            await self._fleet.start_wanted(node.id)
        except FleetError as error:
            log.warning("a new node did not start", extra={"node": node.name, "why": error.message})
            return f"{error.message}; {error.hint}" if error.hint else error.message
        return ""


async def _finish_in_thread(function: Callable[..., object], *arguments: object) -> None:
    """Run a function in a thread, and wait for its end even when cancelled: it must not overlap with the clean-up."""
    working = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


def _version_of(template: Path) -> str:
    try:
        return read_regular(template / "VERSION", 200).decode("utf-8", "replace").strip()[:32]
    except OSError:
        return ""


def _holds_manifest_of(folder: Path, node_id: str) -> bool:
    try:
        return read_manifest(folder).node_id == node_id
    except ManifestError:
        return False


def _remove_environment(node: Node, home: Path) -> None:
    """Remove the file of variables that was written for a node; not one that somebody wrote."""
    named = decode_options(node.options).get("ENV_FILE")
    path = Path(named) if isinstance(named, str) else home
    # One that was there before, and was only named, has not the mark.
    if path.parent == home / ENVIRONMENT_FOLDER and was_written_for(path, node.id):
        _forget_environment(path)


def _forget_environment(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a file of variables could not be removed", extra={"path": str(path), "why": error.strerror})


def _belongs_to(path: Path, node_id: str) -> bool:
    """Tell whether ``path`` (a node's folder, or the manifest in it) was made for this node."""
    return _holds_manifest_of(path.parent if path.name == MANIFEST_NAME else path, node_id)


def _remove(path: Path | None) -> None:
    if path is None:
        return
    if path.name == MANIFEST_NAME:
        path.unlink(missing_ok=True)
    else:
        folders.remove_folder(path)
