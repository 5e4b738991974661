"""Preparation of node starts: token, key, boot document, environment and limits, read again for each start."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handshake.boot import BootDocument, encode_boot
from handshake.manifest import ManifestError, read_manifest
from handshake.redaction import Secret
from master.configuration.node_options import OptionsRefused, require_closed, settings_of
from master.configuration.settings import NodeLimits, NodeSettings, Settings
from master.ledger.database import Ledger
from master.ledger.rows import tokens
from master.ledger.rows.records import Node, ReadinessKind
from master.security.derivation import MasterSecret
from master.security.vault import TokenVault
from master.services.core.errors import TokenRefused
from master.services.core.ledger_cache import LedgerCache
from master.services.fleet.environment_files import read_environment
from master.services.fleet.packages import installed_packages
from master.services.fleet.program import Program, interpreter_of, program_of
from master.services.fleet.watching import Watched, watched_of
from master.services.healing.sentry_addresses import DSN_VARIABLE, has_address_of_its_own
from master.supervision.errors import FolderMissing, SpawnFailed, StartDeferred
from master.supervision.isolation import (
    Isolation,
    describe_isolation,
    isolation_of,
    landlock_problem,
    manager_environment,
    private_folder,
    temporary_folder,
)
from master.supervision.limits import Cgroups, niceness_of
from master.supervision.logs import NodeLogs
from master.supervision.process import NODE_ID_VARIABLE
from master.supervision.spawner import Limits, SpawnRequest
from master.supervision.specification import NodeSpec
from master.supervision.zygote import PACKAGES_VARIABLE, RELEASES
from nodekit.gateway_session import SESSION_FD_VARIABLE, expect_successor
from nodekit.identify_budget import IDENTIFY_FD_VARIABLE, IdentifyBudgetSpent, open_budget

log = logging.getLogger(__name__)

BUNDLES_VARIABLE, PATCH_PACKAGES_VARIABLE = "FLEET_PATCHES", "FLEET_PATCH_PACKAGES"
"""Where a node finds the bundles of patches, and the packages that they need; as ``nodekit.patching`` reads them."""
WATCH_VARIABLE = "FLEET_WATCH"
"""Set for a node with WATCH, as ``nodekit.bot`` reads it, which would import discord.py."""
_MOST_NAMES = 5
# Variables that a node inherits from the master: enough to run a program, and nothing that could be a secret.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of a node, and of the zygote that forks it."""
    inherited = {name: environment[name] for name in _INHERITED if name in environment}
    return {**inherited, "PYTHONUNBUFFERED": "1"}


def token_variable_of(folder: Path) -> str:
    """Return the variable from which a linked bot reads its token; empty for a bot that is not linked. Blocks."""
    try:
        return read_manifest(folder).token_variable
    except ManifestError:
        # The node reads the manifest too, and reports what is wrong with it.
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What one start needs from the disk."""

    command: tuple[str, ...]
    environment: dict[str, str]
    token_variable: str
    isolation: Isolation | None
    cgroup: Path | None
    plain: bool
    lent: bool


def _has_python_of_its_own(program: Program, folder: Path, entry: str) -> bool:
    """Tell whether a node's entry file is run by the Python of its own virtual environment."""
    interpreter = interpreter_of(folder)
    return program.command[:2] == (interpreter, entry) and interpreter != sys.executable


def _is_run_by_bootstrap(program: Program, folder: Path, entry: str) -> bool:
    """Tell whether a node that uses nodekit is run by nodekit's bootstrap where it is not forked.

    It lends packages, and settles the releases of a folder that was patched before any of its code is read.
    """
    patched = program.command[:2] == (sys.executable, entry) and (folder / RELEASES).is_dir()
    return patched or _has_python_of_its_own(program, folder, entry)


