"""What ``fleet doctor`` finds at Discord: each thing wrong once, on the sandbox, asked over real HTTP and WebSocket."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from msgspec import structs

from handshake.redaction import Secret
from master.bot import lookup as lookup_module
from master.bot.lookup import HttpLookup
from master.configuration.settings import ChannelSettings, LicenceTier, Settings, TicketCategory, TicketSettings
from master.services.core.findings import Finding
from master.services.core.registered_commands import Registered, save_record
from master.services.onboarding.identity import Answer
from master.services.upkeep.discord_findings import ask_discord
from sandbox import BotHandle, ChannelHandle, GuildHandle, Sandbox, permissions
from sandbox.intents import MESSAGE_CONTENT
from sandbox.records import Overwrite
from tests.services.conftest import settings_in

CHANNELS = ("VERIFY", "PATCH", "LOG")
TO_REPAIR = permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES | permissions.VIEW_AUDIT_LOG


@dataclass
class Office:
    """A server with the channels of a fleet, and a master's bot on it."""

    sandbox: Sandbox
    guild: GuildHandle
    bot: BotHandle
    channels: dict[str, ChannelHandle]
    settings: Settings

    async def ask(self, token: str = "") -> dict[str, Finding]:
        secret = Secret(token or self.bot.token)
        discord = self.settings.discord
        lookup = HttpLookup(discord.api_base, secret, discord.gateway_url)
        found = await ask_discord(self.settings, secret, lookup)
        assert len({finding.what for finding in found}) == len(found)
        for finding in found:
            # Whatever is wrong, the line says what to do; no line shows a token.
            assert bool(finding.fix) or finding.verdict == "ok", finding
            assert secret.reveal() not in f"{finding}"
        return {finding.what: finding for finding in found}

    def deny(self, name: str, bits: int) -> None:
        channel = self.sandbox.world.channels[self.channels[name].id]
        channel.overwrites[self.bot.id] = Overwrite(self.bot.id, 1, 0, bits)

    def change(self, **identity_or_channels: int) -> None:
        channels = {key: value for key, value in identity_or_channels.items() if key != "guild_id"}
        guild_id = identity_or_channels.get("guild_id", self.settings.identity.guild_id)
        self.settings = structs.replace(
            self.settings,
            identity=structs.replace(self.settings.identity, guild_id=guild_id),
            channels=structs.replace(self.settings.channels, **channels),
        )


@pytest.fixture
async def office(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    # Three attempts of a server error are two pauses of a second and more.
    monkeypatch.setattr(lookup_module, "PAUSE_S", 0.01)
    guild = sandbox.create_guild("HQ", sandbox.create_human("ada"))
    channels = {name: guild.create_channel(name.lower()) for name in CHANNELS}
    bot = sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT)
    guild.add_bot(bot, bits=permissions.EVERYONE_DEFAULT | TO_REPAIR)
    settings = settings_in(tmp_path, sandbox, empty_ledger)
    settings = structs.replace(
        settings,
        identity=structs.replace(settings.identity, guild_id=guild.id),
        channels=ChannelSettings(**{name.lower(): channel.id for name, channel in channels.items()}),
    )
    return Office(sandbox, guild, bot, channels, settings)


async def test_all_is_well(office: Office) -> None:
    found = await office.ask()
    assert list(found) == [
        "discord",
        "gateway",
        "intents",
        "server",
        *(f"channel {name}" for name in CHANNELS),
        "selffix",
        "slash commands",
    ]
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert "1000 of 1000 logins" in found["gateway"].detail


async def test_what_the_repair_of_channels_needs_is_said(office: Office) -> None:
    role = office.guild.role_of(office.bot)
    role.permissions &= ~permissions.VIEW_AUDIT_LOG
    found = (await office.ask())["selffix"]
    assert (found.verdict, found.detail) == ("warn", "missing View Audit Log: nobody learns who changed a channel")
    role.permissions &= ~permissions.MANAGE_CHANNELS
    found = (await office.ask())["selffix"]
    assert found.detail == "missing Manage Channels, View Audit Log: channels are not put right"
    office.settings = structs.replace(office.settings, selffix=structs.replace(office.settings.selffix, mode="off"))
    assert "selffix" not in await office.ask()


