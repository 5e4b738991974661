"""Revoking a node's licence, and giving it back."""

from __future__ import annotations

import logging
from functools import partial
from typing import ClassVar, Literal

from sqlalchemy import Connection

from master.errors import ExitCode
from master.ledger.database import Ledger
from master.ledger.errors import LedgerError
from master.ledger.rows import licences
from master.ledger.rows.records import LicenceState, Node
from master.services.core.actors import SYSTEM, Actor
from master.services.core.errors import ServiceError
from master.services.core.ledger_cache import LedgerCache
from master.services.trust.licence_rules import TRANSITIONS, LicenceRefused
from master.services.trust.licence_writing import apply
from master.services.trust.licensing import Licensing
from master.services.trust.verification import Verification
from master.supervision.clock import Clock

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

    def __init__(
        self, ledger: Ledger, ledger_cache: LedgerCache, verification: Verification, licensing: Licensing, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._ledger_cache = ledger_cache
        self._verification = verification
        self._licensing = licensing
        self._clock = clock

    async def revoke(self, node: Node, *, actor: Actor = SYSTEM) -> None:
        """Revoke a node's licence; the caller stops its process.

        Raises
        ------
        NothingRevoked
            It is revoked already, or the node has none.
        LedgerError
            It is not revoked.
        """
        if not await self._ledger.write(partial(self._apply, node_id=node.id, action="revoke", actor=actor)):
            raise NothingRevoked(
                f"{node.name} has no licence that could be revoked", hint=f"`fleet reinstate {node.name}` gives it back"
            )
        self._ledger_cache.revoke(node.id)
        self._verification.void(node.id)

    async def reinstate(self, node: Node, *, actor: Actor = SYSTEM) -> None:
        """Take a revocation or a suspension back: the same code is valid again, until its date.

        Raises
        ------
        NothingRevoked
            The node's licence is not revoked.
        LicenceExpired
            Its time is over meanwhile.
        LedgerError
        """
        if not await self._ledger.write(partial(self._apply, node_id=node.id, action="reinstate", actor=actor)):
            raise NothingRevoked(f"the licence of {node.name} is not revoked")
        self._ledger_cache.reinstate(node.id)

    def _apply(
        self, connection: Connection, *, node_id: str, action: Literal["revoke", "reinstate"], actor: Actor
    ) -> int:
        """Change each of a node's own licences of which it is legal; returns how many."""
        count, refused = 0, None
        for licence in licences.list_of_node(connection, node_id):
            if (licence.state, action) not in TRANSITIONS or licence.state is LicenceState.EXPIRED:
                continue
            tier = self._licensing.tier_of(licence)
            try:
                apply(connection, licence, action, tier, at=self._clock.now(), actor=actor.label)
                count += 1
            except LicenceRefused as error:
                refused = error
        if refused is not None and not count:
            raise refused
        return count

    async def require_licence(self, node: Node) -> None:
        """Check before a start that the licence is not revoked; without the ledger, the handshake decides.

        Raises
        ------
        LicenceRevoked
        """
        try:
            state = await self._ledger.read(lambda connection: licences.own_block(connection, node.id))
        except LedgerError as error:
            log.warning("a licence could not be looked up", extra={"node": node.name, "why": error.message})
            return
        if state is not None:
            raise LicenceRevoked(
                f"the licence of {node.name} is {state}", hint=f"`fleet reinstate {node.name}` gives it back"
            )
