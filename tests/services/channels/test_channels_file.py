"""channels.toml: read strictly, captured from a server, and carried out on an empty one."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from master.configuration.settings import ChannelSettings, Settings, TicketSettings
from master.operations import channels
from master.operations.parameters import ChannelsCaptureParams, ChannelsRepairParams, NoParams
from master.services.channels.drift import diff
from master.services.channels.tree_file import BUILT_IN, TreeRefused, capture, declared_of, parse_tree
from master.services.channels.wishes import wishes_of
from master.services.core.discord_port import Channel, ChannelKind, Overwrite, Role
from sandbox import Sandbox
from tests.services.channels.channel_scene import master_on, server_on
from tests.services.conftest import OPERATOR, house_settings

__all__ = ["house_settings"]

PATH = Path("channels.toml")
WHOLE = """\
[[category]]
key = "hall"
name = "Hall"

[[channel]]
key = "rules"
name = "rules"
category = "hall"
topic = "Read them"
[channel.overwrites]
"@everyone" = { deny = ["Add Reactions"] }
"staff" = { allow = ["Send Messages", "Manage Messages"] }
[[channel.panel]]
key = "rules"
title = "The rules"
description = "Be kind."

[[channel]]
key = "talk"
name = "talk"
category = "hall"

[[channel]]
key = "music"
name = "music"
kind = "forum"
category = "hall"
"""


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[[channel]\nkey = 1", 1, "it is not TOML"),
        ('[[channel]]\nkey = "a"\nnames = "a"', 3, "unknown key `names`"),
        ('[[channel]]\nkey = "a"', 1, "there is no `name`"),
        ('[[channel]]\nkey = "A B"\nname = "a"', 2, "`key`: 1 to 60 of a-z"),
        ('[[channel]]\nkey = "a"\nname = "Some Name"', 3, "Discord writes it 'some-name'"),
        ('[[channel]]\nkey = "a"\nname = "a"\n[[channel]]\nkey = "a"\nname = "b"', 5, "there twice, first in line 2"),
        ('[[channel]]\nkey = "a"\nname = "a"\ncategory = "x"', 4, "no category with the key `x`"),
        (
            '[[channel]]\nkey = "a"\nname = "a"\n[channel.overwrites]\n"x" = { deny = ["Fly"] }',
            5,
            "'Fly' is no permission",
        ),
        ('[[channel]]\nkey = "a"\nname = "a"\nkind = "stage"', 4, "`kind`"),
        ('[[channel]]\nkey = "a"\nname = "a"\n[[channel.panel]]\nkey = "p"', 2, "the panel `p` is empty"),
        ('[[channel]]\nkey = "a"\nname = "a"\nkind = "voice"\ntopic = "t"', 5, "a voice channel has no topic"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(TreeRefused) as refused:
        parse_tree(text, PATH)
    assert str(refused.value.message).startswith(f"channels.toml:{line}: "), refused.value.message
    assert reason in refused.value.message


def test_the_built_in_file_is_valid() -> None:
    assert len(parse_tree(BUILT_IN, PATH).channel) == 4


def test_what_is_captured_wants_nothing_else(house_settings: Settings) -> None:
    """Captured, read and compared with the same server, nothing differs: also with odd names and roles."""
    roles = {
        1: Role(id=1, name="@everyone", position=0, permissions=0),
        2: Role(id=2, name='we"ird\\', position=1, permissions=0),
        3: Role(id=3, name="twin", position=2, permissions=0),
        4: Role(id=4, name="twin", position=3, permissions=0),
    }
    found = [
        Channel(id=10, name="Häll \U0001f600", kind=ChannelKind.CATEGORY, position=0),
        Channel(id=11, name="Häll \U0001f600", kind=ChannelKind.CATEGORY, position=1),
        Channel(
            id=12, name="rules", kind=ChannelKind.TEXT, parent_id=11, topic='"""\\\n',
            overwrites=(Overwrite(1, "role", 0, 1 << 11), Overwrite(2, "role", 1 << 52, 0), Overwrite(3, "role", 4, 8),
                        Overwrite(77, "member", 1 << 60, 0)),
        ),
        Channel(id=13, name="ask", kind=ChannelKind.FORUM, position=1),
        Channel(id=14, name="Music", kind=ChannelKind.VOICE, parent_id=10),
    ]  # fmt: skip
    declared = declared_of(parse_tree(capture(found, roles), PATH), roles)
    assert not declared.troubles
    there = {one.id: one for one in found}
    wishes = wishes_of(house_settings, declared.wanted, {}, there, frozenset(roles), lambda channel_id: channel_id)
    tree = [one for one in wishes.wanted if one.key.startswith("tree/")]
    assert [one.key for one in tree if not one.channel_id] == []
    assert diff(tree, found) == ()
    with pytest.raises(TreeRefused, match="no category nowhere"):
        capture(found, roles, ("nowhere",))