async def test_a_channel_that_was_made_anew_is_followed_and_config_py_should_say_so(office: Office) -> None:
    old = office.settings.channels.log
    office.sandbox.world.delete_channel(office.channels["LOG"].channel)
    new = office.guild.create_channel("log")
    office.settings.channel_moves_path.write_text(f'{{"{old}": {new.id}}}')
    found = await office.ask()
    assert (found["id of LOG"].verdict, found["id of LOG"].detail) == ("warn", f"{old} was made anew as {new.id}")
    assert found["channel LOG"].verdict == "ok"


async def test_a_token_that_is_not_accepted_ends_the_questions(office: Office) -> None:
    found = await office.ask("x" * 60)
    assert (list(found), found["discord"].verdict) == (["discord"], "fail")
    assert "does not look like a token" in found["discord"].fix
    found = await office.ask(office.sandbox.world.new_token(office.bot.id))
    assert "copy it again" in found["discord"].fix


async def test_a_token_of_another_shape_that_the_server_accepts_is_good(office: Office) -> None:
    office.sandbox.world.set_token(office.bot.account, "x" * 408)
    assert {finding.verdict for finding in (await office.ask()).values()} == {"ok"}


async def test_a_gateway_that_cannot_be_reached(office: Office) -> None:
    closed = structs.replace(office.settings.discord, gateway_url="ws://127.0.0.1:9")
    office.settings = structs.replace(office.settings, discord=closed)
    found = await office.ask()
    assert (found["gateway"].verdict, "cannot be reached" in found["gateway"].detail) == ("fail", True)
    # No socket: an HTTP server that answers, and says no hello.
    http = structs.replace(closed, gateway_url=office.sandbox.api_base.replace("http", "ws"))
    office.settings = structs.replace(office.settings, discord=http)
    assert (await office.ask())["gateway"].verdict == "fail"


async def test_an_intent_that_is_off_counts_only_when_the_config_needs_it(office: Office) -> None:
    office.bot.account.privileged_intents = 0
    found = (await office.ask())["intents"]
    assert (found.verdict, "MESSAGE CONTENT INTENT" in found.fix) == ("fail", True)
    office.change(verify=0)
    assert (await office.ask())["intents"].verdict == "ok"
    # The channel that the master makes by itself needs it too.
    office.settings.channels_path.write_text('[[channel]]\nkey = "verify"\nname = "verify"\n')
    assert (await office.ask())["intents"].verdict == "fail"


async def test_a_bot_that_is_not_on_the_server_is_told_how_to_be_invited(office: Office) -> None:
    office.sandbox.world.remove_member(office.guild.guild, office.bot.account)
    found = await office.ask()
    assert found["server"].verdict == "fail"
    assert f"client_id={office.bot.id}" in found["server"].fix
    assert "scope=bot+applications.commands" in found["server"].fix
    assert found["slash commands"].verdict == "fail"
    assert not any(what.startswith("channel") for what in found)


async def test_no_server_in_the_config_is_a_warning_and_channels_are_still_asked_for(office: Office) -> None:
    office.change(guild_id=0, log=123456789012345678)
    found = await office.ask()
    assert (found["server"].verdict, "GUILD_ID" in found["server"].fix) == ("warn", True)
    assert (found["channel VERIFY"].verdict, found["channel LOG"].verdict) == ("ok", "fail")


