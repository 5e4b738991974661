"""Your bot: what it does goes into ``cogs/``, one file a concern; what it is goes into ``config.py``.

Started by a Fleetmaster, it gets its token from there. Started by hand, it reads DISCORD_TOKEN from the ``.env`` beside
it, and runs unsupervised.
"""

from __future__ import annotations

import sys

import config
import discord

import nodekit


def make_bot() -> nodekit.HandshakeBot:
    """Make the bot: it loads the cogs, registers the slash commands and keeps in touch with its master by itself."""
    intents = discord.Intents.default()
    intents.members = config.MEMBERS_INTENT
    intents.message_content = config.MESSAGE_CONTENT_INTENT
    return nodekit.HandshakeBot(
        intents=intents,
        description=config.DESCRIPTION,
        activity=discord.CustomActivity(config.ACTIVITY),
        error_colour=config.COLOUR_ERROR,
    )


if __name__ == "__main__":
    sys.exit(nodekit.run(make_bot))
