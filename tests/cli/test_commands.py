"""The command line as a process, as an operator types it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage

pytestmark = pytest.mark.timeout(120)


def fleet(
    *arguments: str, home: Path | None = None, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    names = {key: value for key, value in os.environ.items() if key not in ("FLEET_HOME", "FLEET_CHECKOUT")}
    if home is not None:
        names["FLEET_HOME"] = str(home)
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**names, "COLUMNS": "120", **environment},
        check=False,
    )


def test_help_lists_every_command_and_the_exit_codes() -> None:
    told = fleet("--help").stdout
    for command in [
        "init",
        "demo",
        "check",
        "run",
        "status",
        "top",
        "start",
        "stop",
        "restart",
        "kill",
        "register",
        "dup",
        "logs",
        "doctor",
        "test",
    ]:
        assert f" {command} " in told
    assert "6 no master" in told.replace("\n", " ")


@pytest.mark.parametrize("command", ["status", "top", "events", "restart x", "kill x --yes", "shutdown --yes"])
@pytest.mark.slow
def test_without_a_master_a_command_says_so(tmp_path: Path, command: str) -> None:
    done = fleet(*command.split(), home=tmp_path)
    assert done.returncode == 6
    assert "error: no master is running" in done.stderr
    assert "hint:  `fleet up` starts one" in done.stderr


def test_a_socket_left_by_a_dead_master_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "state" / "control.sock"))
    done = fleet("status", "--json", home=tmp_path)
    assert done.returncode == 6
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "no_master"
    assert "is gone" in error["message"]


def test_no_command_and_a_wrong_option_are_usage(tmp_path: Path) -> None:
    assert fleet("stat", home=tmp_path).returncode == 2
    assert fleet("status", "--nope", home=tmp_path).returncode == 2
    assert fleet("restart", home=tmp_path).returncode == 2


def test_kill_asks_and_without_a_terminal_refuses(tmp_path: Path) -> None:
    done = fleet("kill", "atlas", home=tmp_path)
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_init_makes_a_home_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = fleet("init", "--yes", "--guild", "123456789012345678", "--operator", "223456789012345678", home=home)
    assert done.returncode == 0, done.stderr
    assert "MESSAGE CONTENT INTENT" in done.stdout
    assert stat.S_IMODE((home / ".env").stat().st_mode) == 0o600
    config = (home / "config.py").read_text("utf-8")
    assert '"GUILD_ID": 123456789012345678' in config
    assert '"USERS": [223456789012345678]' in config
    secret = (home / ".env").read_text()
    again = fleet("init", "--yes", home=home)
    assert again.returncode == 1
    assert (home / ".env").read_text() == secret
    assert fleet("check", "config", home=home).returncode == 0


def test_init_takes_a_token_of_another_server_and_says_that_it_looks_strange(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 408 + "\n")
    home = tmp_path / "home"
    done = fleet("init", "--yes", "--token-file", str(tmp_path / "token"), home=home)
    assert (done.returncode, "does not look like a token of Discord's" in done.stdout) == (0, True), done.stderr
    assert "x" * 408 not in done.stdout
    assert f"MASTER_TOKEN={'x' * 408}\n" in (home / ".env").read_text()
    assert fleet("check", "config", home=home).returncode == 0


def test_init_names_a_path_that_it_cannot_use(tmp_path: Path) -> None:
    done = fleet("init", "--yes", "--token-file", str(tmp_path / "missing"), home=tmp_path / "home")
    assert (done.returncode, "No such file" in done.stderr) == (1, True)
    (tmp_path / "file").write_text("in the way")
    done = fleet("init", "--yes", home=tmp_path / "file" / "home")
    assert (done.returncode, "error:" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.slow
def test_doctor_is_content_with_a_new_home_and_says_what_is_wrong_with_a_bad_one(tmp_path: Path) -> None:
    fleet("init", "--yes", home=tmp_path)
    done = fleet("doctor", "--json", "--offline", home=tmp_path)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    assert {findings[what]["verdict"] for what in ("python", "sqlite", "pidfd", "config", "template", "ledger")} == {
        "ok"
    }
    merging = findings["memory merging"]
    assert ("tmpfiles" in merging["fix"]) is (merging["verdict"] == "warn")
    config = tmp_path / "config.py"
    config.write_text(config.read_text() + '\nSUPERVISION["MERGE_MEMORY"] = False\n')
    (tmp_path / "state" / "ledger.db").write_bytes(b"no database" * 10)
    (tmp_path / "state").chmod(0o755)
    done = fleet("doctor", "--json", "--offline", home=tmp_path)
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings["ledger"]["verdict"] == "fail"
    assert findings["ledger"]["fix"]
    assert "chmod 700" in findings["state folder"]["fix"]
    assert findings["memory merging"]["detail"].startswith("off")


@pytest.mark.parametrize(
    ("break_it", "code", "words"),
    [
        (lambda home: (home / "config.py").unlink(), 5, "there is none"),
        (lambda home: (home / "state" / "ledger.db").write_bytes(b"x" * 99), 8, "not a SQLite database"),
        (lambda home: (home / "state" / "ledger.db").mkdir(), 8, "cannot be written"),
    ],
)
@pytest.mark.slow
def test_run_refuses_what_it_cannot_use(tmp_path: Path, break_it: object, code: int, words: str) -> None:
    fleet("init", "--yes", home=tmp_path)
    break_it(tmp_path)  # type: ignore[operator]
    done = fleet("run", home=tmp_path)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.slow
def test_a_token_is_never_an_argument(tmp_path: Path) -> None:
    for command in ("register", "dup"):
        assert "--token-file" in fleet(command, "--help").stdout
        assert fleet(command, "atlas", "--token", "x", home=tmp_path).returncode == 2
        done = fleet(command, "atlas", "--token-file", str(tmp_path / "missing"), home=tmp_path)
        assert (done.returncode, "cannot be read" in done.stderr) == (4, True)


def test_client_commands_import_neither_discord_nor_sqlalchemy(tmp_path: Path) -> None:
    script = (
        "import sys; from master.cli.app import run; sys.argv = ['fleet', 'status']; run();"
        "print([name for name in ('discord', 'sqlalchemy', 'aiohttp', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        env={**os.environ, "FLEET_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip().endswith("[]"), done.stdout


async def typed(*arguments: str, home: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a command while this process goes on being Discord."""
    return await asyncio.to_thread(fleet, *arguments, home=home, stdin=stdin, **environment)