async def test_an_empty_server_gets_the_whole_tree_with_its_panel_and_keeps_it(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings)
    staff = server.guild.create_role("staff")
    async with master_on(server) as scene:
        run = scene.house.operations.run
        captured = await run(channels.capture, OPERATOR, ChannelsCaptureParams())
        assert (captured.categories, captured.channels) == (2, 5)
        server.settings.channels_path.write_text(WHOLE)
        rows = await run(channels.diff, OPERATOR, NoParams())
        assert {row.key for row in rows} == {"tree/hall", "tree/rules", "tree/talk", "tree/music"}
        done = await run(channels.repair, OPERATOR, ChannelsRepairParams())
        assert {(row.state, row.detail) for row in done} <= {("repaired", "")}  # it may have looked by itself
        rules = server.one("rules")
        assert rules.channel.parent_id == server.one("Hall").id
        assert rules.channel.overwrites[staff.id].allow == 1 << 11 | 1 << 13
        assert rules.channel.overwrites[server.guild.id].deny == 1 << 6
        panel = await rules.wait_for_message(lambda message: bool(message.embeds))
        while not panel.pinned:
            await scene.services.channels.keeper.look()
        assert await run(channels.diff, OPERATOR, NoParams()) == []
        # A message that has to stand there does.
        await server.ada.deletes(panel)
        again = await rules.wait_for_message(lambda message: message.id != panel.id and bool(message.embeds))
        await scene.until(lambda: again.pinned)
        # What is in no file is nobody's business.
        await server.ada.renames_channel(server.one("general"), "chat")
        assert await scene.services.channels.keeper.look() == []


async def test_an_empty_server_gets_the_fleets_own_channels_and_they_are_used(
    sandbox: Sandbox, house_settings: Settings
) -> None:
    server = server_on(sandbox, house_settings)
    server.settings = replace(server.settings, channels=ChannelSettings(), tickets=TicketSettings())
    for channel in list(server.guild.guild.channels.values()):
        await server.ada.deletes_channel(server.guild.channel(channel.id))
    server.settings.channels_path.write_text(BUILT_IN)
    async with master_on(server) as scene:
        settings = scene.services.settings.channels
        ids = {name: server.one(name).id for name in ("verify", "patch", "fleet-log")}
        assert (settings.verify, settings.patch, settings.log) == tuple(ids.values())
        await server.ada.deletes_channel(server.one("fleet-log"))
        await scene.until(lambda: bool(server.named("fleet-log")))
    async with master_on(server, looks=False) as scene:
        assert scene.services.settings.channels.log == server.one("fleet-log").id != ids["fleet-log"]


async def test_a_role_that_is_not_there_leaves_its_channel_alone(sandbox: Sandbox, house_settings: Settings) -> None:
    server = server_on(sandbox, house_settings)
    async with master_on(server) as scene:
        server.settings.channels_path.write_text(WHOLE)
        view = await scene.house.operations.run(channels.listing, OPERATOR, NoParams())
        assert view.troubles == ("channels.toml, rules: there is no role 'staff' on the server, or several",)
        assert "tree/rules" not in {row.key for row in view.channels}
