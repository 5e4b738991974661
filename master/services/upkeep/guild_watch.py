"""Which servers the master is on: what it is to do on each, and whether its own is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from master.configuration.settings import IdentitySettings
from master.events import AlertLevel
from master.services.core.alerts import Alerts

log = logging.getLogger(__name__)


class GuildWatch:
    """Keep what Discord tells of servers; the fleet has its own, and may have more.

    Without GUILD_ID every server that the master is on is the fleet's.

    Parameters
    ----------
    invite
        Returns the link that brings the master to a server, with the permissions that it needs.
    """

    def __init__(self, identity: IdentitySettings, invite: Callable[[], str], alerts: Alerts) -> None:
        self._identity = identity
        self._invite = invite
        self._alerts = alerts
        self._missing: set[int] = set()
        self._unavailable: set[int] = set()

    def is_ours(self, guild_id: int | None) -> bool:
        """Tell whether commands and buttons are answered there; a direct message belongs to no server."""
        ours = self._identity.guild_ids
        return guild_id is None or not ours or guild_id in ours

    def is_unavailable(self, guild_id: int) -> bool:
        """Tell whether Discord has an outage that concerns a server: what it says of it then may be wrong."""
        return guild_id in self._unavailable

    def troubles(self) -> tuple[str, ...]:
        """Return what is wrong now, in sentences."""
        gone = [f"the master is not on the server {self._name(guild_id)}" for guild_id in sorted(self._missing)]
        away = [
            f"the server {self._name(guild_id)} is unavailable: an outage at Discord"
            for guild_id in sorted(self._unavailable - self._missing)
        ]
        return (*gone, *away)

    def connected(self, guild_ids: Iterable[int]) -> None:
        """Note on which servers the master is at the beginning of a session."""
        there = set(guild_ids)
        foreign = [guild_id for guild_id in there if not self.is_ours(guild_id)]
        if foreign:
            log.info("on servers that are not the fleet's", extra={"servers": len(foreign)})
        for guild_id in self._identity.guild_ids:
            if guild_id not in there:
                self._lost(guild_id)
            elif guild_id in self._missing:
                self._found(guild_id)

    def joined(self, guild_id: int, name: str) -> None:
        """Note that the master came to a server."""
        is_ours = self.is_ours(guild_id)
        log.info("joined a server", extra={"server": guild_id, "called": name, "of_the_fleet": is_ours})
        self._unavailable.discard(guild_id)
        if guild_id in self._missing:
            self._found(guild_id)
        elif not is_ours:
            self._alerts.raise_alert(
                AlertLevel.INFORMATION,
                "The master was added to a server that is not the fleet's",
                key=f"guild:{guild_id}:joined",
                text=f"{name} ({guild_id}). It answers nobody there. MORE_GUILDS of IDENTITY in config.py makes it "
                "one of the fleet's.",
            )

    def left(self, guild_id: int, name: str) -> None:
        """Note that the master was removed from a server, or that the server is gone."""
        log.info("left a server", extra={"server": guild_id, "called": name, "of_the_fleet": self.is_ours(guild_id)})
        self._unavailable.discard(guild_id)
        if guild_id in self._identity.guild_ids:
            self._lost(guild_id)

    def became_unavailable(self, guild_id: int) -> None:
        """Note that Discord has an outage that concerns a server."""
        log.warning("a server is unavailable", extra={"server": guild_id})
        if guild_id in self._identity.guild_ids:
            self._unavailable.add(guild_id)

    def became_available(self, guild_id: int) -> None:
        """Note that a server is back."""
        if guild_id in self._unavailable:
            log.info("a server is available again", extra={"server": guild_id})
            self._unavailable.discard(guild_id)
        if guild_id in self._missing:
            self._found(guild_id)

    def _lost(self, guild_id: int) -> None:
        if guild_id in self._missing:
            return
        self._missing.add(guild_id)
        log.error("the master is not on a server of the fleet", extra={"server": guild_id})
        self._alerts.raise_alert(
            AlertLevel.ERROR,
            f"The master is not on the server {self._name(guild_id)}",
            key=f"guild:{guild_id}:left",
            text="There are no slash commands, panels and tickets there. Nodes, and `fleet` on the box, go on.\n"
            f"Invite it: {self._invite()}",
        )

    def _found(self, guild_id: int) -> None:
        self._missing.discard(guild_id)
        self._alerts.raise_alert(
            AlertLevel.SUCCESS,
            f"The master is on the server {self._name(guild_id)} again",
            key=f"guild:{guild_id}:back",
        )

    def _name(self, guild_id: int) -> str:
        return f"{guild_id} (GUILD_ID)" if guild_id == self._identity.guild_id else f"{guild_id} (MORE_GUILDS)"
