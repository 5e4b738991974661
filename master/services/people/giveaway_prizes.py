"""What giveaways need of licences: who holds one, and licences as prizes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from handshake.redaction import Secret
from master.ledger.database import Ledger
from master.ledger.rows import licences as rows
from master.ledger.rows.records import Giveaway, Licence, LicenceState
from master.services.core.actors import SYSTEM
from master.services.people.licences import Licences

GIVEAWAY = replace(SYSTEM, identity="giveaway")
"""Who issues and revokes prizes."""


class Prizes:
    """Licences as giveaways see them."""

    def __init__(self, licences: Licences, ledger: Ledger) -> None:
        self._licences = licences
        self._ledger = ledger

    async def holds(self, user_id: int, tier: str) -> bool:
        """Tell whether somebody holds a licence of a tier that is in force.

        Raises
        ------
        LedgerError
        """
        held = await self._ledger.read(partial(rows.list_of_person, user_id=user_id))
        return any(one.tier == tier and self._licences.status_of((one,), "").valid for one in held)

    async def issue(self, giveaway: Giveaway, user_id: int) -> tuple[str, Secret[str]]:
        """Issue a winner's licence, which nobody else may redeem; returns its id, and its code.

        Raises
        ------
        FleetError
        """
        issued = await self._licences.issue(
            giveaway.prize_tier,
            actor=GIVEAWAY,
            origin=f"giveaway:{giveaway.id}",
            holder_id=user_id,
            note=giveaway.prize[:200],
        )
        return issued.record.id, issued.code

    async def is_redeemed(self, licence_id: str) -> bool:
        """Tell whether a prize was redeemed, or ended by an operator: no other is issued for it.

        Raises
        ------
        LedgerError
        """
        found = await self._find(licence_id)
        if found is None or found.state is LicenceState.ISSUED:
            return False
        return found.state is not LicenceState.REVOKED or found.changed_by != GIVEAWAY.label

    async def revoke(self, licence_id: str, *, why: str) -> None:
        """Revoke a prize; does nothing if it is revoked.

        Raises
        ------
        FleetError
        """
        found = await self._find(licence_id)
        if found is not None and found.state is not LicenceState.REVOKED:
            await self._licences.change(licence_id, "revoke", actor=GIVEAWAY, why=why)

    async def _find(self, licence_id: str) -> Licence | None:
        return await self._ledger.read(partial(rows.get, licence_id=licence_id))
