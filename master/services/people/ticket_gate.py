"""Which nodes may ask for anything about tickets: those that have proven themselves, with a licence, not too often."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from master.configuration.settings import LicenceTier
from master.events import AlertLevel
from master.ledger.rows import licences
from master.ledger.rows.records import Licence, LicenceState, Node
from master.services.people.ticket_errors import TicketRefused
from master.services.people.ticket_tools import TicketTools

FEATURE = "tickets"
"""Once a tier names this feature, only nodes with such a licence have tickets."""
SHARE_OF_ONE = 3
"""One person may make up this part of what a node may ask for."""
_MINUTE_S = 60.0


class TicketGate:
    """Let requests of nodes through, or not.

    Parameters
    ----------
    is_verified
        Tells whether a node's process has proven its key and its licence.
    """

    def __init__(self, tools: TicketTools, is_verified: Callable[[str], bool]) -> None:
        self._tools, self.is_verified = tools, is_verified
        self._asked: dict[str, deque[tuple[float, int]]] = {}

    async def require(self, node: Node, person_id: int = 0) -> None:
        """Check a node that has proven itself.

        Parameters
        ----------
        person_id
            For whom it asks, by its own word; 0: for itself.

        Raises
        ------
        TicketRefused
            It, or that person, asks too often, it has no licence for it, or the fleet has no server.
        LedgerError
        """
        self._count(node, person_id)
        if not self._tools.guild_id:
            raise TicketRefused("unavailable", "GUILD_ID is not in the master's config")
        licence = await self._tools.ledger.read(lambda connection: licences.newest_of_node(connection, node.id))
        trouble = licence_trouble(licence, self._tools.settings().licence_tiers, self._tools.clock.now())
        if trouble:
            raise TicketRefused("licence", trouble)

    def _count(self, node: Node, person_id: int) -> None:
        """Count a request, before anything is read for it."""
        now, most = self._tools.clock.monotonic(), self._tools.settings().tickets.requests_a_minute
        asked = self._asked.setdefault(node.id, deque())
        while asked and asked[0][0] <= now - _MINUTE_S:
            asked.popleft()
        # Not counted to the node's: whoever presses one button again and again must not shut out all others.
        mine = sum(one == person_id for _, one in asked) if person_id else 0
        if mine >= max(most // SHARE_OF_ONE, 1):
            raise TicketRefused("too_often", "you ask too often: wait a minute")
        if len(asked) >= most:
            self._tools.alerts.raise_alert(
                AlertLevel.WARNING,
                f"{node.name} asks for tickets too often",
                key=f"tickets:rate:{node.id}",
                text=f"More than {most} requests within a minute; what is above is refused. It may be in a loop, or "
                f"not be itself: `fleet history {node.name}`.",
                node=node.name,
                is_security=True,
            )
            raise TicketRefused("too_often", f"more than {most} requests within a minute")
        asked.append((now, person_id))


def licence_trouble(licence: Licence | None, tiers: tuple[LicenceTier, ...], now: datetime) -> str:
    """Return why a node's licence does not cover tickets; empty if it does."""
    if licence is None:
        return "the node has no licence"
    tier = next((one for one in tiers if one.name.casefold() == licence.tier.casefold()), LicenceTier(name=""))
    if any(FEATURE in one.features for one in tiers) and FEATURE not in tier.features:
        return f"the tier {licence.tier} is not for tickets"
    if licence.state not in (LicenceState.ISSUED, LicenceState.ACTIVE, LicenceState.EXPIRED):
        return f"the node's licence is {licence.state}"
    has_ended = licence.expires_at is not None and licence.expires_at + timedelta(days=tier.grace_days) <= now
    return "the node's licence has expired" if has_ended and tier.on_expiry != "keep" else ""