async def test_a_channel_that_is_gone_not_seen_elsewhere_or_no_text_channel(office: Office) -> None:
    other = office.sandbox.create_guild("Other", office.sandbox.create_human("bo"))
    elsewhere = other.create_channel("elsewhere")
    other.add_bot(office.bot)
    office.sandbox.world.channels[office.channels["PATCH"].id].type = 4
    office.deny("VERIFY", permissions.VIEW_CHANNEL)
    office.change(log=123456789012345678)
    found = await office.ask()
    assert "there is no channel" in found["channel LOG"].detail
    assert "no text channel" in found["channel PATCH"].detail
    assert "may not see" in found["channel VERIFY"].detail
    assert {found[f"channel {name}"].verdict for name in CHANNELS} == {"fail"}
    office.change(log=elsewhere.id)
    assert "another server" in (await office.ask())["channel LOG"].detail


@pytest.mark.parametrize(
    ("name", "bit", "words", "verdict"),
    [
        ("VERIFY", permissions.SEND_MESSAGES, "Send Messages", "fail"),
        ("VERIFY", permissions.READ_MESSAGE_HISTORY, "Read Message History", "fail"),
        ("LOG", permissions.EMBED_LINKS, "Embed Links", "fail"),
        ("LOG", permissions.SEND_MESSAGES, "Send Messages", "fail"),
        ("PATCH", permissions.ADD_REACTIONS, "Add Reactions", "warn"),
        ("PATCH", permissions.ATTACH_FILES, "Attach Files", "warn"),
    ],
)
async def test_a_permission_that_is_missing_in_a_channel_is_named(
    office: Office, name: str, bit: int, words: str, verdict: str
) -> None:
    office.deny(name, bit)
    found = (await office.ask())[f"channel {name}"]
    assert (found.verdict, f"missing {words}" in found.detail, words in found.fix) == (verdict, True, True)


async def test_permissions_are_computed_as_discord_does(office: Office) -> None:
    """Hold our computation to the sandbox's, over roles, overwrites of each kind, and administrators."""
    office.change(verify=0, patch=0)
    guild, world = office.guild.guild, office.sandbox.world
    channel = world.channels[office.channels["LOG"].id]
    role = office.guild.create_role("role", permissions.SEND_MESSAGES)
    member, everyone = guild.members[office.bot.id], guild.roles[guild.id]
    needed = permissions.VIEW_CHANNEL | permissions.SEND_MESSAGES | permissions.EMBED_LINKS
    outcomes = set()
    for base, has_role, deny_everyone, deny_own in itertools.product(
        (0, needed, permissions.ADMINISTRATOR),
        (False, True),
        (0, permissions.SEND_MESSAGES),
        (0, permissions.EMBED_LINKS),
    ):
        everyone.permissions = base
        world.set_member_roles(guild, member, [role.id] if has_role else [])
        channel.overwrites = {
            guild.id: Overwrite(guild.id, 0, 0, deny_everyone),
            role.id: Overwrite(role.id, 0, needed, 0),
            office.bot.id: Overwrite(office.bot.id, 1, 0, deny_own),
        }
        bits = permissions.in_channel(guild, channel, office.bot.id)
        found = (await office.ask())["channel LOG"]
        assert (found.verdict == "ok") is (bits & needed == needed), (found, bits)
        outcomes.add(found.detail)
    assert len(outcomes) == 5, outcomes


async def test_slash_commands_that_discord_has_lost_are_named(office: Office) -> None:
    path = office.settings.registered_commands_path
    save_record(path, Registered("", ("dupbot", "runbots")))
    found = (await office.ask())["slash commands"]
    assert (found.verdict, found.detail) == ("fail", "2 of 2 are not at Discord: /dupbot, /runbots")
    commands = [{"name": name, "description": "x", "type": 1} for name in ("dupbot", "runbots", "other")]
    office.sandbox.commands.overwrite(office.bot.id, office.guild.id, commands)
    found = (await office.ask())["slash commands"]
    assert (found.verdict, found.detail) == ("ok", "2 are registered")


