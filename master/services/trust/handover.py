"""Key handover after a rotation: nodes get new keys, others are replaced, then the old secret is removed."""

from __future__ import annotations

import asyncio
import logging

from master.errors import FleetError
from master.ledger.rows.records import ReadinessKind
from master.security.errors import SecretRefused
from master.security.secrets_file import SecretsFile
from master.services.core.directory import NodeDirectory
from master.services.trust.node_keys import NodeKeys
from master.services.trust.rotation import PREVIOUS
from master.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)


class Handover:
    """Complete a rotation for nodes that run with keys of the previous secret.

    Parameters
    ----------
    patience_s
        How long to wait for a node's pulse, which is answered with its new key. A node that does not get it (it uses
        only the channel, or an older version) is replaced then, and resumes its session.
    """

    def __init__(
        self,
        *,
        file: SecretsFile,
        directory: NodeDirectory,
        supervisor: Supervisor,
        keys: NodeKeys,
        patience_s: float,
    ) -> None:
        self._file = file
        self._directory = directory
        self._supervisor = supervisor
        self._keys = keys
        self._patience_s = patience_s

    def begin(self) -> None:
        """Record the nodes that run with old keys: those adopted from an earlier master."""
        self._keys.expect_old(
            node.id
            for node in self._directory
            if node.readiness is ReadinessKind.HANDSHAKE and self._supervisor.pid_of(node.id) is not None
        )

    async def run(self) -> None:
        """Run the handover; returns when the old secret is removed."""
        if not self._keys.hands_over:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._keys.all_renewed.wait()
        except TimeoutError:
            for node_id in sorted(self._keys.old):
                await self._replace(node_id)
        try:
            await asyncio.to_thread(self._file.change, {PREVIOUS: None})
        except SecretRefused as error:
            log.error("the previous secret stays in .env", extra={"why": error.message, "hint": error.hint})
        else:
            log.info("no node holds a key of the previous secret any more; it was removed")
        self._keys.end_handover()

    async def _replace(self, node_id: str) -> None:
        try:
            await self._supervisor.restart(node_id)
        except FleetError as error:
            log.error("a node with an old key could not be replaced", extra={"node": node_id, "why": error.message})
