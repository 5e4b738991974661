"""A channel of a server, or a forum, as a place of announcements."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from master.ledger.rows.records import Announcement
from master.services.announcing.outcomes import Fate, Outcome
from master.services.announcing.texts import Fitted, Limits, fit
from master.services.core.discord_port import Channel, ChannelKind, DiscordPort, Notice
from master.services.core.errors import DiscordPortError, DiscordUnavailable

CHANNEL_LIMITS = Limits(text=2000, service="Discord")
FORUM_LIMITS = Limits(text=2000, title=100, service="Discord forum")
_NONCE_CHARACTERS = 25
_DISCORD_EPOCH_MS = 1_420_070_400_000
_BEFORE = timedelta(seconds=30)
"""Clocks differ: what was posted is looked for from so long before it was due. A schedule has a minute between two."""


class DiscordPlace:
    """Post announcements in channels, through the master's own bot.

    Parameters
    ----------
    port
        None for a master without a token.
    own_id
        Returns the master's user id; 0 while it is not known.
    """

    def __init__(self, port: DiscordPort | None, own_id: Callable[[], int]) -> None:
        self._port = port
        self._own_id = own_id

    async def limits(self, channel_id: int) -> Limits:
        """Return what a channel takes.

        Raises
        ------
        DiscordPortError
        """
        return _limits_of(await self._reached().channel(channel_id))

    async def send(self, channel_id: int, announcement: Announcement, *, again: bool) -> Outcome:
        """Post in a channel, or start a post in a forum.

        Parameters
        ----------
        again
            An earlier attempt may have reached Discord: it is looked for first. A nonce holds for minutes only, and
            posts of forums have none.
        """
        try:
            port = self._reached()
            channel = await port.channel(channel_id)
            fitted = fit(announcement.title, announcement.text, _limits_of(channel))
            if again:
                found = await self._find(port, channel, fitted, announcement.due_at)
                if found:
                    return Outcome(fate=Fate.SENT, url=_link(channel, found))
            if channel.kind is ChannelKind.FORUM:
                post = await port.create_post(channel_id, _title_of(fitted), Notice(text=fitted.text))
                return Outcome(fate=Fate.SENT, url=_link(post, post.id))
            notice = Notice(text=fitted.text, nonce=_nonce(announcement.id, channel_id))
            return Outcome(fate=Fate.SENT, url=_link(channel, (await port.post(channel_id, notice)).id))
        except DiscordUnavailable as error:
            return Outcome(fate=Fate.AWAY, detail=error.message)
        except DiscordPortError as error:
            return Outcome(fate=Fate.REFUSED, detail=error.message)

    async def _find(self, port: DiscordPort, channel: Channel, fitted: Fitted, since: datetime) -> int:
        """Return the id of the message, or the post, that stands there since a moment; 0 for none."""
        after_id = (int((since - _BEFORE).timestamp() * 1000) - _DISCORD_EPOCH_MS) << 22
        if channel.kind is ChannelKind.FORUM:
            posts = await port.active_threads(channel.guild_id or 0)
            name = _title_of(fitted)
            ids = [one.id for one in posts if one.parent_id == channel.id and one.name == name and one.id > after_id]
        else:
            messages = await port.messages_since(channel.id, after_id)
            own = self._own_id()
            ids = [one.id for one in messages if one.author_id == own and one.content == fitted.text]
        return ids[0] if ids else 0

    def _reached(self) -> DiscordPort:
        if self._port is None:
            raise DiscordUnavailable("this master has no Discord token", hint="`fleet init` asks for it")
        return self._port


def _limits_of(channel: Channel) -> Limits:
    return FORUM_LIMITS if channel.kind is ChannelKind.FORUM else CHANNEL_LIMITS


def _title_of(fitted: Fitted) -> str:
    return fitted.title or fitted.text.strip().split("\n", 1)[0][: FORUM_LIMITS.title]


def _nonce(announcement_id: str, channel_id: int) -> str:
    """Return the same nonce for each attempt: of two posts with it Discord makes one."""
    return hashlib.sha256(f"{announcement_id}:{channel_id}".encode()).hexdigest()[:_NONCE_CHARACTERS]


def _link(channel: Channel, message_id: int) -> str:
    if channel.id == message_id:
        return f"https://discord.com/channels/{channel.guild_id}/{channel.id}"
    return f"https://discord.com/channels/{channel.guild_id}/{channel.id}/{message_id}"
