"""Channels by what they are for, not by their id: one that was made anew is found by any id that it ever had."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from handshake.files import read_regular
from master.configuration.settings import (
    AnnouncePlace,
    MailboxSettings,
    MailRule,
    Settings,
    TicketCategory,
)
from master.durable import replace_file
from master.ledger.rows.records import ChannelMove

log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 4 << 20
ASSIGNABLE = ("verify", "patch", "log")
TREE = "tree/"
"""What the keys of channels.toml begin with here."""


class ChannelMoves:
    """Know which channel took the place of which.

    The ledger has them; a file beside it has them too, for a master that begins while the ledger is away.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._successors = load_moves(path)
        self._assigned: dict[str, int] = {}

    def current(self, channel_id: int) -> int:
        """Return the channel that is in the place of this one now: itself, if it was never made anew."""
        return current_of(self._successors, channel_id)

    def is_successor(self, channel_id: int) -> bool:
        """Tell whether a channel took the place of another one."""
        return channel_id in self._successors.values()

    def __bool__(self) -> bool:
        return bool(self._successors or self._assigned)

    def add(self, old_id: int, new_id: int) -> None:
        """Note a move; it counts at once."""
        self._successors.pop(new_id, None)
        if old_id and old_id != new_id:
            self._successors[old_id] = new_id

    def load(self, moves: Iterable[ChannelMove]) -> None:
        """Take over what the ledger has."""
        self._successors = {}
        for move in moves:
            self.add(move.old_id, move.new_id)

    async def save(self) -> None:
        """Write the file; a disk that is full costs no move: the ledger has them."""
        content = msgspec.json.encode(self._successors)
        try:
            await asyncio.to_thread(replace_file, self._path, content)
        except OSError as error:
            log.warning("the file of channels that were made anew cannot be written", extra={"why": error.strerror})

    def follow(self, settings: Settings) -> Settings:
        """Return settings with the channels that took the place of those that are named."""
        settings = followed(settings, self._successors) if self._successors else settings
        if not self._assigned:
            return settings
        channels = settings.channels
        own = {name: getattr(channels, name) or self.current(self._assigned.get(name, 0)) for name in ASSIGNABLE}
        return replace(settings, channels=replace(channels, **own))

    def assign(self, channels: Mapping[str, int]) -> bool:
        """Let channels of channels.toml be those of CHANNELS that config.py does not name; True if that is news.

        Parameters
        ----------
        channels
            By their keys: ``verify``, ``patch``, ``log``.
        """
        before, self._assigned = self._assigned, dict(channels)
        return before != self._assigned


def load_moves(path: Path) -> dict[int, int]:
    """Return which channel took the place of which, from the file. Blocks."""
    try:
        return msgspec.json.decode(read_regular(path, _MAX_FILE_BYTES), type=dict[int, int])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("the file of channels that were made anew cannot be read", extra={"why": str(error)})
        return {}


def current_of(successors: dict[int, int], channel_id: int) -> int:
    """Return the last channel in a row of successors."""
    seen = {channel_id}
    while (found := successors.get(channel_id)) is not None and found not in seen:
        seen.add(found)
        channel_id = found
    return channel_id


def followed(settings: Settings, successors: dict[int, int]) -> Settings:
    """Return settings in which each channel is the one that took its place."""

    def at(channel_id: int) -> int:
        return current_of(successors, channel_id)

    def ticket(category: TicketCategory) -> TicketCategory:
        return replace(category, channel_id=at(category.channel_id), log_channel_id=at(category.log_channel_id))

    def rule(one: MailRule) -> MailRule:
        return replace(one, channel_id=at(one.channel_id))

    def mailbox(box: MailboxSettings) -> MailboxSettings:
        rules = {name: rule(one) for name, one in box.rules.items()}
        return replace(box, channel_id=at(box.channel_id), rules=rules)

    def place(one: AnnouncePlace) -> AnnouncePlace:
        return replace(one, channel_id=at(one.channel_id))

    channels, tickets = settings.channels, settings.tickets
    return replace(
        settings,
        channels=replace(channels, verify=at(channels.verify), patch=at(channels.patch), log=at(channels.log)),
        tickets=replace(tickets, categories={name: ticket(one) for name, one in tickets.categories.items()}),
        mailboxes={name: mailbox(one) for name, one in settings.mailboxes.items()},
        announce={name: place(one) for name, one in settings.announce.items()},
    )


def named_channels(settings: Settings) -> dict[str, int]:
    """Return the channels that config.py names, by what they are for; each channel once."""
    channels = settings.channels
    named = {"LOG": channels.log, "VERIFY": channels.verify, "PATCH": channels.patch}
    for name, category in settings.tickets.categories.items():
        named[f"tickets/{name}"] = category.channel_id
        named[f"tickets/{name}/log"] = category.log_channel_id
    once: dict[int, str] = {}
    for key, channel_id in named.items():
        if channel_id:
            once.setdefault(channel_id, key)
    return {key: channel_id for channel_id, key in once.items()}
