"""Preparation of node starts: token, key, boot document, environment and limits, read again for each start."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handshake.boot import BootDocument, encode_boot
from handshake.manifest import ManifestError, read_manifest
from master.configuration.node_options import OptionsRefused, settings_of
from master.configuration.settings import NodeLimits, NodeSettings, Settings
from master.ledger.database import Ledger
from master.ledger.rows import tokens
from master.ledger.rows.records import Node, ReadinessKind
from master.security.derivation import MasterSecret
from master.security.vault import TokenVault
from master.services.core.errors import TokenRefused
from master.services.core.ledger_cache import LedgerCache
from master.supervision.errors import SpawnFailed, StartDeferred
from master.supervision.isolation import (
    Isolation,
    describe_isolation,
    isolation_of,
    landlock_problem,
    private_folder,
    temporary_folder,
)
from master.supervision.limits import Cgroups, niceness_of
from master.supervision.logs import NodeLogs
from master.supervision.spawner import Limits, SpawnRequest
from master.supervision.specification import NodeSpec
from nodekit.gateway_session import SESSION_FD_VARIABLE, expect_successor
from nodekit.identify_budget import IDENTIFY_FD_VARIABLE, IdentifyBudgetSpent, open_budget

log = logging.getLogger(__name__)

NODE_ID_VARIABLE = "FLEET_NODE_ID"
"""Set in a node's environment: identifies its process before it has sent any message."""
WATCH_VARIABLE = "FLEET_WATCH"
"""Set for a node with WATCH, as ``nodekit.bot`` reads it, which would import discord.py."""
_MOST_NAMES = 5
# Variables that a node inherits from the master: enough to run a program, and nothing that could be a secret.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of a node, and of the zygote that forks it."""
    inherited = {name: environment[name] for name in _INHERITED if name in environment}
    return {**inherited, "PYTHONUNBUFFERED": "1"}


def interpreter_of(folder: Path) -> str:
    """Return a node's Python interpreter: the virtual environment's in its folder, or the master's."""
    for name in (".venv", "venv"):
        own = folder / name / "bin" / "python"
        if own.exists():
            return str(own)
    return sys.executable


def token_variable_of(folder: Path) -> str:
    """Return the variable from which a linked bot reads its token; empty for a bot that is not linked. Blocks."""
    try:
        return read_manifest(folder).token_variable
    except ManifestError:
        # The node reads the manifest too, and reports what is wrong with it.
        return ""


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
    cgroups: Cgroups | None = None

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
            folder=str(self.settings.identity.bots_base_path / node.folder),
            readiness=node.readiness.value,
            priority=node.priority if own.priority is None else own.priority,
            after=own.after,
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
            The node was removed, or its IDENTIFYs cannot be counted.
        StartDeferred
            No IDENTIFY is left for today.
        TokenRefused, LedgerError
            Its token cannot be read.
        """
        node = self.current(spec.node_id)
        if node is None:
            raise SpawnFailed(f"{spec.name} is not a node of this fleet any more")
        folder = self.settings.identity.bots_base_path / node.folder
        own = self.own_settings(node)
        limits = self.settings.limits_of(own)
        speaks = node.readiness is ReadinessKind.HANDSHAKE
        budget = self.settings.identifies_dir / str(node.bot_user_id)

        interpreter = interpreter_of(folder)
        environment = {**node_environment(os.environ), NODE_ID_VARIABLE: node.id}
        if own.watch:
            environment[WATCH_VARIABLE] = "1"

        def look_around() -> tuple[Path | None, str, Isolation | None]:
            # A bot that does not speak the protocol reports nothing: each of its starts counts as one IDENTIFY.
            _check_budget(node.name, budget, spend=not speaks)
            isolation = self._isolate(node, folder, interpreter, environment)
            return self._create_cgroup(node.id, limits), token_variable_of(folder) if speaks else "", isolation

        cgroup, token_variable, isolation = await asyncio.to_thread(look_around)
        files = {SESSION_FD_VARIABLE: self.settings.sessions_dir / node.id, IDENTIFY_FD_VARIABLE: budget}
        stdout_path, stderr_path = self.logs.paths(node.name)
        return SpawnRequest(
            node_id=node.id,
            name=node.name,
            folder=folder,
            command=(interpreter, node.entry),
            environment=environment,
            # A bot that does not speak the protocol does not read a boot document.
            boot=encode_boot(await self._boot_document(node, token_variable)) if speaks else None,
            files=files if speaks else {},
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            cgroup=cgroup,
            limits=self._limits(limits),
            plain=own.plain,
            linked=bool(token_variable),
            isolation=isolation,
        )

    def _isolate(self, node: Node, folder: Path, interpreter: str, environment: dict[str, str]) -> Isolation | None:
        """Return what the node may open, and give it a home and a temporary folder of its own; None: no isolation."""
        own = self.own_settings(node)
        if not self.settings.is_isolated(own) or landlock_problem():
            return None
        writable = [*self.logs.paths(node.name), *own.writable]
        try:
            environment["TMPDIR"] = str(temporary_folder(self.settings.temporary_dir / node.id))
            writable.append(Path(environment["TMPDIR"]))
            # Not the user's: git, for one, fails for a home whose files it sees and may not open.
            environment["HOME"] = str(private_folder(self.settings.homes_dir / node.id))
            writable.append(Path(environment["HOME"]))
        except OSError as error:
            # A full disk, say: the node can do without.
            log.warning("no folder of its own", extra={"node": node.name, "why": error.strerror})
        private = self.settings.private_paths
        return isolation_of(folder, interpreter, private=private, readable=own.readable, writable=writable)

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
                    f"the ledger holds no token for {node.name}", hint=f"register {node.name} again with its token"
                )
            self.ledger_cache.keep_token(node.id, sealed)
        return sealed

    async def _boot_document(self, node: Node, token_variable: str) -> BootDocument:
        sealed = await self._sealed_token(node)
        settings = self.settings
        key = self.secret.derive_node_key(node.id, node.key_epoch)
        return BootDocument(
            node_id=node.id,
            name=node.name,
            token=self.vault.unseal(node.id, sealed).reveal(),
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
