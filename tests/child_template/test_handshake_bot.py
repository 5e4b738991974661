"""HandshakeBot, as a node and by hand."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox import Sandbox

TEMPLATE = Path(__file__).resolve().parents[2] / "child_template"

pytestmark = pytest.mark.timeout(120)


def test_a_node_knows_only_the_protocol() -> None:
    allowed = {
        "discord",
        "handshake",
        "nodekit",
        "dotenv",
        "config",
        "bot",
        "cogs",
        "__future__",
        *sys.stdlib_module_names,
    }
    for path in TEMPLATE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_its_requirements_name_nothing_that_another_project_could_answer() -> None:
    """The name "fleetmaster" belongs to somebody else on the package index; nodekit comes with the fleet."""
    lines = (TEMPLATE / "requirements.txt").read_text("utf-8").splitlines()
    names = {line.split(">")[0].split("=")[0].strip() for line in lines if line.strip() and not line.startswith("#")}
    assert names == {"discord.py", "python-dotenv"}


@pytest.mark.slow
async def test_its_commands_answer(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    bot = stage.bots["atlas"]
    ping = await stage.operator.runs_command(stage.office, bot, "ping")
    assert ping.content.startswith("Pong")
    about = await stage.operator.runs_command(stage.office, bot, "about")
    assert about.embeds[0]["title"] == "atlas"
    assert (await stage.operator.runs_command(stage.office, bot, "uptime")).content.startswith("Up since <t:")
    rolled = await stage.operator.runs_command(stage.office, bot, "roll", {"dice": 3, "sides": 20})
    assert rolled.embeds[0]["title"].startswith("3d20: ")


@pytest.mark.slow
async def test_commands_are_registered_once_and_again_when_they_change(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    route = "PUT /applications/{application_id}/commands"
    assert stage.sandbox.requests[route] == 1

    async def restart() -> None:
        since = len(tap.events)
        pid = (await stage.node("atlas")).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await tap.wait_for("ready", "atlas", since=since)

    await restart()
    assert stage.sandbox.requests[route] == 1
    cog = stage.home / "bots" / "atlas" / "cogs" / "example.py"
    cog.write_text(cog.read_text("utf-8").replace('description="Roll dice"', 'description="Throw dice"'), "utf-8")
    await restart()
    assert stage.sandbox.requests[route] == 2


@pytest.mark.slow
async def test_an_error_in_a_command_is_told_to_the_user_and_reported_to_the_log_channel(
    stage: Stage, tap: EventTap
) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    (stage.home / "bots" / "atlas" / "cogs" / "faulty.py").write_text(
        "from discord import app_commands\n"
        "from discord.ext import commands\n"
        "class Faulty(commands.Cog):\n"
        "    @app_commands.command(description='breaks')\n"
        "    async def explode(self, interaction):\n"
        "        raise ZeroDivisionError('as it must')\n"
        "async def setup(bot):\n"
        "    await bot.add_cog(Faulty())\n"
    )
    since = len(tap.events)
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("ready", "atlas", since=since)
    answer = await stage.operator.runs_command(stage.office, stage.bots["atlas"], "explode")
    assert answer.ephemeral
    assert "Something went wrong" in answer.embeds[0]["description"]
    # Its process has just ended: the alert of the error waits until the crash was told.
    shown = await stage.log.wait_for_message(
        lambda m: any("atlas: ZeroDivisionError" in e.get("title", "") for e in m.embeds), timeout_s=40.0
    )
    assert "as it must" in shown.embeds[0]["description"]


@pytest.mark.slow
async def test_a_broken_cog_does_not_take_the_bot_down(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    (stage.home / "bots" / "atlas" / "cogs" / "broken.py").write_text("import nothing_of_that_name\n")
    since = len(tap.events)
    pid = (await stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("degraded", "atlas", since=since)
    await stage.log.wait_for_message(lambda m: any("A module is not installed" in e.get("title", "") for e in m.embeds))
    about = await stage.operator.runs_command(stage.office, stage.bots["atlas"], "about")
    assert about.embeds[0]["fields"][-1]["value"] == "broken"


async def _run_by_hand(folder: Path, env: str) -> tuple[int, str]:
    import shutil

    await asyncio.to_thread(shutil.copytree, TEMPLATE, folder / "bot")
    (folder / "bot" / ".env").write_text(env)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "bot.py"), cwd=folder / "bot", stderr=asyncio.subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, told.decode()


async def test_by_hand_without_a_token_it_says_what_to_do(tmp_path: Path) -> None:
    code, told = await _run_by_hand(tmp_path, "")
    assert code == 64
    assert "DISCORD_TOKEN" in told


def env_for(sandbox: Sandbox, token: str) -> str:
    return f"DISCORD_TOKEN={token}\nDISCORD_API_BASE={sandbox.api_base}\nDISCORD_GATEWAY_URL={sandbox.gateway_url}\n"


async def test_by_hand_with_a_wrong_token_it_ends_with_its_own_code(sandbox: Sandbox, tmp_path: Path) -> None:
    code, told = await _run_by_hand(tmp_path, env_for(sandbox, sandbox.world.new_token(123456789012345678)))
    assert code == 65
    assert "refuses the token" in told


async def test_refused_intents_have_a_code_of_their_own(sandbox: Sandbox, tmp_path: Path) -> None:
    bot = sandbox.create_bot("atlas")
    sandbox.faults.refuse_identify(bot.account, 4014)
    code, told = await _run_by_hand(tmp_path, env_for(sandbox, bot.token))
    assert code == 66
    assert "developer portal" in told


async def test_by_hand_it_runs_unsupervised_and_ends_gracefully(sandbox: Sandbox, tmp_path: Path) -> None:
    bot = sandbox.create_bot("atlas")
    running = asyncio.create_task(_run_by_hand(tmp_path, env_for(sandbox, bot.token)))
    await sandbox.gateway.wait_connected(bot.account, timeout_s=20)
    # Connected is a moment before the signal handlers' loop has handled READY; SIGTERM is handled either way.
    import psutil

    (process,) = [p for p in psutil.Process().children() if p.cwd() == str(tmp_path / "bot")]
    process.send_signal(signal.SIGTERM)
    code, told = await running
    assert code == 0, told
    assert "unsupervised" in told