def _given_environment(own: NodeSettings, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a node's settings give it, and what is wrong with where they stand. Blocks.

    Raises
    ------
    SpawnFailed
        Its file of variables is missing, or cannot be read.
    """
    if own.env_file is None:
        return dict(own.env), []
    found = read_environment(own.env_file, folder)
    told = [f"others on this box can read {own.env_file}: chmod 600 it"] if found.open_to_others else []
    return {**found.values, **own.env}, told


def _few_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


@dataclass(slots=True, kw_only=True)
class Launcher:
    """Describe nodes to the supervisor and prepare their starts (a ``StartPreparer``).

    Parameters
    ----------
    settings
        Replaced after a reload; used from the next start on.
    current
        Returns the current node; None once it was removed.
    master_user_id
        Returns the master's Discord user id; 0 while it is not known.
    open_session
        Opens the session that the messages of the new process belong to.
    sentry_address_of
        Returns where a node's sentry-sdk sends to; empty for nowhere.
    cgroups
        None if the master has no delegated cgroup; rlimits and niceness are used instead.
    """

    settings: Settings
    ledger: Ledger
    vault: TokenVault
    secret: MasterSecret
    logs: NodeLogs
    current: Callable[[str], Node | None]
    master_user_id: Callable[[], int]
    ledger_cache: LedgerCache
    open_session: Callable[[str], str]
    sentry_address_of: Callable[[Node], str] = lambda _node: ""
    cgroups: Cgroups | None = None
    before_start: Callable[[Node], Awaitable[Mapping[str, str]]] | None = None
    """Called before each start, with its folder as it was left: patches that waited for it are put there.

    Returns variables for the process.
    """
    log_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How long the logs of nodes that show readiness by a line were before their last start."""
    _told: set[str] = field(default_factory=set)
    """Warnings that were logged: not again at each restart."""

    def own_settings(self, node: Node) -> NodeSettings:
        """Return a node's settings, from NODES and from its options; the latter are left out if they are not valid."""
        try:
            return settings_of(self.settings, node.name, node.options)
        except OptionsRefused as error:
            log.error("a node's options are left out", extra={"node": node.name, "why": error.message})
            return self.settings.node(node.name)

    def spec(self, node: Node) -> NodeSpec:
        """Return the supervisor's view of a node."""
        own = self.own_settings(node)
        limits = self.settings.limits_of(own)
        return NodeSpec(
            node_id=node.id,
            name=node.name,
            host=node.host,
            folder=str(self.folder_of(node)),
            readiness=node.readiness.value,
            priority=node.priority if own.priority is None else own.priority,
            after=own.after,
            ready_when=own.ready_when or "",
            memory_limit_bytes=limits.memory_limit_bytes,
            memory_hard_limit_bytes=limits.memory_hard_limit_bytes,
        )

    def isolation(self, nodes: Iterable[Node], running: Mapping[str, bool]) -> str:
        """Return what isolates the nodes, in words for the operator, and which of them it does not.

        Parameters
        ----------
        running
            Of each node that runs, whether its process is isolated: it may be older than the settings.
        """
        if landlock_problem():
            return describe_isolation()
        wanted = {node.name: self.settings.is_isolated(self.own_settings(node)) for node in nodes}
        if not self.settings.supervision.isolated and not any(wanted.values()):
            return "off: ISOLATED is False"
        by_choice: list[str] = []
        by_age: list[str] = []
        for name, is_wanted in sorted(wanted.items()):
            # One that does not run will be what the settings say.
            if not running.get(name, is_wanted):
                (by_age if is_wanted else by_choice).append(name)
        told = [_few_of(by_choice)] if by_choice else []
        told += [f"{_few_of(by_age)} until restarted"] if by_age else []
        return describe_isolation() + (f", not {', nor '.join(told)}" if told else "")

    def expect_successor(self, spec: NodeSpec, expected: bool) -> None:
        """Tell the running node whether another process takes over its gateway session; blocks."""
        expect_successor(self.settings.sessions_dir / spec.node_id, expected)

    async def prepare(self, spec: NodeSpec) -> SpawnRequest:
        """Return the spawn request for one start, from the node's current state: its spec may be old.

        Raises
        ------
        SpawnFailed
            The node was removed, its program cannot be found, or its IDENTIFYs cannot be counted.
        StartDeferred
            No IDENTIFY is left for today.
        TokenRefused, LedgerError
            Its token cannot be read.
        """
        node = self.current(spec.node_id)
        if node is None:
            raise SpawnFailed(f"{spec.name} is not a node of this fleet any more")
        told = {} if self.before_start is None else await self.before_start(node)
        folder = self.folder_of(node)
        own = self.own_settings(node)
        limits = self.settings.limits_of(own)
        speaks = node.readiness is ReadinessKind.HANDSHAKE
        budget = self.settings.identifies_dir / str(node.bot_user_id)

        def look_around() -> _Start:
            # First: a start that fails for want of a program logs in nowhere.
            found = self._look_around(node, folder, own)
            if node.bot_user_id:
                # A bot that does not speak the protocol reports nothing: each of its starts counts as one IDENTIFY.
                _check_budget(node.name, budget, spend=not speaks)
            if speaks:
                # Until another restart is asked for, the new process has no successor. Whoever opens the file for it
                # says what is wrong with it.
                with contextlib.suppress(OSError):
                    self.expect_successor(spec, expected=False)
            return found

        start = await asyncio.to_thread(look_around)
        files = {SESSION_FD_VARIABLE: self.settings.sessions_dir / node.id, IDENTIFY_FD_VARIABLE: budget}
        stdout_path, stderr_path = self.logs.paths(node.name)
        return SpawnRequest(
            node_id=node.id,
            name=node.name,
            folder=folder,
            command=start.command,
            environment={**start.environment, **told},
            # A bot that does not speak the protocol does not read a boot document.
            boot=encode_boot(await self._boot_document(node, start.token_variable)) if speaks else None,
            files=files if speaks else {},
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            cgroup=start.cgroup,
            limits=self._limits(limits),
            plain=start.plain,
            linked=bool(start.token_variable),
            lent=speaks and start.lent,
            isolation=start.isolation,
        )

    def folder_of(self, node: Node) -> Path:
        """Return a node's folder."""
        return self.settings.identity.bots_base_path / node.folder

    def watched(self, node: Node) -> Watched | None:
        """Return what is watched of a node while it is developed; None for nothing."""
        entries = self.own_settings(node).watch
        return watched_of(self.folder_of(node), entries) if entries else None

    def check_program(self, node: Node) -> list[str]:
        """Check that what a node is to run can be found; returns what the operator should know. Blocks.

        Raises
        ------
        SpawnFailed
            Its folder, program or file of variables is missing. The hint says what to do.
        """
        folder, own = self.folder_of(node), self.own_settings(node)
        given, told = _given_environment(own, folder)
        program_of(folder, node.entry, own, {**node_environment(os.environ), **given})
        return told

    def _look_around(self, node: Node, folder: Path, own: NodeSettings) -> _Start:
        """Gather what a start needs from the disk. Blocks."""
        if not folder.is_dir():
            raise FolderMissing(
                f"the folder of {node.name} is gone: {folder}",
                hint=f"restore it, name another (`fleet edit {node.name} --folder`), or `fleet remove {node.name}`",
            )
        try:
            # Again at each start: a link may lead elsewhere by now.
            require_closed(self.settings, own)
        except OptionsRefused as error:
            raise SpawnFailed(f"{node.name} is not started: {error.message}", hint=error.hint) from error
        given, told = _given_environment(own, folder)
        for warning in set(told) - self._told:
            self._told.add(warning)
            log.warning("a node's variables: %s", warning, extra={"node": node.name})
        environment = {**node_environment(os.environ), **given, NODE_ID_VARIABLE: node.id}
        program = program_of(folder, node.entry, own, environment)
        if program.path:
            environment["PATH"] = program.path
        speaks = node.readiness is ReadinessKind.HANDSHAKE
        token_variable = token_variable_of(folder) if speaks else ""
        if token_variable and own.command:
            raise SpawnFailed(
                f"{node.name} is linked, and has a COMMAND: what links it starts an entry file",
                hint=f"take COMMAND out of NODES[{node.name!r}]; INTERPRETER and ARGS may stay",
            )
        packages = installed_packages(self.settings.packages_dir, node.id)
        if packages:
            # A fork reads the first, an interpreter of its own the second.
            environment[PACKAGES_VARIABLE] = os.pathsep.join(packages)
            before = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
            environment["PYTHONPATH"] = os.pathsep.join([*before, *packages])
        if speaks:
            environment[BUNDLES_VARIABLE] = str(self.settings.patches_dir)
            environment[PATCH_PACKAGES_VARIABLE] = str(self.settings.packages_dir / node.id)
        if own.watch:
            environment[WATCH_VARIABLE] = "1"
        address = self.sentry_address_of(node)
        # One of its own wins: it reports to somebody else.
        if address and DSN_VARIABLE not in environment and not has_address_of_its_own(folder):
            environment[DSN_VARIABLE] = address
        if own.ready_when and own.ready_when.startswith("log:"):
            self.log_sizes[node.id] = self.logs.sizes(node.name)
        isolation = self._isolate(node, folder, program, environment, given)
        return _Start(
            command=program.command,
            environment=environment,
            token_variable=token_variable,
            isolation=isolation,
            cgroup=self._create_cgroup(node.id, self.settings.limits_of(own)),
            # A fork of the zygote does not read the variables that Python reads when it begins.
            plain=own.plain or bool(own.command or own.interpreter) or any(name.startswith("PYTHON") for name in given),
            lent=not token_variable and _is_run_by_bootstrap(program, folder, node.entry),
        )

    def _isolate(
        self, node: Node, folder: Path, program: Program, environment: dict[str, str], given: Mapping[str, str]
    ) -> Isolation | None:
        """Return what the node may open, and give it a home and a temporary folder of its own; None: no isolation."""
        own = self.own_settings(node)
        if not self.settings.is_isolated(own) or landlock_problem():
            return None
        writable, patched = [*self.logs.paths(node.name), *own.writable], []
        if node.readiness is ReadinessKind.HANDSHAKE:
            patched = [self.settings.patches_dir, self.settings.packages_dir / node.id]
        try:
            for path in patched:
                # There from now on: a running process can be given nothing more.
                private_folder(path)
            folders = {
                "TMPDIR": temporary_folder(self.settings.temporary_dir / node.id),
                # Not the user's: git, for one, fails for a home whose files it sees and may not open.
                "HOME": private_folder(self.settings.homes_dir / node.id),
            }
            writable.extend(folders.values())
            environment.update({name: str(path) for name, path in folders.items() if name not in given})
        except OSError as error:
            # A full disk, say: the node can do without.
            log.warning("no folder of its own", extra={"node": node.name, "why": error.strerror})
        for name, value in manager_environment(program.command[0]).items():
            environment.setdefault(name, value)
        private = self.settings.private_paths
        return isolation_of(
            folder,
            program.command[0],
            private=private,
            helpers=program.helpers,
            # As they were checked: what is a link is not followed a second time.
            readable=[
                *(Path(os.path.realpath(path)) for path in own.readable),
                *map(Path, installed_packages(self.settings.packages_dir, node.id)),
                *(path for path in patched if path.is_dir()),
            ],
            writable=[Path(os.path.realpath(path)) for path in writable],
        )

    def _create_cgroup(self, node_id: str, limits: NodeLimits) -> Path | None:
        if self.cgroups is None:
            return None
        return self.cgroups.create(node_id, memory_bytes=limits.memory_hard_limit_bytes, cpu_weight=limits.cpu_weight)

    def _limits(self, limits: NodeLimits) -> Limits:
        """Return the limits that the process sets for itself; memory and CPU only without a cgroup."""
        alone = self.cgroups is None
        return Limits(
            data_bytes=limits.memory_hard_limit_bytes if alone else 0,
            open_files=limits.open_files_limit,
            niceness=niceness_of(limits.cpu_weight) if alone else 0,
            log_bytes_s=self.settings.supervision.log_rate_bytes_s,
        )

    async def _sealed_token(self, node: Node) -> bytes:
        """Return a node's sealed token; cached, so that a restart does not wait for the database."""
        sealed = self.ledger_cache.token_of(node.id)
        if sealed is None:
            sealed = await self.ledger.read(lambda connection: tokens.load(connection, node.id))
            if sealed is None:
                raise TokenRefused(
                    f"the ledger holds no token for {node.name}", hint=f"`fleet set-token {node.name}` gives it one"
                )
            self.ledger_cache.keep_token(node.id, sealed)
        return sealed

    async def token_of(self, node: Node) -> Secret[str]:
        """Return a node's token out of the vault.

        Raises
        ------
        TokenRefused, LedgerError
            There is none, or it cannot be read.
        """
        return self.vault.unseal(node.id, await self._sealed_token(node))

    async def _boot_document(self, node: Node, token_variable: str) -> BootDocument:
        token = await self.token_of(node)
        settings = self.settings
        key = self.secret.derive_node_key(node.id, node.key_epoch)
        return BootDocument(
            node_id=node.id,
            name=node.name,
            token=token.reveal(),
            token_variable=token_variable,
            key=key.secret.reveal(),
            key_epoch=node.key_epoch,
            session=self.open_session(node.id),
            master_user_id=self.master_user_id(),
            verify_channel_id=settings.channels.verify,
            socket_path=str(settings.node_socket_path) if settings.handshake.transport != "channel" else None,
            transport=settings.handshake.transport,
            pulse_interval_s=settings.supervision.pulse_interval_s,
            channel_pulse_interval_s=settings.handshake.channel_pulse_interval_s,
            api_base=settings.discord.api_base,
            gateway_url=settings.discord.gateway_url,
        )


def _check_budget(name: str, path: Path, *, spend: bool) -> None:
    """Check that an IDENTIFY is left for a bot; with ``spend``, use it up. Blocks.

    Raises
    ------
    StartDeferred
        None is left for today.
    SpawnFailed
        The budget file cannot be read or written.
    """
    try:
        budget = open_budget(path)
        try:
            budget.spend() if spend else budget.check()
        finally:
            budget.close()
    except IdentifyBudgetSpent as error:
        raise StartDeferred(f"{name}: {error}", retry_in_s=error.retry_in_s, hint="find out why it restarts") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            # As in the node itself: it starts, and the restart policy still bounds how often.
            log.warning("an IDENTIFY could not be counted", extra={"node": name, "why": error.strerror})
            return
        raise SpawnFailed(
            f"{name}: its IDENTIFYs cannot be counted: {error.strerror}", hint=f"check {path.parent}"
        ) from error
