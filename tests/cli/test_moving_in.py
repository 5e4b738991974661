"""The first steps at a terminal: ``fleet init`` asks and checks, ``fleet`` comes onto the PATH, and all goes again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from master.configuration.home import remembered_home
from master.configuration.loading import load_settings
from master.services.channels.tree_file import read_tree
from sandbox import Sandbox
from sandbox.intents import MESSAGE_CONTENT
from sandbox.permissions import EVERYONE_DEFAULT
from tests.hostile.conversations import typed
from tests.terminals import Terminal

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this user's folder an empty one."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
    monkeypatch.setenv("FLEET_CHECKOUT", str(ROOT))
    monkeypatch.delenv("FLEET_HOME", raising=False)
    monkeypatch.chdir(folder)
    return folder


async def test_init_checks_each_answer_when_it_is_given(sandbox: Sandbox, own_home: Path) -> None:
    ada = sandbox.create_human("ada")
    hq, elsewhere = sandbox.create_guild("Fleet HQ", owner=ada), sandbox.create_guild("Elsewhere", owner=ada)
    verify, log = hq.create_channel("verify"), hq.create_channel("fleet-log")
    foreign = elsewhere.create_channel("general")
    bot = sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT, owner=ada)
    hq.add_bot(bot, bits=EVERYONE_DEFAULT)
    terminal = Terminal("init", "--api-base", sandbox.api_base, "--gateway-url", sandbox.gateway_url)

    def talk() -> int:
        def answer(question: str, text: str) -> str:
            # Whole: what is typed ahead of a hidden prompt is thrown away.
            return terminal.answer(rf"{question}[^\r\n]*[)\]?]: $", text, timeout_s=30)

        answer("Folder of the fleet", "")
        answer("bot token", bot.token[:-4] + "AAAA")
        assert "Discord does not accept the token" in answer("✗.*bot token", bot.token)
        told = answer("Id of your server", "12")
        assert "it is Fleetmaster's" in told
        assert f"client_id={bot.id}" in told.replace("\r\n", "")  # before a person looks for the server's id
        assert "'12' is not a Discord id" in answer("✗.*Id of your server", str(elsewhere.id))
        told = answer("✗.*Id of your server", str(hq.id))
        assert "Fleetmaster is on no server" in told
        answer("VERIFY", str(foreign.id))
        assert "sees no channel" in answer("✗.*VERIFY", str(verify.id))
        assert "#verify" in answer("LOG", str(log.id))
        answer("Your own user id", str(bot.id + 1))
        assert "nobody on that server" in answer(r"✗.*Your own user id", "")  # Enter: the server's owner
        answer("on your PATH", "y")
        terminal.read_until("(?!)")
        return terminal.wait()

    assert await asyncio.to_thread(talk) == 0, terminal.seen
    home = own_home / "fleet"
    settings = load_settings(home, {})
    assert settings.identity.guild_id == hq.id
    assert (settings.channels.verify, settings.channels.log) == (verify.id, log.id)
    assert list(settings.operators.user_ids) == [ada.id]
    assert settings.discord.api_base == sandbox.api_base
    assert bot.token not in terminal.seen
    assert remembered_home(os.environ) == home
    assert (own_home / ".local" / "bin" / "fleet").resolve() == ROOT / "fleet"
    assert 'export PATH="$HOME/.local/bin:$PATH"' in terminal.seen


async def test_init_offers_all_channels_of_an_empty_server(sandbox: Sandbox, own_home: Path) -> None:
    ada = sandbox.create_human("ada")
    empty, full = (sandbox.create_guild(name, owner=ada) for name in ("Empty", "Full"))
    full.create_channel("fleet-log")
    bot = sandbox.create_bot("Fleetmaster", privileged_intents=MESSAGE_CONTENT, owner=ada)
    for guild in (empty, full):
        guild.add_bot(bot, bits=EVERYONE_DEFAULT)

    def talk(guild_id: int, wish: str | None) -> str:
        where = ("--home", str(own_home / f"home-{guild_id}-{wish}"), "--api-base", sandbox.api_base)
        terminal = Terminal("init", *where, "--gateway-url", sandbox.gateway_url)
        shown = terminal.answer(r"bot token[^\r\n]*[)\]?]: $", bot.token)
        for question, answer in (("Id of your server", str(guild_id)), ("VERIFY", ""), ("LOG", "")):
            terminal.answer(rf"{question}[^\r\n]*[)\]?]: $", answer)
        if wish is not None:
            shown += terminal.answer(r"when the master starts[^\r\n]*: $", wish)
        shown += terminal.answer(r"Your own user id[^\r\n]*[)\]?]: $", "")
        shown += terminal.answer(r"on your PATH[^\r\n]*: $", "n")
        terminal.read_until("(?!)")
        assert terminal.wait() == 0, terminal.seen
        assert all(len(line) <= 80 for line in shown.splitlines() if "none of the fleet's channels" in line)
        return shown + terminal.seen

    told = await asyncio.to_thread(talk, empty.id, "y")
    assert "Fleet: #verify, #patch, #fleet-log" in told
    assert "An empty server?" not in told
    written = own_home / f"home-{empty.id}-y" / "channels.toml"
    assert read_tree(written).channel[0].name == "verify"
    # Enter alone: no.
    told = await asyncio.to_thread(talk, empty.id, "")
    assert "An empty server?" in told
    assert not (own_home / f"home-{empty.id}-" / "channels.toml").exists()
    # One of them is there: it is not asked.
    told = await asyncio.to_thread(talk, full.id, None)
    assert not (own_home / f"home-{full.id}-None" / "channels.toml").exists()


def test_a_second_home_does_not_take_the_place_of_the_first(own_home: Path) -> None:
    assert typed(["init", "--yes", "--home", "one"]).code == 0
    told = typed(["init", "--yes", "--home", "two"])
    assert "the home is still" in told.out
    assert remembered_home(os.environ) == own_home / "one"
    assert (own_home / "two" / "config.py").is_file()


def test_in_the_checkout_no_home_is_made(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home / "clone").mkdir()
    (own_home / "clone" / "pyproject.toml").touch()
    monkeypatch.chdir(own_home / "clone")
    assert typed(["init", "--yes"]).code == 0
    assert (own_home / "fleet" / "config.py").is_file()


def test_the_command_is_a_link_that_replaces_nothing_of_others(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = own_home / ".local" / "bin" / "fleet"
    (own_home / ".profile").write_text('[ -d "$HOME/.local/bin" ] && PATH="$HOME/.local/bin:$PATH"\n')
    told = typed(["install-command"])
    assert told.code == 0
    assert "from the next login on" in told.out
    monkeypatch.setenv("PATH", f"{link.parent}:{os.environ['PATH']}")
    assert typed(["install-command"]).out == f"✓ {link} leads here already\n"
    link.unlink()
    link.write_text("#!/bin/sh\n")
    told = typed(["install-command", "--yes"])
    assert (told.code, "is another program" in told.err) == (4, True)
    assert link.read_text() == "#!/bin/sh\n"
    other = own_home / "other"
    (other / "master" / "cli").mkdir(parents=True)
    (other / "fleet").touch()
    link.unlink()
    link.symlink_to(other / "fleet")
    assert typed(["install-command"]).code == 2  # it would ask
    assert typed(["install-command", "--yes"]).code == 0
    assert link.resolve() == ROOT / "fleet"


def test_uninstalling_leaves_the_fleet_and_says_so(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("systemctl", "loginctl"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/called"\n')
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for line in ("init --yes --home fleet", "install-command", "install-service --user"):
        assert typed(line.split()).code == 0
    assert len(list(own_home.rglob("fleetmaster.service"))) == 1
    told = typed(["uninstall"])
    assert told.code == 2  # it would ask
    assert "forget that" in told.out
    told = typed(["uninstall", "--yes"])
    assert told.code == 0, told
    assert f"rm -r {own_home / 'fleet'}" in told.out
    assert f"rm -r {ROOT}" in told.out
    called = (tmp_path / "called").read_text().splitlines()
    assert called[-2:] == ["systemctl --user disable fleetmaster.service", "systemctl --user daemon-reload"]
    left = [
        path for path in own_home.rglob("*") if not path.is_dir() and path.relative_to(own_home).parts[0] != "fleet"
    ]
    assert left == []
    assert (own_home / "fleet" / ".env").is_file()
    monkeypatch.chdir(own_home / "fleet")
    assert "there is nothing of it outside" in typed(["uninstall"]).out
