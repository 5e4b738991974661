"""What an isolated process may open: Landlock itself, what is allowed, and how nodes of each kind get there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import venv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from master.supervision import landlock
from master.supervision.errors import SpawnFailed
from master.supervision.isolation import (
    Isolation,
    _apart_from,
    describe_isolation,
    isolation_of,
    landlock_problem,
    temporary_folder,
)
from master.supervision.process import NodeProcess
from master.supervision.spawner import PlainSpawner, Spawner, SpawnRequest
from master.supervision.zygote_spawner import ZygoteSpawner

needs_landlock = pytest.mark.skipif(bool(landlock_problem()), reason=describe_isolation())

LOOKS_AROUND = """\
import json, os, subprocess, sys
def outcome(what, *given):
    try:
        what(*given)
    except OSError as error:
        return error.strerror
    return "done"
fleet, shared = sys.argv[0] and os.environ["FLEET"], os.environ["SHARED"]
found = {
    "secret": outcome(open, fleet + "/.env"), "own": outcome(open, "bot.py"), "write": outcome(open, "new", "w"),
    "child": subprocess.run(["cat", fleet + "/.env"], capture_output=True).returncode,
    "shared": outcome(open, shared + "/song"), "shared write": outcome(open, shared + "/song", "a"),
    "status": [line for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "CapEff"))],
}
print(json.dumps(found))
"""


class Fleet:
    """A home with a secret, and one node."""

    def __init__(self, folder: Path) -> None:
        self.home, self.shared = folder / "fleet", folder / "shared"
        self.node = self.home / "bots" / "atlas"
        self.node.mkdir(parents=True)
        self.shared.mkdir()
        (self.shared / "song").write_text("la")
        (self.home / ".env").write_text("SECRET=1")
        (self.node / "bot.py").write_text(LOOKS_AROUND)

    @property
    def private(self) -> list[Path]:
        return [self.home, self.home / "state", self.home / "bots"]

    def isolation(self, interpreter: str = sys.executable, **opened: Any) -> Isolation:
        return isolation_of(self.node, interpreter, private=self.private, **opened)

    def request(self, isolation: Isolation | None, interpreter: str = sys.executable) -> SpawnRequest:
        return SpawnRequest(
            node_id="atlas",
            name="atlas",
            folder=self.node,
            command=(interpreter, "bot.py"),
            environment={"PATH": "/usr/bin:/bin", "FLEET": str(self.home), "SHARED": str(self.shared)},
            boot=b"{}",
            stdout_path=self.home / "state" / "atlas.out.log",
            stderr_path=self.home / "state" / "atlas.err.log",
            isolation=isolation,
        )

    async def run(self, spawner: Spawner, request: SpawnRequest) -> dict[str, object]:
        process: NodeProcess = await spawner.spawn(request)
        process.release()
        report = await asyncio.wait_for(process.exited, 20)
        errors = request.stderr_path.read_text()
        assert (report.exit_code, errors) == (0, ""), errors
        line = request.stdout_path.read_text()
        return dict(json.loads(line[line.index("{") :]))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture(params=["forked", "plain"])
async def spawner(request: pytest.FixtureRequest) -> AsyncIterator[Spawner]:
    made: Spawner = ZygoteSpawner({"PATH": "/usr/bin:/bin"}) if request.param == "forked" else PlainSpawner()
    yield made
    await made.close()


@needs_landlock
async def test_a_node_and_its_children_open_their_own_folder_alone(fleet: Fleet, spawner: Spawner) -> None:
    found = await fleet.run(spawner, fleet.request(fleet.isolation()))
    assert found.pop("child") == 1
    told = found.pop("status")
    assert found == {
        "secret": "Permission denied",
        "own": "done",
        "write": "done",
        "shared": "Permission denied",
        "shared write": "Permission denied",
    }
    status = dict(line.split() for line in told)  # type: ignore[attr-defined]
    # What a node of root's keeps: files of other users, and low ports.
    assert int(status["CapEff:"], 16) & ~0x402 == 0
    assert status["NoNewPrivs:"] == "1"


@needs_landlock
async def test_what_the_operator_opens_is_open(fleet: Fleet, spawner: Spawner) -> None:
    found = await fleet.run(spawner, fleet.request(fleet.isolation(readable=[fleet.shared])))
    assert (found["shared"], found["shared write"], found["secret"]) == (
        "done",
        "Permission denied",
        "Permission denied",
    )
    fleet.request(None).stdout_path.write_text("")
    found = await fleet.run(spawner, fleet.request(fleet.isolation(writable=[fleet.shared])))
    assert (found["shared"], found["shared write"], found["secret"]) == ("done", "done", "Permission denied")


async def test_a_node_without_isolation_opens_what_its_user_may(fleet: Fleet, spawner: Spawner) -> None:
    found = await fleet.run(spawner, fleet.request(None))
    assert (found["secret"], found["child"], found["shared write"]) == ("done", 0, "done")


@needs_landlock
async def test_variables_of_the_loader_do_not_act_before_the_process_is_restricted(fleet: Fleet) -> None:
    # LD_DEBUG_OUTPUT stands for LD_PRELOAD: what the loader is told, it does, with the rights of that moment.
    request = fleet.request(fleet.isolation())
    request.environment.update(LD_DEBUG="files", LD_DEBUG_OUTPUT=str(fleet.home / "leak"))
    process = await PlainSpawner().spawn(request)
    process.release()
    await asyncio.wait_for(process.exited, 20)
    assert not list(fleet.home.glob("leak*"))
    assert '"own": "done"' in request.stdout_path.read_text() + request.stderr_path.read_text()


@needs_landlock
async def test_what_a_program_comes_with_is_open_and_what_a_node_made_a_link_to_is_not(fleet: Fleet) -> None:
    home = fleet.home.parent
    for name in (".nvm/versions/node/v20/bin/node", ".local/bin/tool", ".local/share/keys/bin/secret"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("#!/bin/sh\n")
        (home / name).chmod(0o755)
    assert str(home / ".nvm") in fleet.isolation(str(home / ".nvm/versions/node/v20/bin/node")).readable
    found = fleet.isolation(str(home / ".local/bin/tool")).readable
    assert {str(home / ".local/bin"), str(home / ".local/bin/tool")} <= set(found)
    assert str(home / ".local") not in found
    link = fleet.node / "node_modules" / ".bin" / "tool"
    link.parent.mkdir(parents=True)
    link.symlink_to(home / ".local/share/keys/bin/secret")
    assert not [path for path in fleet.isolation(str(link)).readable if "keys" in path]


@needs_landlock
async def test_a_bot_with_an_environment_of_its_own_runs_isolated(fleet: Fleet) -> None:
    await asyncio.to_thread(venv.create, fleet.node / ".venv", symlinks=True)
    own = str(fleet.node / ".venv" / "bin" / "python")
    found = await fleet.run(PlainSpawner(), fleet.request(fleet.isolation(own), own))
    assert (found["secret"], found["own"]) == ("Permission denied", "done")


@needs_landlock
async def test_a_program_that_does_not_exist_is_refused_before_it_starts(fleet: Fleet) -> None:
    with pytest.raises(SpawnFailed, match="No such file"):
        await PlainSpawner().spawn(fleet.request(fleet.isolation(), "/nowhere/python"))


@needs_landlock
async def test_a_node_that_cannot_be_isolated_is_not_run() -> None:
    # The kernel refuses the seventeenth layer: sixteen are all that a process can be given.
    layers = f"import os, sys; sys.path.insert(0, {str(Path(landlock.__file__).parents[2])!r})\n" + (
        "from master.supervision.landlock import restrict\n"
        "for _ in range(16): restrict(['/'], ['/'])\n"
        "os.execv(sys.executable, [sys.executable, '-I', '-S', sys.argv[1], '[[], []]', sys.executable, '-c', '1'])\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", layers, landlock.__file__], capture_output=True, text=True
    )
    assert done.returncode == landlock.EXIT_NOT_ISOLATED, done.stderr
    assert "could not be isolated" in done.stderr


def test_python_itself_is_open_where_it_stands_below_the_home(fleet: Fleet) -> None:
    # As with a home in ~, and Python in ~/.pyenv or ~/.local/share/uv.
    home = Path(sys.base_prefix)
    readable = [Path(path) for path in isolation_of(fleet.node, sys.executable, private=[home]).readable]

    def is_open(path: str | Path) -> bool:
        return any(Path(os.path.realpath(path)).is_relative_to(one) for one in readable)

    assert is_open(sys.executable)
    assert is_open(os.__file__)
    assert not is_open(home)
    assert not is_open(home / ".env")


def test_a_closed_folder_stays_closed_below_an_open_one(tmp_path: Path) -> None:
    base = tmp_path / "usr"
    for name in ("bin", "lib", "fleet/bots/atlas", "fleet/state"):
        (base / name).mkdir(parents=True)
    (base / "way-in").symlink_to(base / "fleet")
    found = list(_apart_from((base / "fleet",), [base]))
    assert found == [base / "bin", base / "lib"]
    assert list(_apart_from((base / "fleet",), [base / "fleet" / "bots", base / "way-in"])) == []


@pytest.mark.parametrize("points_to", ["fleet/state/nodes.sock", "fleet/.env", "keys/private/id"])
def test_a_node_that_turns_its_interpreter_into_a_link_opens_nothing_by_it(fleet: Fleet, points_to: str) -> None:
    target = fleet.home.parent / points_to
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    own = fleet.node / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(target)
    (own.parents[1] / "pyvenv.cfg").touch()
    found = fleet.isolation(str(own))
    for path in map(Path, found.readable):
        assert not target.is_relative_to(path.resolve()) or path.resolve() == own.parents[1]


def test_the_folder_for_temporary_files_is_emptied_and_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "kept").touch()
    folder = temporary_folder(tmp_path / "tmp" / "atlas")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    (folder / "link").symlink_to(precious)
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "out").symlink_to(precious)
    os.mkfifo(folder / "pipe")
    temporary_folder(folder)
    assert os.listdir(folder) == []
    assert (precious / "kept").exists()


@pytest.mark.parametrize(("abi", "handled"), [(1, 0x1FFF), (2, 0x3FFF), (3, 0x7FFF), (5, 0xFFFF), (99, 0xFFFF)])
def test_a_kernel_is_asked_for_no_more_than_it_knows(abi: int, handled: int) -> None:
    assert landlock._handled_by(abi) == handled
