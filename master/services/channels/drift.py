"""How the wanted channels differ from those that were found, and the smallest changes against it.

Pure: a function of what it is given. What nobody wants is in no drift and in no step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from master.ledger.rows.records import ChannelDrift
from master.services.channels.tree import Look, Wanted, look_of, parent_of, row_of
from master.services.core.discord_port import Channel, ChannelChanges, ChannelKind, ChannelPlan

_MAKEABLE = (ChannelKind.TEXT, ChannelKind.VOICE, ChannelKind.CATEGORY, ChannelKind.FORUM, ChannelKind.ANNOUNCEMENT)


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a channel is not as it has to be."""

    key: str
    kind: ChannelDrift
    channel_id: int
    """0 if it never was."""
    wanted: Look
    found: Look | None = None
    """None: the channel is gone."""
    panel: str = ""
    """The key of the message that this is about."""

    @property
    def thing(self) -> str:
        """What it is about, for counting."""
        return f"{self.key}:{self.kind}"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One request to Discord, and the drifts that it ends."""

    key: str
    drifts: tuple[Drift, ...]
    plan: ChannelPlan | None = None
    """The channel to make."""
    channel_id: int = 0
    changes: ChannelChanges | None = None
    """What to change of the channel."""


def diff(wanted: Sequence[Wanted], found: Iterable[Channel]) -> tuple[Drift, ...]:
    """Return what is not as it has to be; categories first, in the order of what is wanted."""
    there = {channel.id: channel for channel in found}
    tree = {one.key: one for one in wanted}
    drifts: list[Drift] = []
    for one in sorted(wanted, key=_rank_of_making):
        channel = there.get(one.channel_id)
        if channel is None:
            drifts.append(Drift(key=one.key, kind="gone", channel_id=one.channel_id, wanted=_as_made(one, tree, there)))
        else:
            drifts += _differences(one, channel, tree, there)
    return (*drifts, *_disorder(wanted, tree, there))


def plan(drifts: Sequence[Drift], wanted: Sequence[Wanted], found: Iterable[Channel]) -> tuple[Step, ...]:
    """Return the requests that end these drifts: what is gone is made, categories first; the rest is changed in place.

    What has to be in a category that this plan makes is left to the next one, which knows its id.
    """
    tree, there = {one.key: one for one in wanted}, {channel.id: channel for channel in found}
    together: dict[str, list[Drift]] = defaultdict(list)
    for drift in drifts:
        together[drift.key].append(drift)
    made = {drift.key for drift in drifts if drift.kind == "gone"}
    steps = [
        _step(tree[key], tuple(own), tree, there)
        for key, own in together.items()
        if key in tree and tree[key].parent_key not in made
    ]
    return tuple(step for step in steps if step.plan is not None or step.changes is not None)


def part(kind: ChannelDrift, look: Look | None) -> object:
    """Return the part of a look that a kind of drift is about: what has to be the same for it to be the same drift."""
    if look is None:
        return None
    parts: dict[str, object] = {
        "renamed": look.name,
        "moved": look.parent_id,
        "topic": look.topic,
        "permissions": look.overwrites,
        "order": look.position,
    }
    return parts.get(kind, look)


def changes_to(look: Look, kinds: Iterable[ChannelDrift]) -> ChannelChanges | None:
    """Return what sets these parts of a channel to those of a look; None if nothing does."""
    values: dict[str, object] = {}
    for kind in kinds:
        field, value = {
            "renamed": ("name", look.name),
            "moved": ("parent_id", look.parent_id),
            "topic": ("topic", look.topic),
            "permissions": ("overwrites", look.overwrites),
            "order": ("position", look.position),
        }.get(kind, ("", None))
        if field:
            values[field] = value
    return msgspec.convert(values, ChannelChanges) if values else None


def _differences(
    one: Wanted, channel: Channel, tree: Mapping[str, Wanted], there: Mapping[int, Channel]
) -> list[Drift]:
    look = look_of(channel)
    kinds: list[ChannelDrift] = []
    parent_id = parent_of(one, tree, there)
    # A category that is gone itself is made first; nobody makes the one that nobody wants.
    if channel.kind is not ChannelKind.CATEGORY and parent_id != look.parent_id and (parent_id or not _has_parent(one)):
        kinds.append("moved")
    if one.name != look.name:
        kinds.append("renamed")
    if one.topic is not None and one.topic != look.topic and channel.kind is not ChannelKind.CATEGORY:
        kinds.append("topic")
    if one.overwrites is not None and one.overwrites != look.overwrites:
        kinds.append("permissions")
    aim = Look(
        kind=look.kind,
        name=one.name,
        topic=look.topic if one.topic is None else one.topic,
        parent_id=parent_id,
        position=look.position,
        overwrites=look.overwrites if one.overwrites is None else one.overwrites,
    )
    return [Drift(key=one.key, kind=kind, channel_id=channel.id, wanted=aim, found=look) for kind in kinds]


def _has_parent(one: Wanted) -> bool:
    return bool(one.parent_key) or one.parent_id is not None


def _as_made(one: Wanted, tree: Mapping[str, Wanted], there: Mapping[int, Channel]) -> Look:
    position = one.position if one.position is not None else one.rank
    return Look(
        kind=one.kind,
        name=one.name,
        topic=one.topic or "",
        parent_id=parent_of(one, tree, there),
        position=position or 0,
        overwrites=one.overwrites or (),
    )


def _disorder(wanted: Sequence[Wanted], tree: Mapping[str, Wanted], there: Mapping[int, Channel]) -> Iterable[Drift]:
    """Return which channels stand in another order than they have to; only of lists that are otherwise complete."""
    lists: dict[tuple[object, str], list[Wanted]] = defaultdict(list)
    for one in wanted:
        if one.rank is not None:
            lists[one.parent_key or one.parent_id, row_of(one.kind)].append(one)
    for members in lists.values():
        ordered = sorted(members, key=lambda one: (one.rank or 0, one.key))
        channels = [there.get(one.channel_id) for one in ordered]
        here = [channel for channel in channels if channel is not None]
        if len(here) < len(ordered) or len({channel.parent_id for channel in here}) != 1:
            continue
        for one, channel, position in zip(ordered, here, _positions(here), strict=True):
            if position != channel.position:
                found = look_of(channel)
                aim = msgspec.structs.replace(found, position=position)
                yield Drift(key=one.key, kind="order", channel_id=channel.id, wanted=aim, found=found)


def _positions(ordered: Sequence[Channel]) -> list[int]:
    """Return positions that put channels into this order: their own, dealt out anew. No other channel is touched."""
    slots = sorted((channel.position, channel.id) for channel in ordered)
    if [channel.id for channel in ordered] == [channel_id for _, channel_id in slots]:
        return [channel.position for channel in ordered]
    given: list[int] = []
    for channel, (slot, _) in zip(ordered, slots, strict=True):
        if given:
            before = ordered[len(given) - 1]
            # Discord puts the lower id first where two have the same position.
            slot = max(slot, given[-1] + (1 if channel.id < before.id else 0))
        given.append(slot)
    return given


def _step(one: Wanted, drifts: tuple[Drift, ...], tree: Mapping[str, Wanted], there: Mapping[int, Channel]) -> Step:
    if any(drift.kind == "gone" for drift in drifts):
        return Step(key=one.key, drifts=drifts, plan=plan_of(_as_made(one, tree, there)))
    # Each drift has the whole aim but for the order, which is one of its own.
    aim = drifts[0].wanted
    order = next((drift.wanted.position for drift in drifts if drift.kind == "order"), aim.position)
    aim = msgspec.structs.replace(aim, position=order)
    changes = changes_to(aim, [drift.kind for drift in drifts])
    return Step(key=one.key, drifts=drifts, channel_id=drifts[0].channel_id, changes=changes)


def plan_of(look: Look) -> ChannelPlan | None:
    """Return what makes a channel with a look; None for a kind that the fleet does not make."""
    if look.kind not in _MAKEABLE:
        return None
    return ChannelPlan(
        name=look.name,
        kind=look.kind,  # type: ignore[arg-type]  # checked above
        parent_id=None if look.kind is ChannelKind.CATEGORY else look.parent_id,
        topic="" if look.kind is ChannelKind.CATEGORY else look.topic,
        position=look.position,
        overwrites=look.overwrites,
    )


def _rank_of_making(one: Wanted) -> tuple[bool, bool]:
    """Return what orders wishes: categories are made first, and then the channel of alerts."""
    return one.kind is not ChannelKind.CATEGORY, one.key != "LOG"