async def test_few_logins_left_are_a_warning(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.services.upkeep.discord_findings.MIN_IDENTIFIES", 1001)
    found = (await office.ask())["gateway"]
    assert (found.verdict, "resets the token" in found.fix) == ("warn", True)


PATHS = ("/users/@me", "/gateway/bot", "/applications/@me", "/guilds/", "/members/", "/channels/", "/commands")


@pytest.mark.parametrize("status", [401, 403, 404, 502])
async def test_whatever_discord_answers_to_any_question_the_doctor_has_a_line_for_it(
    office: Office, status: int
) -> None:
    for path in PATHS:
        office.sandbox.faults.answer_next(status, count=3 if status == 502 else 1, path_contains=path)
        found = await office.ask()
        assert any(finding.verdict == "fail" for finding in found.values()), path


class Nonsense(HttpLookup):
    """The real answers, but for one path that a proxy answers."""

    path, body = "", b""

    async def get(self, path: str) -> Answer:
        answer = await super().get(path)
        return replace(answer, body=self.body) if self.path in path else answer


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"id": "1", "user', b"null", b"\xff\xfe"])
async def test_nonsense_with_a_200_is_a_line_too(office: Office, body: bytes) -> None:
    secret, discord = Secret(office.bot.token), office.settings.discord
    lookup = Nonsense(discord.api_base, secret, discord.gateway_url)
    lookup.body = body
    for path in PATHS:
        lookup.path = path
        found = await ask_discord(office.settings, secret, lookup)
        assert any(finding.verdict == "fail" and finding.fix for finding in found), path


async def test_what_tickets_need_is_said_before_the_first_ticket(office: Office) -> None:
    office.guild.role_of(office.bot).permissions &= ~TO_REPAIR
    assert not any(what.startswith("tickets") for what in await office.ask())
    place = office.sandbox.world.create_channel(office.guild.guild, "tickets", kind=4)
    staff = office.guild.create_role("staff")
    category = TicketCategory(channel_id=place.id, staff_roles=frozenset({staff.id}))
    office.settings = structs.replace(office.settings, tickets=TicketSettings(categories={"support": category}))
    found = (await office.ask())["tickets support"]
    assert found.verdict == "fail"
    assert found.detail == "the master lacks Manage Messages, Manage Channels, Manage Roles in tickets"
    role = next(role for role in office.guild.guild.roles.values() if role.name == "Fleetmaster")
    role.permissions |= permissions.MANAGE_MESSAGES | permissions.MANAGE_CHANNELS | permissions.MANAGE_ROLES
    role.position, staff.position = 1, 2
    found = (await office.ask())["tickets support"]
    assert (found.verdict, found.detail) == ("warn", "the master's role is below staff")
    role.position, staff.position = 2, 1
    assert (await office.ask())["tickets support"].verdict == "ok"
    place.overwrites[office.bot.id] = Overwrite(office.bot.id, 1, 0, permissions.MANAGE_ROLES)
    assert (await office.ask())["tickets support"].detail == "the master lacks Manage Roles in tickets"


async def test_a_role_that_licences_bring_and_the_bot_cannot_give_is_told_before_anybody_redeems_one(
    office: Office,
) -> None:
    office.guild.role_of(office.bot).permissions &= ~TO_REPAIR
    top = office.guild.create_role("top")
    tiers = (LicenceTier(name="pro", role_id=top.id), LicenceTier(name="old", role_id=1))
    office.settings = structs.replace(office.settings, licence_tiers=tiers)
    found = await office.ask()
    assert found["licence role pro"].detail == "the master lacks Manage Roles, which the role top needs"
    assert found["licence role old"].detail == "there is no role 1 on the server"
    asked = int(found["licence role pro"].fix.partition("&permissions=")[2].partition("&")[0])
    assert asked & permissions.MANAGE_ROLES
    assert "invite" not in found["licence role old"].fix
    own = office.guild.guild.roles[office.guild.guild.members[office.bot.id].role_ids[0]]
    own.permissions |= permissions.MANAGE_ROLES
    office.settings = structs.replace(office.settings, licence_tiers=tiers[:1])
    assert (await office.ask())["licence role pro"].fix == "Server Settings > Roles: drag the master's role above top"
    top.position = 0
    assert (await office.ask())["licence roles"].detail == "Fleetmaster can give the role of 1 tier"
