"""/giveaway and its buttons as people use them, on the sandbox through discord.py; a storm of presses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from benchmarks.giveaway_storm import StormResult, crowd, storm
from master.services.people.giveaway_draw import check
from sandbox import CommandNotVisible, Interaction, Message, Person, SandboxError
from tests.cogs.patch_scene import PatchScene, answered


@pytest.fixture
async def stall(office: PatchScene) -> AsyncIterator[PatchScene]:
    """Yield a master whose giveaways run; ada and ben are operators, eve is a member."""
    await office.connect()
    giveaways = office.services.giveaways
    assert giveaways is not None
    running = asyncio.create_task(giveaways.run())
    yield office
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def started(stall: PatchScene, **options: Any) -> Message:
    """Start a giveaway as ada; returns its message."""
    asked = await stall.runs("giveaway start", {"prize": "a *mug*", "duration": "1h30m", **options})
    assert "The giveaway is open" in asked.embeds[0]["title"], asked.embeds
    return await stall.shown(lambda message: bool(message.embeds) and "seed" in str(message.embeds))


def id_of(message: Message) -> str:
    return str(message.embeds[0]["footer"]["text"]).removeprefix("Giveaway ")


async def pressed(person: Person, where: Message | Interaction, button: str) -> str:
    """Press a button; returns what the answer says."""
    return text_of(await answered(await person.presses(where, button)))


def text_of(interaction: Interaction) -> str:
    shown = interaction.followups[-1] if interaction.followups else interaction.message
    assert shown is not None
    assert shown.ephemeral_for is not None
    return str(shown.embeds)


async def agrees(stall: PatchScene, name: str, label: str, **options: Any) -> str:
    """Run a command as ada that asks, and say yes."""
    asked = await stall.runs(f"giveaway {name}", options)
    question = asked.followups[-1] if asked.followups else asked.message
    assert question is not None
    await stall.ada.presses(question, label)
    await stall.until(lambda: "?" not in str(question.embeds[0]["title"]))
    return str(question.embeds)


async def test_a_giveaway_from_the_command_to_the_check_of_its_draw(stall: PatchScene) -> None:
    message = await started(stall, winners=2, description="blue")
    assert "a \\*mug\\*" in message.embeds[0]["title"]
    for person in (stall.ada, stall.ben, stall.eve):
        assert "You are in" in await pressed(person, message, f"giveaway:enter:{id_of(message)}")
    again = await stall.eve.presses(message, f"giveaway:enter:{id_of(message)}")
    assert "You are in already" in text_of(again)
    assert "You have left" in await pressed(stall.eve, again, "Leave")
    await stall.until(lambda: "(0)" not in str(message.components))
    await agrees(stall, "end", "End it", giveaway=id_of(message))
    await stall.until(lambda: "Won by" in str(message.embeds))
    announcement = await stall.shown(lambda m: bool(m.attachments))
    assert announcement.mentions_user(stall.ada.id)
    assert announcement.mentions_user(stall.ben.id)
    assert check(announcement.attachments[0].content.decode()).problems == ()
    looked = await answered(await stall.eve.presses(message, "Check the draw"))
    assert "is as its rule says" in text_of(looked)
    sent = [found for found in (looked.message, *looked.followups) if found is not None and found.attachments]
    assert sent[0].attachments[0].content == announcement.attachments[0].content
    listed = await stall.runs("giveaway list")
    assert "won by" in str(listed.embeds)


async def test_who_may_not_is_told_so_and_nothing_happens(stall: PatchScene) -> None:
    role = stall.guild.create_role("patrons")
    message = await started(stall, required_role=role)
    assert f"<@&{role.id}>" in await pressed(stall.eve, message, f"giveaway:enter:{id_of(message)}")
    stall.sandbox.world.set_member_roles(stall.guild.guild, stall.guild.guild.members[stall.eve.id], [role.id])
    assert "You are in" in await pressed(stall.eve, message, f"giveaway:enter:{id_of(message)}")
    for name in ("end", "cancel", "reroll"):
        with pytest.raises((CommandNotVisible, SandboxError)):
            await stall.eve.runs_command(stall.channel, stall.account, f"giveaway {name}", {"giveaway": id_of(message)})


async def test_buttons_work_for_the_next_connection_and_names_are_suggested(stall: PatchScene) -> None:
    message = await started(stall)
    await stall.disconnect()
    await stall.connect()
    assert "You are in" in await pressed(stall.eve, message, f"giveaway:enter:{id_of(message)}")
    found = await stall.ada.autocompletes(
        stall.channel, stall.account, "giveaway end", {"giveaway": "MUG"}, focused="giveaway"
    )
    assert [choice["value"] for choice in found] == [id_of(message)]
    await agrees(stall, "cancel", "Cancel the giveaway", giveaway=id_of(message), why="it broke")
    await stall.until(lambda: "it broke" in str(message.embeds))
    with pytest.raises(SandboxError, match="disabled"):
        await stall.eve.presses(message, "Cancelled")
    assert [outcome for _, outcome in await stall.audited("giveaway_cancel")] == ["done"]


async def test_a_winner_who_takes_no_messages_sees_the_code_alone(stall: PatchScene) -> None:
    message = await started(stall, prize_tier="standard")
    await pressed(stall.eve, message, f"giveaway:enter:{id_of(message)}")
    closed = b'{"message": "Cannot send messages to this user", "code": 50007}'
    stall.sandbox.faults.answer_raw(closed, status=403, path_contains="/users/@me/channels")
    await agrees(stall, "end", "End it", giveaway=id_of(message))
    announcement = await stall.shown(lambda m: bool(m.attachments))
    claimed = await pressed(stall.eve, announcement, "Claim")
    assert "FM1-" in claimed
    assert "have not won" in await pressed(stall.ben, announcement, "Claim")
    assert all("FM1-" not in str(found.embeds) + found.content for found in stall.channel.messages)


@pytest.mark.parametrize("typed", ["soon", "5s", "", "9999999w", "1h and more"])
async def test_durations_that_are_none_are_named(stall: PatchScene, typed: str) -> None:
    if len(typed) < 2:
        with pytest.raises(SandboxError):
            await stall.runs("giveaway start", {"prize": "p", "duration": typed})
        return
    asked = await stall.runs("giveaway start", {"prize": "p", "duration": typed})
    assert "12h" in str(asked.embeds)
    assert stall.channel.messages == []


async def _storm(stall: PatchScene, count: int) -> StormResult:
    message = await started(stall)
    people = crowd(stall.sandbox, stall.guild, count)
    # Sandbox, crowd and master share a thread here: of how many at a time is a matter of the machine.
    result = await storm(people, message, at_once=25)
    giveaways = stall.services.giveaways
    assert giveaways is not None
    print(f"{result} in {giveaways.entries.writes} transactions")
    assert (result.entered, result.failed) == (count, 0)
    (view,) = (await giveaways.records.list(stall.guild.id, 1)).giveaways
    assert view.entries == count
    assert giveaways.entries.writes < count / 2
    return result


async def test_a_storm_of_presses_is_answered_in_time(stall: PatchScene) -> None:
    await _storm(stall, 150)


@pytest.mark.slow
async def test_a_storm_of_thousands_is_answered_in_time(stall: PatchScene) -> None:
    await _storm(stall, 2_000)
