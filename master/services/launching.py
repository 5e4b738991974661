"""Everything one start of a node needs, gathered afresh each time: token, key, boot document, environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from handshake.boot import BootDocument, encode_boot
from master.ledger import tokens
from master.ledger.database import Ledger
from master.ledger.records import Node, ReadinessKind
from master.security.derivation import MasterSecret
from master.security.vault import TokenVault
from master.services.errors import TokenRefused
from master.settings import Settings
from master.supervision.logs import NodeLogs
from master.supervision.spawner import Limits, SpawnRequest
from master.supervision.supervisor import NodeSpec

# What a node inherits of the master's environment: enough to run a program, and nothing that could be a secret.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the whole environment of a node, and of the zygote that forks it."""
    inherited = {name: environment[name] for name in _INHERITED if name in environment}
    return {**inherited, "PYTHONUNBUFFERED": "1"}


def interpreter_of(folder: Path) -> str:
    """Give the Python of a node: that of a virtual environment in its folder, or the master's own."""
    for name in (".venv", "venv"):
        own = folder / name / "bin" / "python"
        if own.exists():
            return str(own)
    return sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Build what the supervisor needs to start a node.

    Parameters
    ----------
    current
        Gives the node as it is now, for a start long after the spec was made; None once it was removed.
    master_user_id
        Gives the master's Discord user id; 0 while it is not known.
    """

    settings: Settings
    ledger: Ledger
    vault: TokenVault
    secret: MasterSecret
    logs: NodeLogs
    current: Callable[[str], Node | None]
    master_user_id: Callable[[], int]
    sealed_tokens: dict[str, bytes] = field(default_factory=dict, repr=False)

    def spec(self, node: Node) -> NodeSpec:
        """Give the supervisor's view of a node."""

        async def build() -> SpawnRequest:
            return await self._request(self.current(node.id) or node)

        return NodeSpec(
            node_id=node.id,
            name=node.name,
            folder=self.settings.identity.bots_base_path / node.folder,
            readiness=node.readiness.value,
            priority=node.priority,
            build=build,
        )

    async def _request(self, node: Node) -> SpawnRequest:
        folder = self.settings.identity.bots_base_path / node.folder
        supervision = self.settings.supervision
        stdout_path, stderr_path = self.logs.paths(node.name)
        return SpawnRequest(
            node_id=node.id,
            name=node.name,
            folder=folder,
            command=(interpreter_of(folder), node.entry),
            environment=node_environment(os.environ),
            # A bot that does not speak the protocol would not read it, and needs no key.
            boot=encode_boot(await self._boot_document(node)) if node.readiness is ReadinessKind.HANDSHAKE else None,
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            limits=Limits(memory_bytes=supervision.memory_limit_bytes, open_files=supervision.open_files_limit),
        )

    async def _sealed_token(self, node: Node) -> bytes:
        """Give a node's token as it is sealed; kept after the first time, so that a restart waits on no database."""
        sealed = self.sealed_tokens.get(node.id)
        if sealed is None:
            sealed = await self.ledger.read(lambda connection: tokens.load(connection, node.id))
            if sealed is None:
                raise TokenRefused(
                    f"the ledger holds no token for {node.name}", hint=f"register {node.name} again with its token"
                )
            self.sealed_tokens[node.id] = sealed
        return sealed

    async def _boot_document(self, node: Node) -> BootDocument:
        sealed = await self._sealed_token(node)
        settings = self.settings
        key = self.secret.derive_node_key(node.id, node.key_epoch)
        return BootDocument(
            node_id=node.id,
            name=node.name,
            token=self.vault.unseal(node.id, sealed).reveal(),
            key=key.secret.reveal(),
            key_epoch=node.key_epoch,
            master_user_id=self.master_user_id(),
            verify_channel_id=settings.channels.verify,
            socket_path=str(settings.node_socket_path) if settings.handshake.transport != "channel" else None,
            transport=settings.handshake.transport,
            pulse_interval_s=settings.supervision.pulse_interval_s,
            channel_pulse_interval_s=settings.handshake.channel_pulse_interval_s,
            api_base=settings.discord.api_base,
            gateway_url=settings.discord.gateway_url,
        )
