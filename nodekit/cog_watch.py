"""Loads a bot's cogs again when their files change; imported only for a node with WATCH."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodekit.bot import HandshakeBot

log = logging.getLogger("node")

LOOK_EVERY_S = 0.5
"""A look at a few files costs less than a library that would tell of them."""
SETTLES_IN_S = 0.1


async def watch_cogs(bot: HandshakeBot) -> None:
    """Load cogs when they change, until cancelled."""
    log.info("cogs are loaded again when their files change")
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        changed = bot.cog_files.changed()
        if not changed:
            continue
        # A file may still be being written.
        found = bot.cog_files.find()
        await asyncio.sleep(SETTLES_IN_S)
        if found == bot.cog_files.find():
            changes = await bot.load_cogs(changed)
            for verb, names in (("loaded again", changes.loaded), ("unloaded, their files are gone", changes.removed)):
                if names:
                    log.info("cogs %s: %s", verb, ", ".join(names))
