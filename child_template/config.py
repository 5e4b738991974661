"""The settings of this bot. A change takes effect at its next start: ``fleet restart NAME``."""

from __future__ import annotations

DESCRIPTION = "A HandshakeBot, supervised by Fleetmaster."

# Privileged intents have to be switched on in Discord's developer portal as well, or Discord closes the connection.
MEMBERS_INTENT = False
MESSAGE_CONTENT_INTENT = False

# What the bot keeps in memory follows from them:
# - MEMBERS_INTENT: all members of all servers, 1.2 MB per 1,000. Without it, guild.members is the bot itself and who is
#   in a voice channel, and on_member_join does not fire; `await guild.fetch_member(id)` asks Discord.
# - MESSAGES_KEPT: so many of the latest messages, 2 MB per 1,000. on_message_delete, on_message_edit and
#   on_reaction_add fire for these alone; on_raw_message_delete and the like fire for all.
MESSAGES_KEPT = 1000 if MESSAGE_CONTENT_INTENT else 0

# Shown below the bot's name.
ACTIVITY = "/about"

# DEBUG, INFO, WARNING or ERROR.
LOG_LEVEL = "INFO"

COLOUR = 0x2ECC71
COLOUR_ERROR = 0xE74C3C
