"""Which channels the fleet wants: those that config.py names, as they were seen last, and those of channels.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from master.configuration.settings import Settings
from master.ledger.rows.records import WantedChannel
from master.services.channels.tree import Look, Wanted, as_seen, look_of, without_gone
from master.services.core.channel_moves import named_channels
from master.services.core.discord_port import Channel, ChannelKind


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted on a server."""

    wanted: tuple[Wanted, ...]
    unknown: Mapping[str, int]
    """Channels of config.py that are not there, and of which nothing is known: key and id."""
    adopted: tuple[Wanted, ...] = ()
    """Of the wanted ones those that were found just now, and are to be remembered as they are."""


def wishes_of(
    settings: Settings,
    declared: Sequence[Wanted],
    rows: Mapping[str, WantedChannel],
    found: Mapping[int, Channel],
    roles: frozenset[int],
    current: Callable[[int], int],
) -> Wishes:
    """Return what is wanted.

    Parameters
    ----------
    declared
        The channels of channels.toml, without their ids.
    rows
        What is remembered, by key.
    roles
        Those of the server.
    current
        Returns the channel that took another's place.
    """
    adopted: list[Wanted] = []
    unknown: dict[str, int] = {}
    tree = _placed(declared, rows, found, current, adopted)
    taken = {one.channel_id for one in tree}
    wanted = [*tree]
    for key, channel_id in named_channels(settings).items():
        if channel_id in taken:
            continue
        row = rows.get(key)
        if row is not None and current(row.channel_id) == channel_id:
            wanted.append(as_seen(key, channel_id, seen_of(row)))
        elif (channel := found.get(channel_id)) is not None:
            adopted.append(as_seen(key, channel_id, look_of(channel)))
            wanted.append(adopted[-1])
        else:
            unknown[key] = channel_id
    keys = {one.channel_id: one.key for one in wanted if one.kind is ChannelKind.CATEGORY and one.channel_id}
    return Wishes(
        wanted=tuple(without_gone(_inside(one, keys, current), roles) for one in wanted),
        unknown=unknown,
        adopted=tuple(adopted),
    )


def seen_of(row: WantedChannel) -> Look:
    """Return how a channel was when it was seen last."""
    return msgspec.json.decode(row.seen, type=Look)


def row_of(wanted: Wanted, look: Look, *, guild_id: int, at: object) -> WantedChannel:
    """Return what is remembered of a channel."""
    seen = msgspec.json.encode(look).decode()
    return msgspec.convert(
        {"key": wanted.key, "guild_id": guild_id, "channel_id": wanted.channel_id, "seen": seen, "changed_at": at},
        WantedChannel,
    )


def _placed(
    declared: Sequence[Wanted],
    rows: Mapping[str, WantedChannel],
    found: Mapping[int, Channel],
    current: Callable[[int], int],
    adopted: list[Wanted],
) -> list[Wanted]:
    """Return the channels of channels.toml with their ids: as remembered, or else those of their name."""
    placed: dict[str, Wanted] = {}
    for one in declared:
        if (row := rows.get(one.key)) is not None:
            seen = seen_of(row)
            placed[one.key] = replace(one, channel_id=current(row.channel_id), position=seen.position)
    taken = {one.channel_id for one in placed.values()}
    for one in declared:
        if one.key in placed:
            continue
        parent = placed.get(one.parent_key)
        channel_id = _of_that_name(one, None if parent is None else parent.channel_id, found, taken)
        placed[one.key] = replace(one, channel_id=channel_id)
        if channel_id:
            taken.add(channel_id)
            adopted.append(placed[one.key])
    return [placed[one.key] for one in declared]


def _of_that_name(one: Wanted, parent_id: int | None, found: Mapping[int, Channel], taken: set[int]) -> int:
    """Return a channel that nobody took, of this name and kind, best in the right category; 0 if there is none."""
    fitting = [
        channel
        for channel in found.values()
        if channel.name == one.name and channel.kind is one.kind and channel.id not in taken
    ]
    best = min(fitting, key=lambda channel: (channel.parent_id != parent_id, channel.id), default=None)
    return 0 if best is None else best.id


def _inside(one: Wanted, keys: Mapping[int, str], current: Callable[[int], int]) -> Wanted:
    """Return a wish whose category is known by its key, if the fleet wants that too."""
    if one.parent_id is None or one.parent_key:
        return one
    parent_id = current(one.parent_id)
    return replace(one, parent_id=parent_id, parent_key=keys.get(parent_id, ""))
