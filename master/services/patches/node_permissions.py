"""What a node may do, in words, for its manifest."""

from __future__ import annotations

from master.ledger.rows.records import Node
from master.services.fleet.launching import Launcher
from nodekit.gateway_session import read_intents

_NAMES = (
    "guilds",
    "members",
    "moderation",
    "expressions",
    "integrations",
    "webhooks",
    "invites",
    "voice_states",
    "presences",
    "guild_messages",
    "guild_reactions",
    "guild_typing",
    "dm_messages",
    "dm_reactions",
    "dm_typing",
    "message_content",
    "guild_scheduled_events",
)
"""Of the bits of intents: https://discord.com/developers/docs/events/gateway#list-of-intents."""


def permissions_of(node: Node, launcher: Launcher) -> dict[str, str]:
    """Return what a node may do: what it hears of Discord, whether it is isolated, what it may open beyond its own."""
    own, settings = launcher.own_settings(node), launcher.settings
    found = {"isolated": "yes" if settings.is_isolated(own) else "no"}
    if own.readable:
        found["may_open"] = ", ".join(str(path) for path in own.readable)[:1_000]
    intents = read_intents(settings.sessions_dir / node.id)
    if intents is not None:
        found["intents"] = ", ".join(name for bit, name in enumerate(_NAMES) if intents >> bit & 1) or "none"
    return found
