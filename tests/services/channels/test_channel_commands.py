"""What an operator presses and types in Discord about channels, and a server that goes away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from master.configuration.settings import Settings
from master.services.core.errors import DiscordUnavailable
from sandbox import Interaction, Message, Sandbox
from sandbox.events import Event
from tests.services.channels.channel_scene import Scene, Server, master_on, server_on
from tests.services.conftest import house_settings

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(120)


def asking(about: str) -> Callable[[Message], bool]:
    return lambda message: any(
        "put right?" in embed.get("title", "") and about in embed.get("description", "") for embed in message.embeds
    )


async def runs(server: Server, name: str, options: dict[str, object] | None = None) -> Interaction:
    asked = await server.ada.runs_command(server.one("general"), server.account, name, options)
    return await asked.wait_until(lambda i: bool(i.embeds))


async def looked(scene: Scene) -> list[str]:
    """Have the master look as it does by itself; returns what came of it."""
    return [one.state for one in await scene.services.channels.keeper.look()]


async def test_repair_and_mute_are_pressed(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings, mode="ask")
    async with master_on(server) as scene:
        log, patch, verify = server.one("log"), server.one("patch"), server.one("verify")
        await server.ada.renames_channel(patch, "oops")
        question = await log.wait_for_message(asking("PATCH"))
        assert patch.channel.name == "oops"
        pressed = await server.ada.presses(question, "Repair")
        answered = await pressed.wait_until(lambda i: bool(i.embeds))
        assert answered.embeds[0]["title"] == "1 repaired"
        assert patch.channel.name == "patch"
        # Pressed again: there is nothing left of it.
        pressed = await server.ada.presses(question, "Repair")
        answered = await pressed.wait_until(lambda i: bool(i.embeds))
        assert answered.embeds[0]["title"] == "Nothing was to be done: it is as it is wanted"

        await server.ada.renames_channel(verify, "mine")
        question = await log.wait_for_message(asking("VERIFY"))
        pressed = await server.ada.presses(question, "Mute 1 h")
        answered = await pressed.wait_until(lambda i: bool(i.embeds))
        assert answered.embeds[0]["title"] == "Nothing is done or asked about it for an hour"
        # Another change of the same channel is not asked about; one of another channel is.
        shown = len(log.messages)
        await server.ada.edits_channel(verify, name="ours")
        assert await looked(scene) == []
        assert len(log.messages) == shown
        await server.ada.edits_channel(patch, topic="spam")
        await log.wait_for_message(asking("spam"))
        assert verify.channel.name == "ours"


async def test_a_stranger_cannot_press(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings, mode="ask")
    eve = sandbox.create_human("eve")
    server.guild.add_member(eve)
    async with master_on(server):
        await server.ada.renames_channel(server.one("patch"), "oops")
        question = await server.one("log").wait_for_message(asking("PATCH"))
        for button in ("Repair", "Leave it", "Mute 1 h"):
            pressed = await eve.presses(question, button)
            answered = await pressed.wait_until(lambda i: bool(i.embeds))
            assert "may not" in answered.embeds[0]["title"]
        assert server.named("oops")


async def test_audit_repair_and_undo_are_typed(sandbox: Sandbox, house_settings: Settings) -> None:
    sandbox.rate_limits.enabled = False  # Two renames in ten minutes: of the other tests.
    server = server_on(sandbox, house_settings)
    async with master_on(server, looks=False) as scene:
        await looked(scene)
        assert (await runs(server, "selffix audit")).embeds[0]["title"] == "All channels are as they are wanted"
        patch, verify = server.one("patch"), server.one("verify")
        await server.ada.renames_channel(patch, "oops")
        await server.ada.edits_channel(verify, topic="<@&1> *spam*")
        (shown,) = (await runs(server, "selffix audit")).embeds
        assert shown["title"] == "2 differences"
        assert f"renamed to #oops, by <@{server.ada.id}>" in shown["description"]
        assert r"\*spam\*" in shown["description"]
        assert patch.channel.name == "oops"  # it changes nothing

        (shown,) = (await runs(server, "selffix repair", {"channel": "PATCH"})).embeds
        assert shown["title"] == "1 repaired"
        assert (patch.channel.name, verify.channel.topic) == ("patch", "<@&1> *spam*")
        (shown,) = (await runs(server, "selffix repair")).embeds
        assert (shown["title"], verify.channel.topic) == ("1 repaired", "")
        assert (await runs(server, "selffix repair")).embeds[0]["title"] == "Nothing was to be done"

        (repair,) = [one for one in await scene.repairs() if one.key == "PATCH"]
        (shown,) = (await runs(server, "selffix undo", {"repair": repair.id})).embeds
        assert (shown["title"], patch.channel.name) == ("1 undone", "oops")
        (shown,) = (await runs(server, "selffix undo", {"by": server.ada, "minutes": 5.0})).embeds
        assert (shown["title"], patch.channel.name) == ("1 repaired", "patch")
        (shown,) = (await runs(server, "selffix undo")).embeds
        assert "name a repair, or a person" in shown["title"].lower()
        (shown,) = (await runs(server, "selffix undo", {"repair": "01JZZZ"})).embeds
        assert "no repair" in shown["title"]


async def test_while_the_server_is_unavailable_nothing_is_gone(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server) as scene:
        watch, guild = scene.services.guild_watch, server.guild
        keeper, names = scene.services.channels.keeper, server.all_names()
        before = len(await scene.repairs())
        away = {"id": str(guild.id), "unavailable": True}
        sandbox.world.emit(Event("GUILD_DELETE", away, guild.id, only_for=server.account.id))
        await until(lambda: watch.is_unavailable(guild.id))
        # Whatever Discord says of its channels meanwhile, even that there are none.
        sandbox.faults.spoil(lambda _body: b"[]", count=2, method="GET", path_contains=f"/guilds/{guild.id}/channels")
        sandbox.faults.answer_next(404, count=10, method="GET", path_contains="/channels/")
        with pytest.raises(DiscordUnavailable):
            await keeper.look()
        assert server.all_names() == names
        assert len(await scene.repairs()) == before
        (shown,) = (await runs(server, "selffix audit")).embeds
        assert "unavailable" in shown["title"].lower()


async def test_what_happened_meanwhile_is_found_when_the_server_is_back(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server) as scene:
        watch, guild = scene.services.guild_watch, server.guild
        away = {"id": str(guild.id), "unavailable": True}
        sandbox.world.emit(Event("GUILD_DELETE", away, guild.id, only_for=server.account.id))
        await until(lambda: watch.is_unavailable(guild.id))
        # Nobody is told of it.
        patch_id = server.one("patch").id
        del guild.guild.channels[patch_id], sandbox.world.channels[patch_id]
        back = sandbox.world.guild_for_gateway(guild.guild, server.account.account)
        sandbox.world.emit(Event("GUILD_CREATE", back, guild.id, only_for=server.account.id))
        await scene.until(lambda: bool(server.named("patch")))
        assert not watch.is_unavailable(guild.id)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(0.01)
