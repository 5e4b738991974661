"""Whoever may change channels attacks the repairs: has one's own channel taken for the fleet's, has rights given back.

Each test here failed once.
"""

from __future__ import annotations

import pytest

from master.configuration.settings import Settings
from sandbox import Sandbox, permissions
from sandbox.records import Overwrite
from tests.hostile.test_channel_kills import Killed, kill_at
from tests.services.channels.channel_scene import Server, master_on, server_on
from tests.services.conftest import house_settings

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(120)


def closed_log(sandbox: Sandbox, house_settings: Settings) -> Server:
    """Make a server whose log channel is seen by nobody but admins and the master."""
    server = server_on(sandbox, house_settings, debounce_s=3_600.0)
    overwrites = server.one("log").channel.overwrites
    overwrites[server.guild.id] = Overwrite(server.guild.id, 0, 0, permissions.VIEW_CHANNEL)
    overwrites[server.account.id] = Overwrite(server.account.id, 1, permissions.VIEW_CHANNEL, 0)
    return server


async def test_a_channel_that_somebody_else_made_meanwhile_is_not_taken_for_ones_own(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    """Killed between the record and the creation; then somebody makes one of that name, which all may read."""
    server = closed_log(sandbox, house_settings)
    old_id = server.one("log").id
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        await server.ada.deletes_channel(server.one("log"))
        kill_at(scene, 1, carried_out=False)
        with pytest.raises(Killed):
            await scene.services.channels.keeper.look()
    assert server.named("log") == []
    foreign = server.guild.create_channel("log", inside=server.one("office"))
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        log_id = scene.services.settings.channels.log
        assert log_id not in (old_id, foreign.id)
        assert server.guild.channel(log_id).channel.overwrites[server.guild.id].deny == permissions.VIEW_CHANNEL
        # Nobody named it: it is not touched.
        assert not foreign.channel.overwrites
        assert sorted(one.id for one in server.named("log")) == sorted((foreign.id, log_id))


async def test_an_old_undo_gives_no_rights_back_that_were_taken_away_since(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = closed_log(sandbox, house_settings)
    eve = sandbox.create_human("eve")
    server.guild.add_member(eve)
    log = server.one("log")
    guest = server.guild.create_role("guests")
    log.channel.overwrites[guest.id] = Overwrite(guest.id, 0, permissions.VIEW_CHANNEL, 0)
    async with master_on(server, looks=False) as scene:
        keeper = scene.services.channels.keeper
        await keeper.look()
        log.channel.overwrites[eve.id] = Overwrite(eve.id, 1, permissions.VIEW_CHANNEL, 0)
        (repaired,) = await keeper.look()
        assert (repaired.drift, repaired.state) == ("permissions", "repaired")
        assert eve.id not in log.channel.overwrites
        # Guests have no business there any more, says an admin.
        del log.channel.overwrites[guest.id]
        (undone,) = await keeper.undo([repaired], by="discord:1")
        assert guest.id not in log.channel.overwrites
        assert eve.id not in log.channel.overwrites
        assert undone.state == "repaired"
        assert undone.detail == "not taken back: its permissions were changed since"


async def test_the_name_of_who_did_it_is_no_markup(sandbox: Sandbox, house_settings: Settings) -> None:
    """Bots are called whatever somebody likes."""
    server = closed_log(sandbox, house_settings)
    server.ada.user.username = "[ada](https://evil.example)"
    async with master_on(server) as scene:
        await server.ada.renames_channel(server.one("patch"), "oops")
        await scene.services.channels.keeper.look()
        told = await server.one("log").wait_for_message(lambda m: any("put right" in e["title"] for e in m.embeds))
        (who,) = [field["value"] for field in told.embeds[0]["fields"]]
        assert who.startswith(f"<@{server.ada.id}>")
        assert "[ada]" not in who
