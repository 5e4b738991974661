"""Revoking a node's licence, and giving it back."""

from __future__ import annotations

import logging
from typing import ClassVar

from master.errors import ExitCode
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import licences
from master.ledger.rows.records import Node
from master.services.core.errors import ServiceError
from master.services.core.ledger_cache import LedgerCache
from master.services.trust.verification import Verification

log = logging.getLogger(__name__)


class LicenceRevoked(ServiceError):
    """The node's licence is revoked."""

    code: ClassVar[str] = "licence_revoked"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NothingRevoked(ServiceError):
    """The node has no licence in the state that the action needs."""

    code: ClassVar[str] = "nothing_revoked"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class Revocation:
    """Revoke licences: the master believes no process of the node any more, from the same moment on."""

    def __init__(self, ledger: Ledger, ledger_cache: LedgerCache, verification: Verification) -> None:
        self._ledger = ledger
        self._ledger_cache = ledger_cache
        self._verification = verification

    async def revoke(self, node: Node) -> None:
        """Revoke a node's licence; the caller stops its process.

        Raises
        ------
        NothingRevoked
            It is revoked already, or the node has none.
        LedgerError
            It is not revoked.
        """
        if not await self._ledger.write(lambda connection: licences.revoke_of_node(connection, node.id)):
            raise NothingRevoked(
                f"{node.name} has no licence that could be revoked", hint=f"`fleet reinstate {node.name}` gives it back"
            )
        self._ledger_cache.revoke(node.id)
        self._verification.void(node.id)

    async def reinstate(self, node: Node) -> None:
        """Take the revocation back: the same code is valid again, until its date.

        Raises
        ------
        NothingRevoked
            The node's licence is not revoked.
        LedgerError
        """
        if not await self._ledger.write(lambda connection: licences.reinstate_of_node(connection, node.id)):
            raise NothingRevoked(f"the licence of {node.name} is not revoked")
        self._ledger_cache.reinstate(node.id)

    async def require_licence(self, node: Node) -> None:
        """Check before a start that the licence is not revoked; without the ledger, the handshake decides.

        Raises
        ------
        LicenceRevoked
        """
        try:
            revoked = await self._ledger.read(lambda connection: licences.is_revoked(connection, node.id))
        except LedgerError as error:
            log.warning("a licence could not be looked up", extra={"node": node.name, "why": error.message})
            return
        if revoked:
            raise LicenceRevoked(
                f"the licence of {node.name} is revoked", hint=f"`fleet reinstate {node.name}` gives it back"
            )
