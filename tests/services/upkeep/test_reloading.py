"""A changed config in a running fleet: what is said to be applied acts, and what needs a restart stays as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psutil
import pytest

from handshake.messages import Acknowledgement, Body, Heartbeat, VerificationResponse
from handshake.signing import Message
from master.bot.connection import DiscordConnection
from master.configuration.loading import ConfigError, load_settings
from master.configuration.settings import Settings
from master.configuration.tree import fields_of, is_section, section_by_name
from master.events import AlertLevel, NodeDegraded, NodeExited
from master.operations import nodes
from master.operations.operation import Operations
from master.security.derivation import new_master_secret
from master.services.core.actors import Actor
from master.services.core.errors import NotAuthorised
from master.services.core.views import Registered, ReloadView
from master.services.onboarding.saga import CloneRequest
from master.services.upkeep import reloading
from nodekit.endpoints import apply_endpoints
from sandbox import Sandbox
from sandbox.permissions import EVERYONE_DEFAULT
from tests.services.conftest import OPERATOR, STRANGER, House, open_house, settings_in
from tests.services.trust.test_verification import Caller

WITHIN_S = 30.0
DEAF_BOT = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: signal.pause()\n"
TALKS = "import signal; print('x' * 30_000, flush=True); signal.pause()\n"

CONFIG = """\
import os
IDENTITY = {{"TEMPLATE_PATH": "template", "MASTER_SECRET": os.environ["MASTER_SECRET"]}}
DISCORD = {{"API_BASE": "{api_base}", "GATEWAY_URL": "{gateway_url}"}}
LICENCES = {{"standard": 0}}
NODES = {{}}
SUPERVISION = {{"GRACE_S": 120.0, "LOG_MAX_BYTES": 1_000_000}}
"""


class Fleet:
    """A running house, and the config that it was built from."""

    def __init__(self, house: House, home: Path) -> None:
        self.house = house
        self.services = house.services
        self._path = home / "config.py"
        self._config = self._path.read_text()

    async def reload(self, change: str) -> ReloadView:
        """Append to the config as the master began with it, and have it read anew."""
        self._path.write_text(f"{self._config}{change}\n")
        return await self.services.reloading.reload()

    async def clone(self, name: str, script: str = "") -> Registered:
        if script:
            (self.house.template / "bot.py").write_text(script)
        return await self.house.clone(OPERATOR, CloneRequest(name=name, token=self.house.token(name)))

    def id(self, name: str) -> str:
        return self.services.directory.find(name).id

    def pid(self, name: str) -> int:
        pid = self.services.supervisor.pid_of(self.id(name))
        assert pid is not None
        return pid


@pytest.fixture
def settings(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> Settings:
    settings_in(tmp_path, sandbox, empty_ledger)
    text = CONFIG.format(api_base=sandbox.api_base, gateway_url=sandbox.gateway_url)
    (tmp_path / "config.py").write_text(text)
    with open(os.open(tmp_path / ".env", os.O_WRONLY | os.O_CREAT, 0o600), "w") as env:
        env.write(f"MASTER_SECRET={new_master_secret()}\nSTRIPE_WEBHOOK_SECRET=whsec_x\n")
    return load_settings(tmp_path, {})


@pytest.fixture
async def fleet(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Fleet]:
    async with open_house(settings, sandbox) as house:
        running = Fleet(house, settings.home)
        yield running
        await running.reload("SUPERVISION['GRACE_S'] = 0.2")  # so that the deaf do not hold up the end


async def test_nothing_changed_is_nothing_applied(fleet: Fleet) -> None:
    assert await fleet.reload("") == ReloadView()


async def test_a_config_that_blocks_is_given_up_and_keeps_nothing_from_ending(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "never")
    with monkeypatch.context() as patched:
        patched.setattr(reloading, "READ_TIMEOUT_S", 0.1)
        with pytest.raises(ConfigError) as given_up:
            await asyncio.wait_for(fleet.reload(f"open({str(tmp_path / 'never')!r}).read()"), WITHIN_S)
    assert "did not end within 0.1 s" in given_up.value.hint
    (blocked,) = [thread for thread in threading.enumerate() if thread.name == "config.py"]
    assert blocked.daemon
    with pytest.raises(ConfigError) as refused:
        await asyncio.wait_for(fleet.reload(""), WITHIN_S)
    assert "still runs since the last reload" in refused.value.hint
    (tmp_path / "never").write_text("")
    await asyncio.to_thread(blocked.join, WITHIN_S)
    assert await fleet.reload("") == ReloadView()


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
async def test_nothing_that_a_config_raises_ends_the_master(fleet: Fleet, kind: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        await fleet.reload(f"raise {kind}")
    assert kind in mistake.value.hint


async def test_a_shorter_grace_is_what_the_next_stop_waits(fleet: Fleet) -> None:
    await fleet.clone("deaf", DEAF_BOT)
    out, _ = fleet.services.overview._logs.paths("deaf")
    while not out.exists() or "deaf" not in out.read_text():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    view = await fleet.reload("SUPERVISION['GRACE_S'] = 0.2")
    assert view == ReloadView(applied=("SUPERVISION['GRACE_S']",))
    stopped = await asyncio.wait_for(fleet.house.act(OPERATOR, nodes.stop, "deaf"), WITHIN_S)
    assert stopped.state == "stopped"
    assert "SIGKILL" in fleet.services.supervisor.view(fleet.id("deaf")).last_exit


async def test_an_earlier_deadline_moves_while_a_node_starts(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    first = fleet.pid("atlas")
    with fleet.services.bus.subscribe(NodeExited) as events:
        await fleet.reload("SUPERVISION['READY_TIMEOUT_S'] = 0.5")
        async with asyncio.timeout(WITHIN_S):
            async for event in events:
                assert "not ready within 0.5 s" in event.detail
                assert event.pid == first
                break


async def test_a_soft_memory_limit_of_one_node_holds_at_once(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    await fleet.clone("borealis")
    with fleet.services.bus.subscribe(NodeExited) as events:
        view = await fleet.reload('NODES = {"Atlas": {"MEMORY_LIMIT_BYTES": 1_000}}')
        assert view.applied == ("NODES['atlas']['MEMORY_LIMIT_BYTES']",)
        fleet.services.supervisor.watch_closely()
        async with asyncio.timeout(WITHIN_S):
            async for event in events:
                assert "over its memory limit" in event.detail
                break
    assert fleet.services.supervisor.view(fleet.id("borealis")).last_exit == ""


async def test_what_a_process_is_born_with_waits_for_its_next_start(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    pid = fleet.pid("atlas")
    assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] == 4096
    view = await fleet.reload('SUPERVISION["OPEN_FILES_LIMIT"] = 777; NODES = {"atlas": {"PLAIN": True}}')
    assert view.at_node_start == ("SUPERVISION['OPEN_FILES_LIMIT']", "NODES['atlas']['PLAIN']")
    assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] == 4096
    await fleet.house.act(OPERATOR, nodes.restart, "atlas")
    assert psutil.Process(fleet.pid("atlas")).rlimit(psutil.RLIMIT_NOFILE)[0] == 777


async def test_who_was_made_an_operator_may_act_and_who_is_none_any_more_may_not(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    mallory = Actor(face="discord", identity="424242424242424242", name="mallory")
    for actor in (STRANGER, mallory):
        with pytest.raises(NotAuthorised):
            await fleet.house.act(actor, nodes.stop, "atlas")
    view = await fleet.reload(
        'OPERATORS = {"USERS": [424242424242424242]}; VIEWERS = {"ROLES": ["424242424242424243"]}'
    )
    assert view.applied == ("OPERATORS['USERS']", "VIEWERS['ROLES']")
    assert (await fleet.house.act(mallory, nodes.stop, "atlas")).state == "stopped"
    await fleet.reload("")
    with pytest.raises(NotAuthorised):
        await fleet.house.act(mallory, nodes.start, "atlas")


@pytest.mark.slow
async def test_a_smaller_log_is_rotated_at_its_new_size(fleet: Fleet) -> None:
    await fleet.clone("atlas", TALKS)
    out, _ = fleet.services.overview._logs.paths("atlas")
    while not out.exists() or out.stat().st_size < 30_000:  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    view = await fleet.reload("SUPERVISION['LOG_MAX_BYTES'] = 10_000")
    assert view.applied == ("SUPERVISION['LOG_MAX_BYTES']",)
    fleet.services.supervisor.watch_closely()
    async with asyncio.timeout(WITHIN_S):
        while not out.with_name(f"{out.name}.1").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_node_is_told_of_another_pulse_interval_and_not_expected_by_it_before(fleet: Fleet) -> None:
    atlas = Caller(fleet.house, await fleet.clone("atlas"))
    first = await atlas.says(atlas.request())
    assert isinstance(body_of(first), VerificationResponse)
    assert await atlas.says(Heartbeat(uptime_s=1.0)) is None
    view = await fleet.reload("SUPERVISION['PULSE_INTERVAL_S'] = 0.1; SUPERVISION['MISSED_PULSES'] = 1")
    assert view.applied == ("SUPERVISION['PULSE_INTERVAL_S']", "SUPERVISION['MISSED_PULSES']")
    pulse = fleet.services.supervisor._runner(atlas.node.id).pulse
    assert pulse is not None
    assert pulse.interval_s == 9.0
    order = body_of(await atlas.says(Heartbeat(uptime_s=2.0)))
    assert isinstance(order, Acknowledgement)
    assert order.order == "verify_again"
    with fleet.services.bus.subscribe(NodeDegraded) as events:
        second = body_of(await atlas.says(atlas.request()))
        assert isinstance(second, VerificationResponse)
        assert second.pulse_interval_s == 0.1
        async with asyncio.timeout(WITHIN_S):
            async for _event in events:
                break


def body_of(message: Message | None) -> Body:
    assert message is not None
    return message.body


async def test_with_a_mistake_nothing_changes_and_all_mistakes_are_told(fleet: Fleet) -> None:
    before = fleet.services.settings
    with pytest.raises(ConfigError) as error:
        await fleet.reload('SUPERVISION = {"GRACE_S": 1.0, "LOG_FILES": 0, "GRACE": 1}\nEMOJIS = {"READY": ""}')
    assert [problem.key for problem in error.value.problems] == [
        "EMOJIS['READY']",
        "SUPERVISION['GRACE']",
        "SUPERVISION['LOG_FILES']",
    ]
    assert fleet.services.settings is before


async def test_what_needs_a_restart_stays_as_it_was_and_is_named_until_then(fleet: Fleet) -> None:
    change = (
        'CHANNELS = {"VERIFY": 111111111111111111, "LOG": 111111111111111112}; COLORS = {"ERROR": 1}\n'
        'IDENTITY["MASTER_SECRET"] = "' + new_master_secret() + '"'
    )
    view = await fleet.reload(change)
    waiting = ("IDENTITY['MASTER_SECRET']", "CHANNELS['VERIFY']")
    assert view == ReloadView(applied=("CHANNELS['LOG']", "COLORS['ERROR']"), needs_restart=waiting)
    settings = fleet.services.settings
    assert (settings.channels.verify, settings.channels.log, settings.colours.error) == (0, 111111111111111112, 1)
    assert await fleet.reload(change) == ReloadView(needs_restart=waiting)


async def test_names_that_no_node_has_are_warned_of(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    view = await fleet.reload('NODES = {"Atlas": {"AFTER": ["base"]}, "atlass": {"PRIORITY": 1}}')
    assert view.at_node_start == ("NODES['atlas']['AFTER']", "NODES['atlass']['PRIORITY']")
    assert view.warnings == (
        "NODES['atlass']: there is no node called 'atlass' -> did you mean 'atlas'?",
        "NODES['atlas']['AFTER']: there is no node called 'base' -> `fleet status` lists the nodes",
    )


async def test_an_entry_taken_out_of_nodes_is_gone(fleet: Fleet) -> None:
    await fleet.reload('NODES = {"atlas": {"PRIORITY": 3, "MEMORY_LIMIT_BYTES": 5}}')
    view = await fleet.reload("")
    assert view.applied == ("NODES['atlas']['MEMORY_LIMIT_BYTES']",)
    assert view.at_node_start == ("NODES['atlas']['PRIORITY']",)
    assert fleet.services.settings.nodes == {}


async def test_licences_are_issued_and_events_kept_by_the_new_figures(fleet: Fleet) -> None:
    view = await fleet.reload('LICENCES = {"gold": 7}; RETENTION = {"ERROR_EVENTS": 3}')
    assert view.applied == ("LICENCES", "RETENTION['ERROR_EVENTS']")
    issued = fleet.services.licensing.issue("01J00000000000000000000000").record
    assert issued.tier == "gold"
    assert issued.expires_at is not None
    assert (issued.expires_at - issued.issued_at).days == 7
    assert fleet.services.retention._settings.days_of("error_events") == 3


async def test_alerts_go_to_a_log_channel_that_was_named_later(fleet: Fleet, sandbox: Sandbox, tmp_path: Path) -> None:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("hq", owner=ada)
    channel = guild.create_channel("fleet-log")
    bot = sandbox.create_bot("master", owner=ada)
    guild.add_bot(bot, bits=EVERYONE_DEFAULT)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    presence = DiscordConnection(bot.token, tmp_path / "master-id")
    connected = asyncio.create_task(presence.run(Operations(replace(fleet.services, discord=presence.port))))
    try:
        async with asyncio.timeout(WITHIN_S):
            while presence.state() != "ready":  # noqa: ASYNC110 - the connection tells nobody
                await asyncio.sleep(0.02)
        fleet.services.alerts.raise_alert(AlertLevel.ERROR, "nobody sees this", key="one")
        view = await fleet.reload(f'CHANNELS = {{"LOG": {channel.id}}}; COLORS = {{"ERROR": 0x123456}}')
        assert view.applied == ("CHANNELS['LOG']", "COLORS['ERROR']")
        fleet.services.alerts.raise_alert(AlertLevel.ERROR, "everybody sees this", key="two")
        shown = await channel.wait_for_message(lambda message: bool(message.embeds))
        assert (shown.embeds[0]["title"], shown.embeds[0]["color"]) == ("everybody sees this", 0x123456)
    finally:
        connected.cancel()
        await asyncio.gather(connected, return_exceptions=True)


NEW_IN_EACH_SECTION = """\
SUPERVISION["BACKOFF_CAP_S"] = 7.0
RETENTION = {"ERROR_EVENTS": 3}
OPERATORS = VIEWERS = MODERATORS = {"USERS": [424242424242424242]}
EMOJIS = {"READY": "!"}
COLORS = {"ERROR": 1}
LICENCES = {"gold": 7}
HEALING = {"MOST_REPAIRS_AN_HOUR": 5}
PATCHES = {"BACK_AT_ONCE": 2}
SHOP = {"PORT": 9}
GIVEAWAYS = {"MOST_OPEN": 2}
TICKETS = {"REQUESTS_A_MINUTE": 2}
SELFFIX = {"MOST_AN_HOUR": 2}
ANNOUNCE = {"news": {"CHANNEL_ID": 424242424242424242}}
CHANNELS = {"LOG": 424242424242424242}
HANDSHAKE = {"CHANNEL_PULSE_INTERVAL_S": 99.0}
NODES = {"atlas": {"MEMORY_LIMIT_BYTES": 10**12}}
"""


async def test_no_part_of_the_master_goes_on_with_a_section_that_was_applied(fleet: Fleet) -> None:
    await fleet.clone("atlas")
    before = fleet.services.settings
    await fleet.reload(NEW_IN_EACH_SECTION)
    for section in fields_of(Settings):
        below = fields_of(section.shape.kind, section.effect) if is_section(section.shape) else (section,)
        by_name = section_by_name(section.shape)
        if by_name is not None:
            below = fields_of(by_name, section.effect)
        if not any(field.effect == "now" for field in below):
            continue
        old = getattr(before, section.name)
        assert old != getattr(fleet.services.settings, section.name), f"change something of {section.key} above"
        holders = [holder for holder in gc.get_referrers(old) if not isinstance(holder, Settings | FrameType)]
        assert holders == [], f"{section.key} as it was is still held"
