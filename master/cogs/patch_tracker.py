"""PATCH_CHANNEL: shows each patch, and passes on what people and nodes react with."""

from __future__ import annotations

import asyncio
import logging

import discord
from discord.ext import commands

from master.bot.client import MasterBot
from master.cogs._patch_posts import PatchPosts
from master.cogs._patch_presses import PREFIX, on_press
from master.cogs._patch_reactions import PatchReactions
from master.services.core.actors import Actor
from master.services.core.discord_port import DiscordPort, MessageRef
from master.services.core.lasting import keep_running
from master.services.patches.tracking import MESSAGE_GONE

log = logging.getLogger(__name__)


class PatchTracker(commands.Cog):
    """Follows the messages of patches; the events of a message that shows none are ignored."""

    def __init__(self, bot: MasterBot, port: DiscordPort) -> None:
        self._bot = bot
        self.posts = PatchPosts(bot.services, port, self._on_gone, self._on_listed)
        self.reactions = PatchReactions(bot.operations, port, self._own_id, self.posts.touch)
        self._running: asyncio.Task[None] | None = None

    def _own_id(self) -> int:
        return self._bot.user.id if self._bot.user is not None else 0

    async def cog_load(self) -> None:
        """Begin to show patches, and take presses, also on messages of an earlier master."""
        self._bot.press_handlers[PREFIX] = on_press
        services = self._bot.services
        running = keep_running("patch channel", self.posts.run, services.bus, services.clock)
        self._running = asyncio.create_task(running, name="patch channel")

    async def cog_unload(self) -> None:
        """Show nothing any more."""
        self._bot.press_handlers.pop(PREFIX, None)
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _on_gone(self, patch_id: str) -> None:
        await self.reactions.all_gone(patch_id, detail=MESSAGE_GONE)

    async def _on_listed(self, patch_id: str, message: MessageRef) -> None:
        await self.reactions.read_back(patch_id, message)

    # What happens to its messages

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        """Write a reaction down; an operator's is a request."""
        message = MessageRef(event.channel_id, event.message_id)
        patch_id = await self.posts.patch_of(message)
        if patch_id is None:
            return

        async def actor_of() -> Actor:
            return _actor_of(event)

        await self.reactions.came(patch_id, message, event.user_id, _key(event.emoji), actor_of)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, event: discord.RawReactionActionEvent) -> None:
        """Write down that a reaction was taken off."""
        patch_id = await self.posts.patch_of(MessageRef(event.channel_id, event.message_id))
        if patch_id is not None:
            await self.reactions.went(patch_id, event.user_id, _key(event.emoji))

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, event: discord.RawReactionClearEvent) -> None:
        """Write down that all reactions were taken off."""
        patch_id = await self.posts.patch_of(MessageRef(event.channel_id, event.message_id))
        if patch_id is not None:
            await self.reactions.all_gone(patch_id)

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(self, event: discord.RawReactionClearEmojiEvent) -> None:
        """Write down that all reactions with one emoji were taken off."""
        patch_id = await self.posts.patch_of(MessageRef(event.channel_id, event.message_id))
        if patch_id is not None:
            await self.reactions.all_gone(patch_id, _key(event.emoji))

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Post a patch anew."""
        self.posts.deleted(event.message_id)

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Post patches anew."""
        for message_id in event.message_ids:
            self.posts.deleted(message_id)

    @commands.Cog.listener()
    async def on_guild_channel_delete(self, channel: discord.abc.GuildChannel) -> None:
        """Notice that the channel is gone with all its messages."""
        self.posts.channel_deleted(channel.id)


def _key(emoji: discord.PartialEmoji) -> str:
    """Return an emoji as it is written down: Unicode, or ``name:id``."""
    return f"{emoji.name}:{emoji.id}" if emoji.id else emoji.name


def _actor_of(event: discord.RawReactionActionEvent) -> Actor:
    """Return who reacted; a reaction outside a server is nobody's who may do anything."""
    member = event.member
    if member is None:
        return Actor(face="discord", identity=str(event.user_id), name=str(event.user_id))
    return Actor(
        face="discord",
        identity=str(member.id),
        name=member.display_name,
        role_ids=frozenset(role.id for role in member.roles),
        is_member=True,
    )


async def setup(bot: MasterBot) -> None:
    """Load the cog, unless the master has no Discord to show anything on."""
    if bot.services.discord is not None:
        await bot.add_cog(PatchTracker(bot, bot.services.discord))
