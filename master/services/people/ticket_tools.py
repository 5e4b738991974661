"""What everything about tickets works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from master.bus import EventBus
from master.configuration.settings import Settings, TicketCategory
from master.events import TicketChanged
from master.ledger.database import Ledger
from master.ledger.rows.records import Ticket
from master.services.core.alerts import Alerts
from master.services.core.auditing import Auditor
from master.services.core.directory import NodeDirectory
from master.services.core.discord_port import DiscordPort
from master.services.core.errors import DiscordNotFound, DiscordUnavailable
from master.supervision.clock import Clock

ROLES_WITHIN_S = 2.0
"""A node waits for the answer, and its pulses behind it."""
_UNKNOWN_MEMBER, _UNKNOWN_USER = 10007, 10013


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketTools:
    """What everything about tickets works with.

    Parameters
    ----------
    settings
        Returns those in effect; none is held.
    discord
        None for a master without a token.
    master_user_id
        Returns 0 while it is not known.
    """

    ledger: Ledger
    bus: EventBus
    clock: Clock
    settings: Callable[[], Settings]
    directory: NodeDirectory
    alerts: Alerts
    auditor: Auditor
    discord: DiscordPort | None
    master_user_id: Callable[[], int]

    @property
    def port(self) -> DiscordPort:
        """The way to Discord.

        Raises
        ------
        DiscordUnavailable
            The master has no token.
        """
        if self.discord is None:
            raise DiscordUnavailable("this master has no Discord token", hint="`fleet init` asks for it")
        return self.discord

    @property
    def guild_id(self) -> int:
        """The fleet's server."""
        return self.settings().identity.guild_id

    def category_of(self, ticket: Ticket) -> TicketCategory:
        """Return a ticket's category; one without anything if it is no longer in the config."""
        return self.settings().tickets.categories.get(ticket.category) or TicketCategory()

    def node_bot_id(self, ticket: Ticket) -> int:
        """Return the user id of the bot whose ticket it is; 0 if that was removed, or the ticket came by mail."""
        if not ticket.author_id:
            return 0
        node = self.directory.get(ticket.node_id)
        return 0 if node is None else node.bot_user_id

    def is_own_bot(self, user_id: int) -> bool:
        """Tell whether somebody is the master's bot, or a node's: those have what they need, and are let in by none."""
        return user_id == self.master_user_id() or self.directory.by_user(user_id) is not None

    async def roles_of(self, user_id: int) -> frozenset[int] | None:
        """Return a person's roles on the fleet's server; None if he is not on it.

        Raises
        ------
        DiscordPortError
            Also when the server itself is gone.
        """
        try:
            async with asyncio.timeout(ROLES_WITHIN_S):
                return await self.port.roles_of(self.guild_id, user_id)
        except TimeoutError:
            raise DiscordUnavailable(f"Discord did not say within {ROLES_WITHIN_S:g} s who that is") from None
        except DiscordNotFound as error:
            if error.json_code not in (_UNKNOWN_MEMBER, _UNKNOWN_USER):
                raise
            return None

    def is_staff(self, category: TicketCategory, user_id: int, roles: frozenset[int]) -> bool:
        """Tell whether somebody with these roles is staff of a category; operators and moderators are of every one."""
        settings = self.settings()
        if not category.staff_roles.isdisjoint(roles):
            return True
        return any(
            user_id in people.user_ids or not people.role_ids.isdisjoint(roles)
            for people in (settings.operators, settings.moderators)
        )

    def publish(self, ticket: Ticket, what: str, *, actor: str = "", detail: str = "") -> None:
        """Publish that something about a ticket changed."""
        self.bus.publish(
            TicketChanged(
                at=self.clock.now(),
                ticket_id=ticket.id,
                node_id=ticket.node_id,
                what=what,
                actor=actor,
                detail=detail or f"ticket {ticket.number}",
            )
        )
