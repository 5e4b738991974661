"""What giveaways need of licences: who holds one, and licences as prizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from handshake.redaction import Secret
from master.services.people.giveaway_errors import GiveawayRefused


@dataclass(frozen=True, slots=True)
class PrizeLicence:
    """A licence that was issued as a prize; its code is known only now."""

    licence_id: str
    code: Secret[str]


class Prizes(Protocol):
    """Licences as giveaways see them."""

    async def holds(self, user_id: int, tier: str) -> bool:
        """Tell whether somebody holds a licence of a tier that is in force."""
        ...

    async def issue(self, tier: str, *, origin: str, note: str) -> PrizeLicence:
        """Issue a licence; whoever has its code may redeem it."""
        ...

    async def is_redeemed(self, licence_id: str) -> bool:
        """Tell whether somebody has redeemed a licence."""
        ...

    async def revoke(self, licence_id: str, *, why: str) -> None:
        """Revoke a licence whose prize went on to somebody else; does nothing if it is revoked."""
        ...


class NoPrizes:
    """Licences where there are none."""

    async def holds(self, user_id: int, tier: str) -> bool:
        """Return False."""
        return False

    async def issue(self, tier: str, *, origin: str, note: str) -> PrizeLicence:
        """Refuse.

        Raises
        ------
        GiveawayRefused
        """
        raise GiveawayRefused("this master issues no licences to people")

    async def is_redeemed(self, licence_id: str) -> bool:
        """Return False."""
        return False

    async def revoke(self, licence_id: str, *, why: str) -> None:
        """Do nothing."""
