"""Your bot: put its features into ``cogs/``, one file per concern, and its settings into ``config.py``.

Started by a Fleetmaster, it gets its token from the master. Started by hand, it reads DISCORD_TOKEN from the ``.env``
beside this file, and runs unsupervised.
"""

from __future__ import annotations

import sys

import config
import discord

import nodekit


def make_bot() -> nodekit.HandshakeBot:
    """Create the bot, which loads the cogs, registers the slash commands and connects to its master by itself."""
    intents = discord.Intents.default()
    intents.members = config.MEMBERS_INTENT
    intents.message_content = config.MESSAGE_CONTENT_INTENT
    return nodekit.HandshakeBot(
        intents=intents,
        max_messages=config.MESSAGES_KEPT or None,
        description=config.DESCRIPTION,
        activity=discord.CustomActivity(config.ACTIVITY),
        error_colour=config.COLOUR_ERROR,
    )


if __name__ == "__main__":
    sys.exit(nodekit.run(make_bot, log_level=config.LOG_LEVEL))
