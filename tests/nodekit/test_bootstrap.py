"""A linked bot with a virtual environment of its own, and how much of the fleet its libraries allow."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import discord
import msgspec
import pytest

from handshake.boot import BootDocument, encode_boot
from handshake.messages import Heartbeat, VerificationRequest
from handshake.redaction import Secret
from handshake.replay import ReplayGuard
from handshake.signing import NodeKey, Verifier
from master.demonstration.stage import EventTap, Stage
from nodekit.bootstrap import OLDEST_PYTHON, KitFinder
from nodekit.presence import Presence
from tests.child_template.template_nodes import copy_template, start_node
from tests.nodekit.foreign import client, kill, log_of, noted, notes_of, pid_of, place, register, sessions
from tests.nodekit.test_linking import shown_by

pytestmark = pytest.mark.timeout(120)

DISCORD_AND_WHAT_IT_NEEDS = re.compile(
    r"(discord|aiohttp|aiohappyeyeballs|aiosignal|attrs?|frozenlist|multidict|propcache|yarl|idna|typing_extensions|"
    # From Python 3.13 on discord.py takes it from a package.
    r"audioop)(\b|_)"
)
WAITS = """\
import os, signal, sys
open("notes", "w").write(f"{sys.version_info.minor} {len(os.environ['DISCORD_TOKEN'])}\\n")
signal.pause()
"""


def make_environment(folder: Path, python: str = sys.executable) -> Path:
    """Make an empty virtual environment in a bot's folder; returns its site-packages."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder / ".venv"], check=True)  # noqa: S603
    (found,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    return found


def install_discord(site_packages: Path) -> None:
    """Install discord.py as these tests have it, and neither msgspec nor anything of ours."""
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if DISCORD_AND_WHAT_IT_NEEDS.match(path.name):
            (site_packages / path.name).symlink_to(path)


def identifies_counted(stage: Stage, name: str) -> int:
    return (stage.home / "state" / "identifies" / str(stage.bots[name].id)).stat().st_size // 8


@pytest.mark.slow
async def test_with_discord_py_alone_it_gets_everything(stage: Stage, tap: EventTap) -> None:
    looks = (
        "import importlib.util, msgspec, sys\n"
        "assert importlib.util.find_spec('sqlalchemy') is None, 'nothing else of the master is lent'\n"
        "assert importlib.util.find_spec('master') is None\n"
        "assert 'FLEET_KIT' not in os.environ\n"
        "assert sys.argv == ['main.py'] and sys.path[0] == os.getcwd()\n"
    )
    folder = place(stage, "oldbot", client(before=looks))
    install_discord(make_environment(folder))
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    assert f"[fleet] linked, with discord.py {discord.__version__}\n" in log_of(stage, "oldbot") + "\n"
    assert shown_by(await pid_of(stage, "oldbot"), stage.bots["oldbot"].token.encode()) == []
    assert "child sees the token: False" in notes_of(folder)

    await stage.operator.sends(stage.office, "hello")
    await stage.log.wait_for_message(
        lambda m: any("oldbot: ValueError in on\\_message" in e.get("title", "") for e in m.embeds)
    )
    await kill(stage, tap, "oldbot")
    await noted(folder, "resumed")
    assert sessions(stage, "oldbot") == (1, 1)
    assert identifies_counted(stage, "oldbot") == 1


@pytest.mark.slow
async def test_a_node_of_the_template_gets_nodekit_lent_in_an_environment_of_its_own(
    stage: Stage, tap: EventTap
) -> None:
    folder = stage.home / "bots" / "atlas"
    copy_template(folder, {})
    site_packages = make_environment(folder)
    install_discord(site_packages)
    (site_packages / "own_package.py").write_text("ANSWER = 42")
    looks = (
        "import importlib.util, os, sys\n"
        "import own_package\n"
        "assert importlib.util.find_spec('master') is None, 'nothing else of the master is lent'\n"
        "assert sys.argv == ['bot.py', '--loud'], sys.argv\n"
        "assert not {'FLEET_KIT', 'FLEET_LENT'} & set(os.environ)\n"
    )
    (folder / "cogs" / "looks.py").write_text(looks + "async def setup(bot): pass\n")
    atlas = await start_node(stage, tap, folder, options={"ARGS": "--loud"})
    about = await stage.operator.runs_command(stage.office, atlas, "about")
    assert [field["name"] for field in about.embeds[0]["fields"]] == ["Version", "Servers", "Up"]
    assert (await stage.node("atlas")).state == "ready"


LIBRARIES = {
    "none": ("", "its environment has no discord.py"),
    "another": ("__title__ = 'pycord'", "its Discord library is pycord, not discord.py"),
    "an old one": (
        "from types import SimpleNamespace as N\n__title__, __version__, version_info = 'discord', '1.7.3', N(major=1)",
        "nodekit knows discord.py 2, not 1.7.3",
    ),
    "one that is not what it says": (
        "from types import SimpleNamespace as N\n__title__, __version__, version_info = 'discord', '2.0.0', N(major=2)",
        "nodekit does not work with its libraries",
    ),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.slow
async def test_without_a_library_that_can_be_linked_it_counts_as_ready_when_it_runs(
    stage: Stage, tap: EventTap, library: str
) -> None:
    source, why = LIBRARIES[library]
    folder = place(stage, "oldbot", WAITS)
    site_packages = make_environment(folder)
    if source:
        (site_packages / "discord.py").write_text(source)
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    assert f"[fleet] not linked: {why}" in log_of(stage, "oldbot")
    await noted(folder, f"{sys.version_info.minor} {len(stage.bots['oldbot'].token)}")
    assert shown_by(await pid_of(stage, "oldbot"), stage.bots["oldbot"].token.encode()) == []
    assert identifies_counted(stage, "oldbot") == 1


@pytest.mark.slow
async def test_an_unlinked_bot_survives_its_master_and_shows_itself_to_the_next(stage: Stage, tap: EventTap) -> None:
    make_environment(place(stage, "oldbot", WAITS))
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    before = await pid_of(stage, "oldbot")
    assert stage.master is not None
    stage.master.process.kill()
    await stage.master.process.wait()
    await stage.start_master()
    async with stage.listen() as later:
        if (await stage.node("oldbot")).state != "ready":
            await later.wait_for("ready", "oldbot")
    assert await pid_of(stage, "oldbot") == before


async def test_an_unlinked_bot_without_a_licence_ends_with_its_own_code(stage: Stage, tap: EventTap) -> None:
    folder = place(stage, "oldbot", WAITS)
    make_environment(folder)
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    manifest = folder / "node.json"
    manifest.write_text(re.sub(r'"licence": "[^"]*"', '"licence": "AAAA"', manifest.read_text()))
    since = len(tap.events)
    os.kill(await pid_of(stage, "oldbot"), signal.SIGKILL)
    while True:
        exited = await tap.wait_for("exited", "oldbot", since=since)
        if "exited with code 67" in exited.detail:
            break
        since = tap.events.index(exited) + 1


def older_pythons() -> list[str]:
    wanted = [f"python3.{minor}" for minor in range(8, OLDEST_PYTHON[1])]
    return [name for name in wanted if shutil.which(name) and _runs(name)]


def _runs(name: str) -> bool:
    # A shim of a version manager may be there, and have no Python behind it.
    return subprocess.run([name, "-c", ""], capture_output=True).returncode == 0  # noqa: S603


@pytest.mark.parametrize("python", older_pythons() or [pytest.param("", marks=pytest.mark.skip("no older Python"))])
async def test_an_older_python_is_told_as_the_reason(stage: Stage, tap: EventTap, python: str) -> None:
    folder = place(stage, "oldbot", WAITS)
    make_environment(folder, python)
    await register(stage, "oldbot", link=True)
    await tap.wait_for("ready", "oldbot")
    version = python.removeprefix("python")
    assert f"[fleet] not linked: Python {version} is too old" in log_of(stage, "oldbot")
    assert notes_of(folder) == [f"{version.partition('.')[2]} {len(stage.bots['oldbot'].token)}"]


def test_what_an_unlinked_bot_says_is_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node.json").write_text('{"licence": "AAAA"}')
    key = NodeKey("NODE1", 3, Secret(bytes(range(32))))
    boot = BootDocument(
        node_id="NODE1", name="oldbot", token="MTIzNDU2Nzg5MDEyMzQ1Njc4.x.y", key=bytes(range(32)), key_epoch=3
    )
    presence = Presence(msgspec.json.decode(encode_boot(boot)), "no reason")
    clock = __import__("time").time
    verifier = Verifier(lambda _node, _epoch: key, clock=clock, replay_guard=ReplayGuard(clock))
    request = verifier.open(presence.sign("verification_request", presence._request())).body
    assert isinstance(request, VerificationRequest)
    assert (request.bot_user_id, request.licence, request.library) == (
        123456789012345678,
        "AAAA",
        "not linked: no reason",
    )
    pulse = verifier.open(presence.sign("heartbeat", {"uptime_s": 1.5}))
    assert (pulse.body, pulse.sequence) == (Heartbeat(uptime_s=1.5), 2)


def test_what_is_lent_is_found_by_its_own_name_alone() -> None:
    finder = KitFinder([str(Path(msgspec.__path__[0]))])
    found = finder.find_spec("msgspec")
    assert found is not None
    assert found.origin == msgspec.__file__
    assert finder.find_spec("msgspec.json") is None
    assert finder.find_spec("typing_extensions") is None