@pytest.mark.slow
async def test_an_operators_morning(stage: Stage, tap: EventTap) -> None:
    home = stage.home
    token = home / "token"
    token.write_text(stage.create_bot("atlas").token)
    done = await typed("dup", "atlas", "--token-file", str(token), "--tag", "music", "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["licence"].startswith("FM1-")
    await tap.wait_for("ready", "atlas")

    second = stage.create_bot("borealis").token
    done = await typed("dup", "borealis", "--from", "atlas", home=home, stdin=second)
    assert done.returncode == 0, done.stderr
    assert "borealis is in the fleet" in done.stdout
    await tap.wait_for("ready", "borealis")

    shown = await typed("status", home=home)
    assert "● ready" in shown.stdout
    assert "2 nodes" in shown.stdout
    assert "\x1b[" not in (await typed("status", home=home, NO_COLOR="1")).stdout
    status = json.loads((await typed("status", "--json", "--strays", home=home)).stdout)
    assert [node["name"] for node in status["nodes"]] == ["atlas", "borealis"]
    assert status["strays"] == []

    since = len(tap.events)
    assert "✓ atlas" in (await typed("restart", "atlas", home=home)).stdout
    await tap.wait_for("ready", "atlas", since=since)
    logged = (await typed("logs", "atlas", "-n", "5", home=home)).stdout
    assert "atlas │" in logged
    assert "logged in as" in logged
    stopped = await typed("stop", "--all", "--yes", "--json", home=home)
    assert sorted((r["node"], r["state"]) for r in json.loads(stopped.stdout)) == [
        ("atlas", "stopped"),
        ("borealis", "stopped"),
    ]
    missing = await typed("start", "atlas", "nobody", home=home)
    assert (missing.returncode, "no node called 'nobody'" in missing.stderr) == (3, True)
    assert "stray" not in (await typed("top", home=home)).stdout

    used = await typed("register", "copy", "--token-file", str(token), home=home)
    assert (used.returncode, "is already the node 'atlas'" in used.stderr) == (4, True)


@pytest.mark.slow
async def test_logs_can_be_read_without_a_master(stage: Stage, tap: EventTap) -> None:
    await stage.register("atlas")
    await tap.wait_for("ready", "atlas")
    assert stage.master is not None
    stage.master.process.terminate()
    await stage.master.process.wait()
    assert "logged in as" in (await typed("logs", "atlas", home=stage.home)).stdout
    missing = await typed("logs", "nobody", home=stage.home)
    assert (missing.returncode, "atlas" in missing.stderr) == (3, True)
