"""``fleet up`` and ``fleet down``: a real master, without a terminal."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.hostile.conversations import Conversation, Told, dying_master, typed

pytestmark = pytest.mark.timeout(180)


def fleet(*arguments: str) -> Told:
    return typed(arguments)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a master of this test's own process is a zombie once it has ended."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def home(tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    made = tmp_path / "a fleet"
    monkeypatch.setenv("FLEET_HOME", str(made))
    assert fleet("init", "--yes").code == 0
    shutil.copy(empty_ledger, made / "state" / "ledger.db")
    yield made
    # All of them: a second one that is still starting would take the lock of one that is killed.
    for process in psutil.process_iter(["cmdline"]):
        if str(made) in (process.info["cmdline"] or ()):
            process.kill()


def test_a_master_is_up_without_a_terminal_until_it_is_brought_down(home: Path) -> None:
    up = fleet("up", "--json")
    assert up.code == 0, up.err
    told = json.loads(up.out)
    pid = told["pid"]
    assert (told["running"], told["changed"], told["home"]) == (True, True, str(home))
    # Of a session of its own: the end of this terminal is not its end.
    assert os.getsid(pid) == pid
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)} == {told["log"]}
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    again = fleet("up")
    assert again.code == 0
    assert f"running already: pid {pid}, home {home}" in again.out
    assert fleet("down").code == 2  # there is no terminal to ask at
    assert is_alive(pid)
    down = fleet("down", "--yes")
    assert down.code == 0, down.err
    assert "the master is gone" in down.out
    assert not is_alive(pid)
    again = fleet("down")
    assert "stopping the nodes" in fleet("logs", "--master").out
    assert (again.code, again.out) == (0, f"no master is running in {home}\n")


@pytest.mark.slow
def test_two_that_bring_it_up_at_once_both_say_that_it_is_up(home: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-m", "master.cli", "up", "--json"], stdout=subprocess.PIPE) for _ in range(2)
    ]
    told = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert len({json.loads(one)["pid"] for one in told}) == 1


@pytest.mark.slow
def test_up_while_it_is_brought_down_waits_and_begins_a_new_one(home: Path) -> None:
    first = json.loads(fleet("up", "--json").out)["pid"]
    assert fleet("shutdown", "--yes").code == 0  # it does not wait, as `down` does
    told = fleet("up", "--json")
    assert told.code == 0, told.err
    second = json.loads(told.out)
    assert second["pid"] != first
    assert second["changed"]
    assert not is_alive(first)


def test_up_takes_a_master_that_cut_it_off_as_one_that_is_ending(home: Path) -> None:
    path = home / "state" / "control.sock"
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def cut_off_one() -> None:
            connection, _ = listening.accept()
            select.select([connection], [], [])
            connection.close()  # with its request unread: the caller's connection is reset
            path.unlink()

        ending = threading.Thread(target=cut_off_one)
        ending.start()
        told = fleet("up", "--json")
        ending.join()
    assert told.code == 0, told.out
    assert json.loads(told.out)["changed"]


@pytest.mark.slow
def test_a_master_that_cannot_start_says_why_and_keeps_its_exit_code(home: Path) -> None:
    (home / "state" / "master.log").write_text("an old line\n")
    (home / "state" / "ledger.db").write_text("no database " * 1000)
    up = fleet("up")
    assert up.code == 8
    assert "the master ended while it started (exit code 8)" in up.err
    assert "error: " in up.err.partition("hint")[2]
    assert "an old line" not in up.err
    assert str(home / "state" / "master.log") in up.err
    document = json.loads(fleet("up", "--json").out)
    assert document["error"]["exit_code"] == 8


def test_a_mistake_in_the_config_is_told_before_anything_starts(home: Path) -> None:
    (home / "config.py").write_text("IDENTITY = 1\n")
    up = fleet("up")
    assert up.code == 5
    assert "the home is" in up.err
    assert not (home / "state" / "master.log").exists()


@pytest.mark.slow
def test_a_master_that_does_not_answer_is_not_taken_for_gone(home: Path) -> None:
    assert fleet("up").code == 0
    pid = int((home / "state" / "master.lock").read_text())
    (home / "state" / "control.sock").rename(home / "state" / "elsewhere.sock")
    os.kill(pid, signal.SIGSTOP)  # it would make the socket anew
    down = fleet("down")
    assert down.code == 7
    assert f"(pid {pid})" in down.err
    os.kill(pid, signal.SIGKILL)


SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> "{folder}/called"
[ "$2" != start ] || FLEET_HOME="{home}" setsid "{python}" -m master > "{folder}/journal" 2>&1 < /dev/null &
"""


@pytest.mark.slow
def test_where_the_service_is_installed_systemd_starts_the_master(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for systemctl: a test must not touch this user's units."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL.format(folder=tmp_path, home=home, python=sys.executable))
    (tools / "loginctl").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert fleet("install-service", "--user").code == 0
    up = fleet("up")
    assert up.code == 0, up.err
    assert (tmp_path / "called").read_text().splitlines()[-1] == "--user start fleetmaster.service"
    assert not (home / "state" / "master.log").exists()
    # There is no log of its own: `journalctl` has it.
    assert "journalctl --user -u fleetmaster" in fleet("logs", "--master").err
    down = fleet("down", "--yes")
    assert down.code == 0
    assert "starts again at the next boot" in down.out


@pytest.mark.parametrize("said", [b"", b'{"kind":"res', b'{"kind":"result","data":{}}\n'])
def test_down_does_not_take_a_broken_conversation_for_the_end_of_a_master(home: Path, said: bytes) -> None:
    with dying_master(home / "state" / "control.sock", Conversation([said]), after=1 << 20, death="hang up"):
        told = fleet("down", "--yes")
    told.check(said)
    assert told.code == 1
