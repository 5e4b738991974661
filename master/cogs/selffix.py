"""/selffix, the buttons of drift reports, and what Discord says of the server's channels."""

from __future__ import annotations

import discord
from discord.ext import commands

from master.bot.client import MasterBot
from master.events import ServerAuditEntry, ServerChannelChanged


class SelfFix(commands.Cog):
    """Passes on what happens to channels."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    def _changed(self, channel: discord.abc.GuildChannel, what: str) -> None:
        services = self._bot.services
        event = ServerChannelChanged(
            at=services.clock.now(),
            guild_id=channel.guild.id,
            channel_id=channel.id,
            what=what,  # type: ignore[arg-type]  # of the listeners below
        )
        services.bus.publish(event)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was deleted."""
        self._changed(channel, "deleted")

    @commands.Cog.listener()
    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was created."""
        self._changed(channel, "created")

    @commands.Cog.listener()
    async def on_guild_channel_update(self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was changed."""
        self._changed(after, "changed")

    @commands.Cog.listener()
    async def on_audit_log_entry_create(self, entry: discord.AuditLogEntry) -> None:
        """Pass on who did something to a channel."""
        target_id = getattr(entry.target, "id", 0) or 0
        if entry.user_id is None or not entry.action.name.startswith(("channel_", "overwrite_", "message_")):
            return
        if entry.action.name.startswith("message_"):
            # Its target is the author; where it was is more to the point.
            target_id = getattr(getattr(entry.extra, "channel", None), "id", target_id)
        services = self._bot.services
        services.bus.publish(
            ServerAuditEntry(
                at=services.clock.now(),
                guild_id=entry.guild.id,
                target_id=target_id,
                action=entry.action.name,
                user_id=entry.user_id,
                user="" if entry.user is None else entry.user.name,
                reason=entry.reason or "",
            )
        )


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(SelfFix(bot))
