"""Events from the world to the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatch event, ready to serialise.

    Parameters
    ----------
    name
        Such as ``MESSAGE_CREATE``.
    data
        The payload's ``d``.
    guild_id
        None outside a guild.
    channel_id
        If set, only bots that may see the channel get it.
    only_for
        If set, only the bot with this user id gets it.
    needs
        Permissions in the guild that a bot needs to get it.
    """

    name: str
    data: dict[str, Any]
    guild_id: int | None = None
    channel_id: int | None = None
    only_for: int | None = None
    needs: int = 0


Listener = Callable[[Event], None]
