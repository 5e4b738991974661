"""What the server's channels have to be, and what they are: plain values, which ``drift`` compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import structs

from master.services.core.discord_port import Channel, ChannelKind, Embed, Overwrite

MOST_IN_CATEGORY, MOST_IN_GUILD = 50, 500
"""https://support.discord.com/hc/en-us/articles/33694251638295: categories count to the 500, threads do not."""


class Look(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a channel is."""

    kind: ChannelKind
    name: str
    topic: str = ""
    parent_id: int | None = None
    position: int = 0
    overwrites: tuple[Overwrite, ...] = ()


class WantedPanel(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has to be in a channel."""

    key: str
    text: str = ""
    embed: Embed | None = None
    pinned: bool = True


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that has to be there.

    What is None is not looked at.
    """

    key: str
    """``LOG``, ``tickets/support``, ``tree/welcome``."""
    channel_id: int = 0
    """As it is known; 0: it never was."""
    kind: ChannelKind
    name: str
    topic: str | None = None
    parent_key: str = ""
    """The wanted category that it is in; empty: ``parent_id`` says it."""
    parent_id: int | None = None
    overwrites: tuple[Overwrite, ...] | None = None
    position: int | None = None
    """Where it is put when it is made."""
    rank: int | None = None
    """Its place among those of the same category."""
    panels: tuple[WantedPanel, ...] = ()
    left_out: tuple[Overwrite, ...] = ()
    """Overwrites of roles and members that are not on the server any more."""


def look_of(channel: Channel) -> Look:
    """Return how a channel is, in a form that is the same for the same channel."""
    return Look(
        kind=channel.kind,
        name=channel.name,
        topic=channel.topic,
        parent_id=channel.parent_id,
        position=channel.position,
        overwrites=in_order(channel.overwrites),
    )


def in_order(overwrites: Iterable[Overwrite]) -> tuple[Overwrite, ...]:
    """Return overwrites in one order, without those that say nothing."""
    return tuple(
        sorted((one for one in overwrites if one.allow or one.deny), key=lambda one: (one.kind, one.target_id))
    )


def as_seen(key: str, channel_id: int, seen: Look) -> Wanted:
    """Return the wish that a channel stays as it was seen."""
    return Wanted(
        key=key,
        channel_id=channel_id,
        kind=seen.kind,
        name=seen.name,
        topic=seen.topic,
        parent_id=seen.parent_id,
        overwrites=seen.overwrites,
        position=seen.position,
    )


def parent_of(wanted: Wanted, tree: Mapping[str, Wanted], found: Mapping[int, Channel]) -> int | None:
    """Return the id of the category in which a channel has to be, as far as that is there; None: none."""
    if wanted.parent_key:
        parent = tree.get(wanted.parent_key)
        return parent.channel_id if parent is not None and parent.channel_id in found else None
    return wanted.parent_id if wanted.parent_id in found else None


def without_gone(wanted: Wanted, is_there: Callable[[Overwrite], bool]) -> Wanted:
    """Return a wish without overwrites of roles and members that are gone: Discord would refuse them.

    Parameters
    ----------
    is_there
        Tells whether an overwrite's role or member is on the server.
    """
    if wanted.overwrites is None or all(map(is_there, wanted.overwrites)):
        return wanted
    gone = tuple(one for one in wanted.overwrites if not is_there(one))
    kept = in_order(one for one in wanted.overwrites if one not in gone)
    return structs.replace(wanted, overwrites=kept, left_out=(*wanted.left_out, *gone))


def row_of(kind: ChannelKind) -> str:
    """Return which list of its category a channel stands in: Discord shows voice below text."""
    if kind in (ChannelKind.VOICE, ChannelKind.STAGE):
        return "voice"
    return "category" if kind is ChannelKind.CATEGORY else "text"
