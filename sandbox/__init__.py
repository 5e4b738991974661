"""A local Discord, strict enough for the unmodified discord.py; see docs/sandbox.md."""

from sandbox.errors import DiscordError, SandboxError
from sandbox.interactions import Interaction
from sandbox.people import ApplicationDidNotRespond, BotHandle, ChannelHandle, GuildHandle, Person
from sandbox.server import Sandbox
from sandbox.world import Message

__all__ = [
    "ApplicationDidNotRespond",
    "BotHandle",
    "ChannelHandle",
    "DiscordError",
    "GuildHandle",
    "Interaction",
    "Message",
    "Person",
    "Sandbox",
    "SandboxError",
]
