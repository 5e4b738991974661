"""A local Discord, strict enough for the unmodified discord.py; see docs/sandbox.md."""

from sandbox.errors import DiscordError, SandboxError
from sandbox.interactions import Interaction
from sandbox.people import ApplicationDidNotRespond, BotHandle, ChannelHandle, CommandNotVisible, GuildHandle, Person
from sandbox.records import Message
from sandbox.server import Sandbox

__all__ = [
    "ApplicationDidNotRespond",
    "BotHandle",
    "ChannelHandle",
    "CommandNotVisible",
    "DiscordError",
    "GuildHandle",
    "Interaction",
    "Message",
    "Person",
    "Sandbox",
    "SandboxError",
]
