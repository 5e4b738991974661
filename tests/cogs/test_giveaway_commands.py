"""/giveaway and its buttons as people use them, on the sandbox through discord.py; a storm of presses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.giveaway_storm import StormResult, crowd, storm
from master.services.people.giveaway_draw import check
from sandbox import CommandNotVisible, Interaction, Message, Person, SandboxError
from sandbox.records import Role
from sandbox.showing import message_lines
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
    shown = shown_of(interaction)
    assert shown.ephemeral_for is not None
    return str(shown.embeds)


def shown_of(interaction: Interaction) -> Message:
    shown = interaction.followups[-1] if interaction.followups else interaction.message
    assert shown is not None
    return shown


async def agrees(stall: PatchScene, name: str, label: str, **options: Any) -> str:
    """Run a command as ada that asks, and say yes."""
    asked = await stall.runs(f"giveaway {name}", options)
    question = shown_of(asked)
    await stall.ada.presses(question, label)
    await stall.until(lambda: "?" not in str(question.embeds[0]["title"]))
    return str(question.embeds)


def as_on_the_page(lines: list[str]) -> str:
    """Return what is shown, with what differs each time as on the page."""
    text = "\n".join(lines)
    for pattern, instead in (
        (r"<t:\d+:R>", "in 7 days"),
        (r"<t:\d+:f>", "30 November 2026 02:01"),
        (r"`[0-9a-f]{64}`", "`944ec78b970c009e466e7e150a74cc9683c858808f213dff06ca05476d19ba33`"),
        (r"\b01[0-9A-Z]{24}\b", "01M831D71RFJ5V9CEYK5C35YR8"),
        (r"\(\d+ bytes\)", "(496 bytes)"),
        (r"^#[\w-]+", "#lounge"),
        (r"🎉 @\w+:", "🎉 @ben:"),
    ):
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


async def test_the_pictures_in_the_docs_are_what_people_see(stall: PatchScene) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "giveaways.md").read_text("utf-8")
    world = stall.sandbox.world
    message = await started(stall, prize="A year of pro", duration="7d", description="For all who test with us.")
    assert as_on_the_page(message_lines(world, message)) in page
    for person in (stall.ada, stall.ben, stall.eve):
        entered = await answered(await person.presses(message, f"giveaway:enter:{id_of(message)}"))
    assert as_on_the_page(message_lines(world, shown_of(entered))) in page
    asked = await stall.runs("giveaway end", {"giveaway": id_of(message)})
    assert as_on_the_page(message_lines(world, shown_of(asked))) in page
    await stall.ada.presses(shown_of(asked), "End it")
    announcement = await stall.shown(lambda m: bool(m.attachments))
    assert as_on_the_page(message_lines(world, announcement)) in page


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


async def test_without_prize_or_duration_a_form_asks_and_what_is_wrong_in_it_is_mended(stall: PatchScene) -> None:
    role = stall.guild.create_role("patrons")
    options = {"duration": "2h", "account_days": 3, "required_role": role}
    form = await stall.ada.runs_command(stall.channel, stall.account, "giveaway start", options)
    filled = {"What is given away?": "a *mug*", "How many win it?": "two"}
    wrong = await answered(await stall.ada.submits_modal(form, filled))
    assert "'two' is no number of winners" in text_of(wrong)
    assert stall.channel.messages == []
    again = await stall.ada.presses(wrong, "Back to the form")
    # What was typed is there, and what the command's options said goes with it.
    done = await answered(await stall.ada.submits_modal(again, {"How many win it?": "2"}))
    assert "The giveaway is open" in text_of(done)
    message = await stall.shown(lambda found: "seed" in str(found.embeds))
    shown = "\n".join(message_lines(stall.sandbox.world, message))
    for words in ("a \\*mug\\*", "Winners: **2**", "@patrons", "at least 3 days old"):
        assert words in shown
    once_more = await stall.ada.presses(wrong, "Back to the form")
    fields: dict[str, str | list[Role]] = {
        "What is given away?": "a hat",
        "How many win it?": "1",
        "Who may enter?": [],
    }
    everybody = await stall.ada.submits_modal(once_more, fields)
    assert "The giveaway is open" in text_of(await answered(everybody))
    hat = await stall.shown(lambda found: "a hat" in str(found.embeds))
    assert "@patrons" not in "\n".join(message_lines(stall.sandbox.world, hat))


async def test_a_question_says_who_is_left_and_none_is_asked_where_the_answer_would_be_refused(
    stall: PatchScene,
) -> None:
    message = await started(stall, prize_tier="standard")
    early = await stall.runs("giveaway reroll", {"giveaway": id_of(message)})
    assert "is still open" in text_of(early)
    assert "the first of all" in await pressed(stall.eve, message, f"giveaway:enter:{id_of(message)}")
    assert "with 1 other." in await pressed(stall.ben, message, f"giveaway:enter:{id_of(message)}")
    ended = await agrees(stall, "end", "End it", giveaway=id_of(message))
    assert "2 entries" in ended
    for name in ("end", "cancel"):
        assert "is drawn already" in text_of(await stall.runs(f"giveaway {name}", {"giveaway": id_of(message)}))
    first = await stall.runs("giveaway reroll", {"giveaway": id_of(message)})
    assert "For its winner: 1 other can win it." in text_of(first)
    await agrees(stall, "reroll", "Draw again", giveaway=id_of(message))
    last = await stall.runs("giveaway reroll", {"giveaway": id_of(message)})
    assert "**nobody is left to win it**" in text_of(last)
    assert "nobody was left to win it" in await agrees(stall, "reroll", "Draw again", giveaway=id_of(message))


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
    # Each interaction has limits of its own: their answers are not counted together.
    assert stall.sandbox.rate_limits.refused == 0
    (view,) = (await giveaways.records.list(stall.guild.id, 1)).giveaways
    assert view.entries == count
    assert giveaways.entries.writes < count / 2
    return result


async def test_a_storm_of_presses_is_answered_in_time(stall: PatchScene) -> None:
    await _storm(stall, 150)


@pytest.mark.slow
async def test_a_storm_of_thousands_is_answered_in_time(stall: PatchScene) -> None:
    await _storm(stall, 2_000)
