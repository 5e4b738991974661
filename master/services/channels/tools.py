"""What all services of channels need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from master.bus import EventBus
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.services.core.alerts import Alerts
from master.services.core.channel_moves import ChannelMoves
from master.services.core.discord_port import DiscordPort
from master.services.core.errors import DiscordUnavailable
from master.supervision.clock import Clock

SYSTEM = "system:selffix"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTools:
    """Collaborators of the services of channels.

    Parameters
    ----------
    settings
        Returns the settings in effect: their channels are those that took the place of the ones in config.py.
    discord
        None for a master without a token.
    master_user_id
        Returns the master's own user id; 0 while it is not known.
    take_effect
        Has everybody follow the channels that ``moves`` knows.
    """

    ledger: Ledger
    bus: EventBus
    clock: Clock
    alerts: Alerts
    settings: Callable[[], Settings]
    discord: DiscordPort | None
    master_user_id: Callable[[], int]
    moves: ChannelMoves
    take_effect: Callable[[], None]

    @property
    def port(self) -> DiscordPort:
        """The port to Discord.

        Raises
        ------
        DiscordUnavailable
            There is none.
        """
        if self.discord is None:
            raise DiscordUnavailable("this master has no Discord token", hint="put MASTER_TOKEN into .env")
        return self.discord

    @property
    def guild_id(self) -> int:
        """The server of the fleet; 0 if config.py names none."""
        return self.settings().identity.guild_id
