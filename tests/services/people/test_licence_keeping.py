"""What falls due with licences, and the roles that they bring, on a server of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import discord
import pytest
from msgspec.structs import replace

from master.bot.port import DiscordPyPort
from master.configuration.settings import LicenceTier
from master.events import AlertRaised
from master.ledger.rows.records import LicenceState
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.core.errors import DiscordUnavailable
from master.services.people.licence_keeper import LicenceKeeper
from master.services.people.licence_roles import LicenceRoles
from nodekit.endpoints import apply_endpoints
from sandbox import BotHandle, GuildHandle, Person, Sandbox, permissions
from sandbox.records import Role
from tests.services.conftest import OPERATOR
from tests.services.people.desk import DAY, PRO, Desk

TIMEOUT_S = 1.0


@dataclass
class Scene:
    """A desk on a server, with the keeper of licences and of their roles."""

    desk: Desk
    sandbox: Sandbox
    guild: GuildHandle
    ada: Person
    role: Role
    bot: BotHandle
    port: DiscordPyPort
    alerts: list[AlertRaised] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk.bus.on(AlertRaised, self.alerts.append)
        self.directory = NodeDirectory(self.desk.bus, self.desk.clock)
        self.restart()

    def restart(self) -> None:
        """Begin as a master does that was killed: nothing is known but what is in the ledger."""
        desk = self.desk
        alerts = Alerts(desk.bus, self.directory, desk.clock)
        self.keeper = LicenceKeeper(
            ledger=desk.ledger,
            licences=desk.licences,
            licensing=desk.licensing,
            bus=desk.bus,
            clock=desk.clock,
            alerts=alerts,
            directory=self.directory,
            port=self.port,
            pause_s=0.0,
        )
        self.roles = LicenceRoles(
            ledger=desk.ledger,
            licensing=desk.licensing,
            bus=desk.bus,
            clock=desk.clock,
            alerts=alerts,
            port=self.port,
            guild_id=lambda: self.guild.id,
            own_id=lambda: self.bot.id,
            pause_s=0.0,
        )

    def tier(self, tier: LicenceTier) -> None:
        self.desk.licensing.update_tiers((tier, *(one for one in self.desk.licensing.tiers if one.name != tier.name)))

    def has_role(self) -> bool:
        return self.role.id in self.guild.guild.members[self.ada.id].role_ids

    def told(self) -> list[str]:
        """Return what ada was told, without the moments."""
        channels = [one for one in self.sandbox.world.channels.values() if self.ada.user in (one.recipients or ())]
        return [message.content.split(" <t:")[0] for one in channels for message in one.messages.values()]


@pytest.fixture
async def scene(desk: Desk, sandbox: Sandbox) -> AsyncIterator[Scene]:
    owner, ada = sandbox.create_human("owner"), sandbox.create_human("ada")
    guild = sandbox.create_guild("HQ", owner)
    guild.add_member(ada)
    role = guild.create_role("pro")
    bot = sandbox.create_bot("Fleetmaster")
    guild.add_bot(bot, bits=permissions.EVERYONE_DEFAULT | permissions.MANAGE_ROLES)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    client = discord.Client(intents=discord.Intents.none(), max_messages=None)
    async with client:
        await client.login(bot.token)
        scene = Scene(desk, sandbox, guild, ada, role, bot, DiscordPyPort(lambda: client, TIMEOUT_S))
        scene.tier(replace(PRO, role_id=role.id))
        yield scene


async def test_a_holder_is_warned_three_times_then_told_of_the_grace_and_of_the_end(scene: Scene) -> None:
    desk = scene.desk
    await desk.redeemed("pro", scene.ada.id)
    expected: list[str] = []
    for days, text in (
        (15, None),
        (1.1, "Your licence **pro** ends"),
        (10, None),
        (1, "Your licence **pro** ends"),
        (2, "Your licence **pro** ends"),
        (1, "Your licence **pro** has ended. It goes on to hold until"),
        (7, "Your licence **pro** has ended."),
    ):
        desk.clock.turn(days * DAY)
        for _ in range(2):
            await scene.keeper.step()
            scene.restart()  # Whoever starts next does nothing twice.
        expected += [text] if text else []
        assert scene.told() == expected
    assert (await desk.reason(scene.ada.id)) == (False, "expired")
    assert [event.what for event in desk.events][-1] == "expired"
    assert scene.alerts == []


async def test_after_a_long_absence_only_the_last_warning_is_sent_and_a_short_licence_has_no_early_one(
    scene: Scene,
) -> None:
    licence_id = await scene.desk.redeemed("pro", scene.ada.id)
    scene.desk.clock.turn(29.5 * DAY)
    due = await scene.keeper.step()
    assert scene.told() == ["Your licence **pro** ends"]
    ends = (await scene.desk.licences.find(licence_id)).expires_at
    assert due == ends
    await scene.desk.licences.change(licence_id, "renew", actor=OPERATOR)
    scene.tier(LicenceTier(name="trial", days=5))
    await scene.desk.redeemed("trial", scene.ada.id)
    await scene.keeper.step()
    assert len(scene.told()) == 1


async def test_a_warning_waits_for_discord_and_one_that_cannot_be_sent_is_told_to_the_operator(scene: Scene) -> None:
    await scene.desk.redeemed("pro", scene.ada.id)
    scene.desk.clock.turn(17 * DAY)
    async with scene.sandbox.faults.outage():
        await scene.keeper.step()
        assert scene.told() == []
    scene.restart()
    await scene.keeper.step()
    assert scene.told() == ["Your licence **pro** ends"]
    scene.desk.clock.turn(11 * DAY)
    closed = b'{"code": 50007, "message": "Cannot send messages to this user"}'
    scene.sandbox.faults.answer_raw(closed, status=403, method="POST", path_contains="/messages")
    await scene.keeper.step()
    await scene.keeper.step()
    (alert,) = scene.alerts
    assert alert.title == "The holder of a licence could not be told that it ends soon"
    assert f"<@{scene.ada.id}>" in alert.text


async def test_what_ended_while_the_clock_was_ahead_is_given_back(scene: Scene) -> None:
    licence_id = await scene.desk.redeemed("pro", scene.ada.id)
    scene.desk.clock.turn(3_650 * DAY)
    await scene.keeper.step()
    assert await scene.desk.reason(scene.ada.id) == (False, "expired")
    scene.desk.clock.turn(-3_650 * DAY)
    await scene.keeper.step()
    assert await scene.desk.reason(scene.ada.id) == (True, "valid")
    await scene.desk.licences.change(licence_id, "revoke", actor=OPERATOR)
    await scene.keeper.step()
    assert (await scene.desk.licences.find(licence_id)).state is LicenceState.REVOKED


async def test_a_role_follows_the_licence(scene: Scene) -> None:
    licence_id = await scene.desk.redeemed("pro", scene.ada.id)
    for action, has in (("", True), ("suspend", False), ("reinstate", True), ("revoke", False), ("reinstate", True)):
        if action:
            await scene.desk.licences.change(licence_id, action, actor=OPERATOR)  # type: ignore[arg-type]
        await scene.roles.step()
        assert scene.has_role() is has
    scene.desk.clock.turn(37 * DAY)
    await scene.keeper.step()
    await scene.roles.step()
    assert not scene.has_role()
    assert scene.alerts == []
    shown = await scene.desk.showing.show(licence_id)
    assert [event.what for event in shown.events].count("role") == 6


async def test_a_role_goes_with_a_licence_that_is_passed_on(scene: Scene) -> None:
    bo = scene.sandbox.create_human("bo")
    scene.guild.add_member(bo)
    licence_id = await scene.desk.redeemed("pro", scene.ada.id)
    await scene.roles.step()
    await scene.desk.licences.transfer(licence_id, to_user_id=bo.id, actor=OPERATOR)
    scene.restart()  # Killed before the roles were changed.
    await scene.roles.step()
    assert not scene.has_role()
    assert scene.role.id in scene.guild.guild.members[bo.id].role_ids


async def test_a_role_that_somebody_took_or_gave_by_hand_is_put_right_and_told(scene: Scene) -> None:
    licence_id = await scene.desk.redeemed("pro", scene.ada.id)
    await scene.roles.step()
    member = scene.guild.guild.members[scene.ada.id]
    scene.sandbox.world.set_member_roles(scene.guild.guild, member, [])
    scene.restart()
    await scene.roles.step()
    assert scene.has_role()
    await scene.desk.licences.change(licence_id, "revoke", actor=OPERATOR)
    await scene.roles.step()
    scene.sandbox.world.set_member_roles(scene.guild.guild, member, [scene.role.id])
    scene.restart()
    await scene.roles.step()
    assert not scene.has_role()
    assert [alert.title for alert in scene.alerts] == ["The role of a licence was put right"] * 2


async def test_roles_wait_for_discord(scene: Scene) -> None:
    await scene.desk.redeemed("pro", scene.ada.id)
    async with scene.sandbox.faults.outage():
        assert await scene.roles.step() == 30.0
        with pytest.raises(DiscordUnavailable):
            await scene.roles.settle(scene.ada.id, is_change=True)
    await scene.roles.step()
    assert scene.has_role()
    assert scene.alerts == []


async def test_a_role_that_stands_too_high_is_told_before_anybody_needs_it(scene: Scene) -> None:
    top = scene.guild.create_role("top")
    scene.tier(replace(PRO, role_id=top.id))
    await scene.roles.step()
    (alert,) = scene.alerts
    assert alert.title == "The role of the licence tier pro cannot be given"
    assert "drag the master's role above top" in alert.text
    scene.tier(replace(PRO, role_id=1))
    await scene.roles.step()
    assert "there is no role 1 on the server" in scene.alerts[-1].text
    scene.guild.guild.roles[scene.guild.guild.members[scene.bot.id].role_ids[0]].permissions = 0
    scene.tier(replace(PRO, role_id=scene.role.id))
    await scene.roles.step()
    assert "Manage Roles" in scene.alerts[-1].text
