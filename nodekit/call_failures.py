"""The exceptions of a call to Discord, named once for nodes and master."""

from __future__ import annotations

import aiohttp
import discord

CALL_FAILURES = (discord.DiscordException, aiohttp.ClientError, OSError)
"""The call was refused, or there was no answer. TimeoutError is an OSError; not every aiohttp.ClientError is."""
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
"""The answer was not Discord's: discord.py reads it without checking it (bad JSON, a missing field, null)."""
ANY_FAILURE = (*CALL_FAILURES, *UNREADABLE, RuntimeError)
"""All of them, and aiohttp's RuntimeError of a closed session; for a call with nothing of ours around it."""
