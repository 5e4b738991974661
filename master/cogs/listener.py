"""VERIFY_CHANNEL: passes its messages to the handshake, and posts the answers."""

from __future__ import annotations

import logging

import discord
from discord.ext import commands

from handshake.transports import channel
from master.bot.client import MasterBot
from master.services.core.discord_port import Notice
from master.services.core.errors import DiscordPortError
from master.services.trust.source import Source

log = logging.getLogger(__name__)


class Listener(commands.Cog):
    """Listens in VERIFY_CHANNEL."""

    def __init__(self, bot: MasterBot) -> None:
        self._bot = bot

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Handle a message; any text that is not a signed message in a code block is ignored."""
        # Read each time: the channel may have been made anew.
        channel_id = self._bot.services.settings.channels.verify
        if message.channel.id != channel_id or message.author == self._bot.user:
            return
        text = channel.unwrap(message.content)
        if text is None:
            return
        services = self._bot.services
        answer = await services.reception.receive(text, Source(transport="channel", author_id=message.author.id))
        if answer is None or services.discord is None:
            return
        try:
            # The answer mentions the node's bot, so it receives the content even without the MESSAGE_CONTENT intent.
            text = channel.wrap(answer, to_user_id=message.author.id)
            notice = Notice(text=text, mention_users=(message.author.id,))
            await services.discord.post(channel_id, notice)
        except DiscordPortError as error:
            # The node retries by itself.
            log.warning("an answer could not be posted in VERIFY_CHANNEL", extra={"why": str(error)})


async def setup(bot: MasterBot) -> None:
    """Load the cog."""
    await bot.add_cog(Listener(bot))
