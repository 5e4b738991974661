"""A node's later life: its token is reset, it is renamed, changed, and removed; at the command line and on Discord."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(120)


async def fleet(stage: Stage, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Type a command in a pipe; returns its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "master.cli",
        *arguments,
        env={**os.environ, "FLEET_HOME": str(stage.home)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(stdin.encode())
    return process.returncode or 0, said.decode()


@pytest.mark.slow
async def test_a_node_whose_token_was_reset_says_so_and_lives_again_with_the_new_one(
    stage: Stage, tap: EventTap
) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    bot, pid = stage.bots["atlas"], (await stage.node("atlas")).pid
    assert pid is not None
    stage.sandbox.world.set_token(bot.account)
    os.kill(pid, signal.SIGKILL)
    # With the dead token it ends again and again.
    await tap.wait_for("backoff", "atlas")
    code, said = await fleet(stage, "status")
    assert code == 0
    assert "fleet set-token atlas" in said
    since = len(tap.events)
    code, said = await fleet(stage, "set-token", "atlas", stdin=bot.token)
    assert (code, said.splitlines()[0]) == (0, "✓ atlas has a new token, restarted with it  ◐ starting")
    assert bot.token not in said
    await tap.wait_for("ready", "atlas", since=since)


@pytest.mark.slow  # four commands are four processes
async def test_a_node_is_renamed_while_it_runs_and_removed_with_its_files(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    pid = (await stage.node("atlas")).pid
    assert (await fleet(stage, "rename", "atlas", "sol"))[0] == 0
    renamed = await stage.node("sol")
    assert (renamed.pid, renamed.state) == (pid, "ready")
    since = len(tap.events)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await tap.wait_for("ready", "sol", since=since)  # with its manifest, its licence and its log
    code, said = await fleet(stage, "remove", "sol", "--archive", "--yes")
    assert code == 0
    assert (await stage.status()).nodes == ()
    (archive,) = (stage.home / "state" / "removed").iterdir()
    assert f"✓ sol is removed; archive: {archive}\n" == said
    # Its name, its folder and its bot are free at once.
    since = len(tap.events)
    code, said = await fleet(stage, "dup", "sol", "--json", stdin=stage.bots["atlas"].token)
    assert code == 0
    await tap.wait_for("ready", "sol", since=since)


@pytest.mark.slow
async def test_what_a_removal_says_brings_a_program_back_as_it_was(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "a site"
    folder.mkdir()
    (folder / "site.env").write_text("MOOD=calm\n")
    program = ("--folder", str(folder), "--command", "sleep 600", "--no-token", "--env-file", f"{folder}/site.env")
    more = ("--cron", "0 5 * * *", "--watch", "src", "--tag", "web", "--no-start")
    assert (await fleet(stage, "register", "site", *program, *more))[0] == 0
    limits = ("--set", "MEMORY_LIMIT_BYTES=64M", "--set", "ISOLATED=no", "--priority", "5")
    assert (await fleet(stage, "edit", "site", *limits))[0] == 0
    before = await fleet(stage, "edit", "site", "--json")
    removed, said = await fleet(stage, "remove", "site", "--yes")
    assert removed == 0
    commands = [line.partition(": ")[2] for line in said.splitlines() if "back again: " in line or "then: " in line]
    assert [shlex.split(command)[:3] for command in commands] == [
        ["fleet", "register", "site"],
        ["fleet", "edit", "site"],
    ]
    for command in commands:
        code, said = await fleet(stage, *shlex.split(command)[1:])
        assert code == 0, said
    assert await fleet(stage, "edit", "site", "--json") == before


@pytest.mark.slow
async def test_on_discord_a_button_removes_and_a_form_takes_the_token(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    bot, person = stage.bots["atlas"], stage.operator
    stage.sandbox.world.set_token(bot.account)
    form = await person.runs_command(stage.office, stage.master_bot, "fleet set-token", {"node": "atlas"})
    since = len(tap.events)
    answered = await person.submits_modal(form, {"Bot token": bot.token})
    await answered.wait_until(lambda i: bool(i.embeds))
    assert answered.ephemeral
    assert "atlas has a new token" in answered.embeds[0]["title"]
    assert bot.token not in str(answered.embeds)
    await tap.wait_for("ready", "atlas", since=since)
    renamed = await person.runs_command(
        stage.office, stage.master_bot, "fleet rename", {"node": "atlas", "new_name": "sol"}
    )
    await renamed.wait_until(lambda i: bool(i.embeds))
    question = await person.runs_command(
        stage.office, stage.master_bot, "fleet remove", {"node": "sol", "files": "purge"}
    )
    await question.wait_until(lambda i: bool(i.embeds))
    assert "Remove sol?" in question.embeds[0]["title"]
    assert "without a copy" in question.embeds[0]["description"]
    since = len(tap.events)
    await person.presses(question, "Remove")
    await tap.wait_for("audited", "sol", since=since)
    assert (await stage.status()).nodes == ()
    assert not Path(stage.home, "bots", "atlas").exists()
