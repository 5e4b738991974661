"""People change and delete the fleet's channels: what comes back, what is asked, what is told, what is undone."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from master.configuration.settings import Settings
from master.ledger.errors import LedgerError
from master.operations import channels
from master.operations.parameters import ChannelsLeaveParams, ChannelsRepairParams, ChannelsUndoParams, NoParams
from master.services.core.errors import DiscordUnavailable
from sandbox import Message, Sandbox, permissions
from tests.ledger.writer.test_spool import locked
from tests.services.channels.channel_scene import master_on, server_on
from tests.services.conftest import OPERATOR, house_settings

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(120)
OWN = ("log", "patch", "verify", "tickets", "transcripts")


def report(title: str, *, after: set[int] = frozenset()) -> object:  # type: ignore[assignment]
    def fits(message: Message) -> bool:
        return message.id not in after and any(title in embed.get("title", "") for embed in message.embeds)

    return fits


async def test_all_are_deleted_at_once_and_come_back_with_one_report(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings)
    server.one("patch").channel.topic = "Patches"
    async with master_on(server) as scene:
        before = {name: server.one(name).id for name in OWN}
        for name in OWN:
            await server.ada.deletes_channel(server.one(name))
        await scene.until(lambda: all(server.named(name) for name in OWN))
        settings = scene.services.settings
        told = await server.one("log").wait_for_message(report("5 channels put right"))  # type: ignore[arg-type]
        after = {name: server.one(name).id for name in OWN}
        assert not set(before.values()) & set(after.values())
        assert (settings.channels.log, settings.channels.patch) == (after["log"], after["patch"])
        assert settings.tickets.categories["support"].channel_id == after["tickets"]
        assert settings.tickets.categories["support"].log_channel_id == after["transcripts"]
        assert server.one("transcripts").channel.parent_id == after["tickets"]
        assert server.one("patch").channel.parent_id == server.one("office").id
        assert server.one("patch").channel.topic == "Patches"
        assert [field["value"] for field in told.embeds[0]["fields"]] == [f"<@{server.ada.id}>"]
        assert len([message for message in server.one("log").messages if message.embeds]) == 1
        view = await scene.house.operations.run(channels.listing, OPERATOR, NoParams())
        assert {row.state for row in view.channels} == {"ok"}
        assert {row.key: row.config_id for row in view.channels}["LOG"] == before["log"]
    # The next master follows too, and finds nothing to do.
    async with master_on(server) as scene:
        assert scene.services.settings.channels.log == after["log"]
        assert await scene.services.channels.keeper.look() == []


async def test_a_rename_is_put_right_in_place_and_the_button_puts_back_what_the_person_made(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server) as scene:
        patch = server.one("patch")
        await server.ada.renames_channel(patch, "oops")
        await scene.until(lambda: patch.channel.name == "patch")
        told = await server.one("log").wait_for_message(report("1 channel put right"))  # type: ignore[arg-type]
        assert "PATCH #patch: renamed to #oops" in told.embeds[0]["description"].replace("\\", "")
        pressed = await server.ada.presses(told, "Undo")
        await pressed.wait_until(lambda i: bool(i.embeds))
        assert patch.channel.name == "oops"
        # It stays so: it is what the operator wants.
        assert await scene.services.channels.keeper.look() == []
        (row,) = await scene.house.operations.run(channels.diff, OPERATOR, NoParams())
        assert (row.drift, row.state) == ("renamed", "left")


async def test_who_keeps_deleting_is_asked_in_the_end(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings, most_an_hour=2)
    async with master_on(server) as scene:
        log = server.one("log")
        for _ in range(2):
            gone = server.one("patch")
            await server.ada.deletes_channel(gone)
            await scene.until(lambda gone=gone: bool(server.named("patch")))  # type: ignore[misc]
        await server.ada.deletes_channel(server.one("patch"))
        question = await log.wait_for_message(report("put right?"))  # type: ignore[arg-type]
        assert "2 times within an hour" in question.embeds[0]["description"]
        assert not server.named("patch")
        left = await server.ada.presses(question, "Leave it")
        await left.wait_until(lambda i: bool(i.embeds))
        assert await scene.services.channels.keeper.look() == []
        done = await scene.house.operations.run(channels.repair, OPERATOR, ChannelsRepairParams(keys=("PATCH",)))
        assert [row.state for row in done] == ["repaired"]
        assert server.named("patch")


async def test_what_cannot_be_done_is_said_with_the_permission(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server) as scene:
        server.guild.role_of(server.account).permissions &= ~permissions.MANAGE_CHANNELS
        await server.ada.deletes_channel(server.one("patch"))
        told = await server.one("log").wait_for_message(report("could not be put right"))  # type: ignore[arg-type]
        assert "give the master's role Manage Channels" in told.embeds[0]["description"]
        again = await scene.services.channels.keeper.look()
        assert [one.state for one in again] == ["failed"]
        assert len(await scene.repairs()) == 1  # one row, however often it is tried
        assert len([message for message in server.one("log").messages if message.embeds]) == 1
        server.guild.role_of(server.account).permissions |= permissions.MANAGE_CHANNELS
        await scene.services.channels.keeper.look()
        assert server.named("patch")


async def test_changes_of_one_person_are_taken_back_also_if_they_were_left(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings, mode="ask")
    async with master_on(server) as scene:
        await server.ada.edits_channel(server.one("patch"), topic="spam")
        question = await server.one("log").wait_for_message(report("put right?"))  # type: ignore[arg-type]
        assert question.embeds
        asked = (await scene.repairs())[0]
        span = f"{asked.id}:{asked.id}"
        await scene.house.operations.run(channels.leave, OPERATOR, ChannelsLeaveParams(asked=span))
        await scene.house.operations.run(channels.undo, OPERATOR, ChannelsUndoParams(by=server.ada.id, minutes=5))
        assert server.one("patch").channel.topic == ""
        assert "general" in server.all_names()


async def test_discord_fails_midway_and_nothing_is_made_twice(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server, looks=False) as scene:
        keeper = scene.services.channels.keeper
        await keeper.look()
        for name in OWN:
            await server.ada.deletes_channel(server.one(name))
        # Carried out, and the answer lost; then 429 and 500 beside it.
        sandbox.faults.hang_up(count=1, method="POST", path_contains="/guilds/", carried_out=True)
        for status in (500, 429):
            sandbox.faults.answer_next(status, count=1, method="POST", path_contains="/guilds/")
        for _ in range(6):
            with suppress(DiscordUnavailable):
                await keeper.look()
        assert server.all_names() == sorted([*OWN, "office", "general"])
        assert {one.state for one in await scene.repairs()} <= {"repaired", "found"}


async def test_a_killed_masters_successor_finishes_without_doubling(
    sandbox: Sandbox, house_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        old = server.one("patch").id
        await server.ada.deletes_channel(server.one("patch"))

        async def dies(*_args: object, **_more: object) -> None:
            raise RuntimeError("killed")

        # The very moment between Discord's answer and the record of it.
        repairing = scene.services.channels.keeper._repairing
        monkeypatch.setattr(repairing, "finished", dies)
        with pytest.raises(RuntimeError):
            await scene.services.channels.keeper.look()
    assert len(server.named("patch")) == 1
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        assert len(server.named("patch")) == 1
        assert scene.services.settings.channels.patch == server.one("patch").id != old
        assert [one.state for one in await scene.repairs()] == ["repaired"]


async def test_a_full_server_is_said(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        await server.ada.deletes_channel(server.one("patch"))
        office = server.one("office")
        for number in range(50 - 2):
            server.guild.create_channel(f"more-{number}", inside=office)
        (done,) = await scene.services.channels.keeper.look()
        assert done.state == "failed"
        assert "the category office has 50 channels" in done.detail


@pytest.mark.slow
async def test_while_discord_or_the_ledger_does_not_answer_nothing_is_taken_for_gone(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    slow = replace(house_settings, database=replace(house_settings.database, statement_timeout_s=0.05))
    server = server_on(sandbox, slow)
    async with master_on(server, looks=False) as scene:
        keeper = scene.services.channels.keeper
        await keeper.look()
        sandbox.faults.answer_next(503, count=3, method="GET", path_contains="/channels")
        with pytest.raises(DiscordUnavailable):
            await keeper.look()
        await server.ada.deletes_channel(server.one("patch"))
        with locked(slow.database):
            with pytest.raises(LedgerError):
                await keeper.look()
            # Nothing is done that is not on record.
            assert not server.named("patch")
        await scene.services.ledger.wait_available()
        await keeper.look()
        assert len(server.named("patch")) == 1
