"""The commands of README, typed by somebody who has nothing yet but the README: each in a new shell, from the clone on.

The clone borrows what is installed here, unless FLEET_README_INSTALL is set: then `./fleet` installs it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
import pytest

from sandbox import BotHandle, Sandbox
from sandbox.intents import MESSAGE_CONTENT
from sandbox.permissions import EVERYONE_DEFAULT
from tests.terminals import ESCAPE, Terminal

ROOT = Path(__file__).resolve().parents[1]
INSTALLS = bool(os.environ.get("FLEET_README_INSTALL"))
STEPS = re.compile(r"<!-- steps: (\w+) -->\n```console\n(.*?)```", re.DOTALL)

ECOSYSTEM = """\
module.exports = { apps: [{ name: "ticker", script: "ticker.py", interpreter: "python3", cwd: "%s" }] };
"""


def steps() -> dict[str, list[str]]:
    """Return the commands of each block, as they are typed."""
    blocks = dict(STEPS.findall((ROOT / "README.md").read_text("utf-8")))
    return {
        name: [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        for name, block in blocks.items()
    }


def test_the_readme_leads_from_the_clone_to_the_empty_machine() -> None:
    found = steps()
    assert list(found) == ["install", "run", "import", "leave"]
    assert found["install"][0].startswith("git clone ")
    assert found["leave"][-1].startswith("rm -rf ")


class NewUser:
    """Somebody with an empty home folder, and a terminal that knows nothing of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin" if INSTALLS else "/usr/bin:/bin"

    def terminal(self, line: str) -> Terminal:
        """Type a line into a new shell, which reads what its login would."""
        start = f'[ ! -f ~/.profile ] || . ~/.profile; PATH="$HOME/.local/bin:$PATH"; {line}'
        environment = {"HOME": str(self.folder), "PATH": self.path, "LANG": "C.UTF-8"}
        return Terminal(command=["/bin/sh", "-c", start], cwd=self.folder, only=environment)

    def types(self, line: str, *answers: tuple[str, str]) -> str:
        """Type a line, answer its questions, and return what it showed; it has to end well."""
        terminal = self.terminal(line)
        shown = "".join(terminal.answer(question, answer) for question, answer in answers)
        terminal.read_until("(?!)", timeout_s=400)
        assert terminal.wait() == 0, (line, shown + terminal.seen)
        return shown + terminal.seen


def lend_environment(clone: Path) -> None:
    """Lend a clone the packages of this test's environment, as if it had installed them."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True, timeout=60)  # noqa: S603
    (site,) = (clone / ".venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(f"{clone}\n{sysconfig.get_path('purelib')}\n")
    (clone / ".venv" / "bin" / "pip").symlink_to("python")
    program = 'printf "%s" "run $(cat "$0/pyproject.toml" "$0"/locks/*.txt | cksum)" > "$0/.venv/.fleet-run"'
    subprocess.run(["/bin/sh", "-c", program, clone], check=True, timeout=60)  # noqa: S603


@pytest.mark.slow
@pytest.mark.timeout(1200 if INSTALLS else 400)
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_each_step_of_the_readme_works_in_a_new_shell(sandbox: Sandbox, tmp_path: Path) -> None:
    ada = sandbox.create_human("ada")
    guild = sandbox.create_guild("Fleet HQ", owner=ada)
    verify, log = guild.create_channel("verify"), guild.create_channel("fleet-log")
    master, hello = (
        sandbox.create_bot(name, owner=ada, privileged_intents=MESSAGE_CONTENT) for name in ("Fleetmaster", "hello")
    )
    for bot in (master, hello):
        guild.add_bot(bot, bits=EVERYONE_DEFAULT)
    ids = {"server": str(guild.id), "VERIFY": str(verify.id), "LOG": str(log.id), "user id": ""}
    endpoints = f"--api-base {sandbox.api_base} --gateway-url {sandbox.gateway_url}"
    user = NewUser(tmp_path / "newcomer")
    try:
        await asyncio.to_thread(walk, user, endpoints, master, hello, ids)
    finally:
        end_processes_of(user.folder)
    assert {path.name for path in user.folder.iterdir()} - {".cache"} == {
        "mybots",
        "fleet-backup.tar.gz",
        ".local",
        ".config",
    }
    assert [
        path for name in (".local", ".config") for path in (user.folder / name).rglob("*") if not path.is_dir()
    ] == []


def walk(user: NewUser, endpoints: str, master: BotHandle, hello: BotHandle, ids: dict[str, str]) -> None:
    """Type each line of the README, in its order."""
    typed = steps()
    clone, init = typed["install"]
    user.types(clone.replace("ADDRESS", str(ROOT)))
    if not INSTALLS:
        lend_environment(user.folder / "fleetmaster")
    questions = [(f"{name}[^\r\n]*[)\\]]: $", answer) for name, answer in ids.items()]
    token = ("bot token[^\r\n]*[)\\]]: $", master.token)
    folder, offer = ("Folder of the fleet[^\r\n]*: $", ""), ("on your PATH[^\r\n]*: $", "y")
    user.types(f"{init} {endpoints}", folder, token, *questions, offer)
    doctor, up, dup, status, logs = typed["run"]
    assert "✗" not in user.types(doctor)
    assert "the master is up" in user.types(up)
    user.types(dup, ("oken[^\r\n]*: $", hello.token))
    assert "hello" in user.types(status)
    user.types(logs)
    bots = user.folder / "mybots"
    bots.mkdir()
    (bots / "ticker.py").write_text("import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(1)\n")
    (bots / "ecosystem.config.js").write_text(ECOSYSTEM % bots)
    (bring,) = typed["import"]
    user.types(f"{bring} --no-token ticker --yes")
    assert "ticker" in user.types(status)
    before = pids(user)
    assert len(before) == 2
    assert "2 nodes run on" in user.types("fleet down --keep-nodes")
    user.types(up)
    assert pids(user) == before
    backup, uninstall, remove = typed["leave"]
    user.types(backup)
    user.types(uninstall, ("Go on[^\r\n]*: $", "y"))
    assert end_processes_of(user.folder) == []
    user.types(remove)


def pids(user: NewUser) -> dict[str, int]:
    """Return the process of each node."""
    shown = ESCAPE.sub("", user.types("fleet status --json"))
    return {node["name"]: node["pid"] for node in json.loads(shown)["nodes"]}


def end_processes_of(folder: Path) -> list[str]:
    """Kill what still runs below a folder; returns it."""
    left = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if str(folder) in f"{process.info['cmdline']} {process.info['cwd']}":
            left.append(str(process.info))
            process.kill()
    return left
