"""A sandbox that stands: one server with a bot and people, the same ids and the same token at every start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox import permissions
from sandbox.intents import PRIVILEGED
from sandbox.people import BotHandle, ChannelHandle, GuildHandle, Person
from sandbox.server import Sandbox

_BEGINNING = 1_767_225_600.0
"""2026-01-01: the ids of what is there from the start come from this moment, whenever it is started."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A sandbox and what is on it; channels and people by their names."""

    sandbox: Sandbox
    guild: GuildHandle
    bots: dict[str, BotHandle]
    channels: dict[str, ChannelHandle]
    people: dict[str, Person]


def set_up(
    *, port: int = 0, guild: str, bots: Sequence[str], channels: Sequence[str], people: Sequence[str]
) -> Standing:
    """Return a sandbox that is not started yet; the first person owns the server.

    The bots have every privileged intent, and are administrators.
    """
    sandbox = Sandbox(port=port)
    sandbox.world.clock = lambda: _BEGINNING
    owner = sandbox.create_human(people[0])
    server = sandbox.create_guild(guild, owner)
    accounts = {name: sandbox.create_bot(name, privileged_intents=PRIVILEGED, owner=owner) for name in bots}
    for account in accounts.values():
        server.add_bot(account, bits=permissions.ADMINISTRATOR | permissions.EVERYONE_DEFAULT)
    rooms = {name: server.create_channel(name) for name in channels}
    persons = {owner.name: owner}
    for name in people[1:]:
        persons[name] = sandbox.create_human(name)
        server.add_member(persons[name])
    sandbox.world.clock = time.time
    return Standing(sandbox, server, accounts, rooms, persons)
