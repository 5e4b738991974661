"""/selffix, the buttons of drift reports, and what Discord says of the server's channels."""

from __future__ import annotations

from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.operation_commands import carries_out
from master.cogs._channel_embeds import drift_embed, repairs_embed
from master.errors import FleetError
from master.events import ServerAuditEntry, ServerChannelChanged
from master.operations import channels
from master.operations.parameters import ChannelsLeaveParams, ChannelsRepairParams, ChannelsUndoParams, NoParams
from master.services.channels.telling import PREFIX
from master.services.core.channel_views import ChannelRepairRow

MUTED_FOR_S = 3_600.0


async def on_press(interaction: discord.Interaction[MasterBot]) -> None:
    """Answer a press on a drift report, which names its repairs: ``selffix:undo:FIRST:LAST``."""
    data: Any = interaction.data
    _, _, rest = str(data.get("custom_id", "")).partition(":")
    verb, _, span = rest.partition(":")
    operations, actor = interaction.client.operations, actor_of(interaction)
    await defer(interaction)
    done: list[ChannelRepairRow]
    if verb == "undo":
        done = await operations.run(channels.undo, actor, ChannelsUndoParams(repair=span[:53]))
    elif verb == "repair":
        done = await operations.run(channels.repair, actor, ChannelsRepairParams(asked=span[:53]))
    elif verb in ("leave", "mute"):
        mute_s = MUTED_FOR_S if verb == "mute" else 0.0
        done = await operations.run(channels.leave, actor, ChannelsLeaveParams(asked=span[:53], mute_s=mute_s))
    else:
        raise FleetError(
            "this button is from another version of the master", hint="`/selffix audit` shows what is open"
        )
    nothing = {"leave": "This was answered already"}.get(verb, "Nothing was to be done: it is as it is wanted")
    embed = repairs_embed(operations.services.settings, done, nothing)
    if verb == "mute":
        embed.title = "Nothing is done or asked about it for an hour"
    await answer(interaction, embed)


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class SelfFix(
    commands.GroupCog, group_name="selffix", group_description="The server's channels, kept as they are wanted"
):
    """Shows and repairs channels, and passes on what happens to them."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    async def cog_load(self) -> None:
        """Take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press

    async def cog_unload(self) -> None:
        """Take no more presses."""
        self._bot.press_handlers.pop(PREFIX, None)

    @carries_out(channels.diff)
    @app_commands.command(description="What differs from the wanted channels, and what would be done")
    async def audit(self, interaction: discord.Interaction[MasterBot]) -> None:
        """Show what differs; changes nothing."""
        await defer(interaction)
        operations = interaction.client.operations
        found = await operations.run(channels.diff, actor_of(interaction), NoParams())
        await answer(interaction, drift_embed(operations.services.settings, found))

    @carries_out(channels.repair)
    @app_commands.command(description="Put channels right: the smallest change, in place where it can be")
    @app_commands.describe(channel="Only this one, by its key; none: all")
    async def repair(
        self, interaction: discord.Interaction[MasterBot], channel: app_commands.Range[str, 0, 100] = ""
    ) -> None:
        """Put channels right."""
        await defer(interaction)
        operations = interaction.client.operations
        params = ChannelsRepairParams(keys=(channel,) if channel else ())
        done = await operations.run(channels.repair, actor_of(interaction), params)
        await answer(interaction, repairs_embed(operations.services.settings, done, "Nothing was to be done"))

    @carries_out(channels.undo)
    @app_commands.command(description="Take a repair back; or take back what somebody did to the channels lately")
    @app_commands.describe(
        repair="Its id, of `fleet channels history`", by="Instead: whose changes", minutes="How far back, with `by`"
    )
    async def undo(
        self,
        interaction: discord.Interaction[MasterBot],
        repair: app_commands.Range[str, 0, 53] = "",
        by: discord.User | None = None,
        minutes: app_commands.Range[float, 0.1, 1440.0] = 10.0,
    ) -> None:
        """Take something back."""
        await defer(interaction)
        if bool(repair) == (by is not None):
            raise FleetError("name a repair, or a person", hint="`/selffix undo by:@somebody minutes:10`")
        operations = interaction.client.operations
        params = ChannelsUndoParams(repair=repair, by=None if by is None else by.id, minutes=minutes)
        done = await operations.run(channels.undo, actor_of(interaction), params)
        await answer(interaction, repairs_embed(operations.services.settings, done, "Nothing was to be done"))

    # What happens

    def _changed(self, guild_id: int, target_id: int, what: Literal["created", "changed", "deleted"]) -> None:
        services = self._bot.services
        services.bus.publish(
            ServerChannelChanged(at=services.clock.now(), guild_id=guild_id, channel_id=target_id, what=what)
        )

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was deleted."""
        self._changed(channel.guild.id, channel.id, "deleted")

    @commands.Cog.listener()
    async def on_guild_channel_create(self, channel: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was created."""
        self._changed(channel.guild.id, channel.id, "created")

    @commands.Cog.listener()
    async def on_guild_channel_update(self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        """Pass on that a channel was changed."""
        self._changed(after.guild.id, after.id, "changed")

    @commands.Cog.listener()
    async def on_guild_available(self, guild: discord.Guild) -> None:
        """Look at the channels: whatever happened to them while the server was unavailable was not said."""
        services = self._bot.services
        if guild.id == services.settings.identity.guild_id:
            services.channels.keeper.look_soon(services.settings.selffix.debounce_s)

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Pass on that a message was deleted: it may be one that has to stand there."""
        self._changed(event.guild_id or 0, event.message_id, "deleted")

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Pass on that messages were deleted."""
        for message_id in event.message_ids:
            self._changed(event.guild_id or 0, message_id, "deleted")

    @commands.Cog.listener()
    async def on_guild_channel_pins_update(self, channel: discord.abc.GuildChannel, last_pin: object) -> None:
        """Pass on that something was pinned, or is no longer."""
        self._changed(channel.guild.id, channel.id, "changed")

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
