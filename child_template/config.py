"""The settings of this bot."""

from __future__ import annotations

DESCRIPTION = "A HandshakeBot, supervised by Fleetmaster."

# Privileged intents have to be switched on in Discord's developer portal as well, or Discord closes the connection.
MEMBERS_INTENT = False
MESSAGE_CONTENT_INTENT = False

# Shown below the bot's name.
ACTIVITY = "/about"

COLOUR = 0x2ECC71
COLOUR_ERROR = 0xE74C3C
