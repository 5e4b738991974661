"""Differences between channels, and the plan against them, over any server that there can be."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from master.services.channels.drift import Step, diff, plan
from master.services.channels.tree import Wanted, in_order, row_of
from master.services.core.discord_port import Channel, ChannelKind, Overwrite
from tests.hostile.effort import rounds

NAMES = st.sampled_from(("log", "verify", "rules", "talk", "music"))
KINDS = st.sampled_from((ChannelKind.TEXT, ChannelKind.TEXT, ChannelKind.VOICE, ChannelKind.FORUM))
OVERWRITES = st.lists(
    st.builds(Overwrite, st.integers(1, 4), st.just("role"), st.integers(0, 7), st.just(0)),
    max_size=3,
    unique_by=lambda one: one.target_id,
).map(in_order)


@st.composite
def trees(draw: st.DrawFn) -> list[Wanted]:
    """Wanted channels, ranked and not, in wanted categories, in others, and in none; with ids that may be gone."""
    categories = [f"c{number}" for number in range(draw(st.integers(0, 3)))]
    wanted = []
    for rank, key in enumerate(categories):
        name = draw(NAMES)
        wanted.append(Wanted(key=key, kind=ChannelKind.CATEGORY, name=name, rank=rank, overwrites=draw(OVERWRITES)))
    for rank in range(draw(st.integers(1, 7))):
        wanted.append(
            Wanted(
                key=f"k{rank}",
                kind=draw(KINDS),
                name=draw(NAMES),
                topic=draw(st.sampled_from((None, "", "a topic"))),
                parent_key=draw(st.sampled_from(("", *categories))),
                overwrites=draw(st.none() | OVERWRITES),
                rank=draw(st.sampled_from((None, rank, 9 - rank))),
            )
        )
    ids = draw(st.permutations(range(100, 100 + len(wanted))))
    return [structs.replace(one, channel_id=number) for one, number in zip(wanted, ids, strict=True)]


@st.composite
def servers(draw: st.DrawFn) -> tuple[list[Wanted], list[Channel]]:
    """A server with some of the wanted channels, changed in any way, and some that nobody wants."""
    wanted = draw(trees())
    kept = [one for one in wanted if draw(st.booleans())]
    strangers = [
        Channel(id=500 + n, name=draw(NAMES), kind=ChannelKind.CATEGORY) for n in range(draw(st.integers(0, 2)))
    ]
    strangers += [
        Channel(id=600 + n, name=draw(NAMES), kind=ChannelKind.TEXT, position=n) for n in range(draw(st.integers(0, 3)))
    ]
    parents = [one.channel_id for one in kept if one.kind is ChannelKind.CATEGORY]
    parents += [one.id for one in strangers if one.kind is ChannelKind.CATEGORY]
    found = [
        Channel(
            id=one.channel_id,
            name=draw(NAMES),
            kind=one.kind,
            parent_id=None if one.kind is ChannelKind.CATEGORY else draw(st.sampled_from((None, *parents))),
            position=draw(st.integers(0, 4)),
            topic="" if one.kind is ChannelKind.CATEGORY else draw(st.sampled_from(("", "a topic", "another"))),
            overwrites=draw(OVERWRITES),
        )
        for one in kept
    ]
    return wanted, [*found, *strangers]


def carry_out(steps: Iterable[Step], wanted: list[Wanted], found: list[Channel]) -> tuple[list[Wanted], list[Channel]]:
    """Do to a server what Discord does for these requests."""
    there, tree = {one.id: one for one in found}, {one.key: one for one in wanted}
    for step in steps:
        if step.plan is not None:
            new_id = max([1_000, *there]) + 1
            made = step.plan
            there[new_id] = Channel(
                id=new_id, name=made.name, kind=made.kind, parent_id=made.parent_id, topic=made.topic,
                position=made.position or 0, overwrites=made.overwrites,
            )  # fmt: skip
            tree[step.key] = structs.replace(tree[step.key], channel_id=new_id)
        elif step.changes is not None:
            fields = {name: getattr(step.changes, name) for name in step.changes.__struct_fields__}
            given_fields = {name: value for name, value in fields.items() if value is not UNSET}
            there[step.channel_id] = structs.replace(there[step.channel_id], **given_fields)
    return [tree[one.key] for one in wanted], list(there.values())


@settings(max_examples=rounds(300), deadline=None)
@given(servers())
def test_carrying_out_the_plan_leaves_no_drift_and_touches_nothing_else(
    scene: tuple[list[Wanted], list[Channel]],
) -> None:
    wanted, found = scene
    strangers = {one for one in found if one.id not in {w.channel_id for w in wanted}}
    there_before = {one.id for one in found}
    for _ in range(3):  # categories; what is in them; their order
        drifts = diff(wanted, found)
        steps = plan(drifts, wanted, found)
        owned = {one.channel_id for one in wanted}
        assert all(step.plan is not None or step.channel_id in owned for step in steps)
        # In place: nothing that is there is made again.
        made = [step for step in steps if step.plan is not None]
        assert not {step.drifts[0].channel_id for step in made} & {one.id for one in found}
        wanted, found = carry_out(steps, wanted, found)
    assert diff(wanted, found) == ()
    assert strangers <= set(found)
    assert_in_order(wanted, found)
    assert there_before <= {one.id for one in found}


def assert_in_order(wanted: list[Wanted], found: list[Channel]) -> None:
    """Check the order as Discord shows it: by position, then by id."""
    there = {one.id: one for one in found}
    for parent in {one.parent_key for one in wanted}:
        for row in ("text", "voice", "category"):
            ranked = [
                one for one in wanted if one.rank is not None and (one.parent_key, row_of(one.kind)) == (parent, row)
            ]
            ordered = sorted(ranked, key=lambda one: (one.rank or 0, one.key))
            shown = sorted(ranked, key=lambda one: (there[one.channel_id].position, one.channel_id))
            if len({there[one.channel_id].parent_id for one in ranked}) == 1:
                assert [one.key for one in shown] == [one.key for one in ordered]


def test_only_what_differs_is_in_the_request() -> None:
    wanted = [Wanted(key="LOG", channel_id=1, kind=ChannelKind.TEXT, name="log", topic="t", overwrites=())]
    found = [Channel(id=1, name="oops", kind=ChannelKind.TEXT, topic="t", position=7, last_message_id=9)]
    (step,) = plan(diff(wanted, found), wanted, found)
    assert step.changes is not None
    assert (step.changes.name, step.changes.topic, step.changes.position) == ("log", UNSET, UNSET)


def test_what_nobody_wants_decides_nothing() -> None:
    """The category that nobody wants is gone: its channel is not moved about for it."""
    wanted = [Wanted(key="LOG", channel_id=1, kind=ChannelKind.TEXT, name="log", parent_id=77)]
    assert diff(wanted, [Channel(id=1, name="log", kind=ChannelKind.TEXT)]) == ()
