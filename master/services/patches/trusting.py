"""Whose bundles are accepted: those of the authors whose keys the ledger has, each above the highest of that key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import patch_keys, patch_versions
from master.ledger.rows.records import PatchKey
from master.services.patches.acceptance import Accepted, accept
from master.services.patches.errors import PatchRefused, Refusal
from master.services.patches.fleet_id import fleet_id_of
from master.services.patches.receiving import AcceptedBundle
from master.supervision.clock import Clock


class LedgerAcceptance:
    """Accept what is signed with a key of the ledger."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def check(self, content: bytes) -> Accepted:
        """Return what a bundle is.

        Raises
        ------
        PatchRefused, LedgerError
        """
        fleet_id = await fleet_id_of(self._ledger)
        keys, versions = await self._ledger.read(_trusted)
        return await asyncio.to_thread(
            accept,
            content,
            keys=keys,
            highest=lambda key_id, channel: versions.get((key_id, channel), 0),
            fleet_id=fleet_id,
            now=self._clock.now(),
        )

    def record(self, connection: Connection, accepted: AcceptedBundle) -> None:
        """Note its version as the highest of its key.

        Raises
        ------
        PatchRefused
            It is not the highest any more, or its key was revoked meanwhile.
        """
        document = accepted.document
        self.require_trusted(connection, accepted.key.id)
        if not patch_versions.advance(
            connection, accepted.key.id, document.channel, document.version, at=self._clock.now()
        ):
            raise PatchRefused(
                f"version {document.version} or one above it was accepted meanwhile", reason=Refusal.OLD_VERSION
            )

    def require_trusted(self, connection: Connection, key_id: str) -> None:
        """Check that a key is trusted now.

        Raises
        ------
        PatchRefused
        """
        key = _trusted(connection)[0].get(key_id)
        if key is None or key.revoked_at is not None:
            told = key_id if key is None else f"{key.name}'s key {key_id}"
            raise PatchRefused(
                f"it is signed with {told}, which was revoked since",
                hint="have it signed with another key, as a new version",
                reason=Refusal.REVOKED_KEY,
                key_id=key_id,
            )


def key_names(connection: Connection) -> Mapping[str, str]:
    """Return the names of authors' keys by their ids."""
    return {key.id: key.name for key in patch_keys.list_all(connection)}


def _trusted(connection: Connection) -> tuple[dict[str, PatchKey], dict[tuple[str, str], int]]:
    return {key.id: key for key in patch_keys.list_all(connection)}, patch_versions.list_all(connection)
