"""supervisord and PM2, installed with pip and npm into a cache folder at first use.

The folder is FLEET_BENCHMARK_CACHE, or one below the temporary folder. A peer that cannot be installed raises
:class:`PeerMissing`, which is shown in its column.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

INSTALL_TIMEOUT_S = 300


class PeerMissing(Exception):
    """A peer could not be installed or started here."""


@dataclass(frozen=True, slots=True)
class Program:
    """One bot: a folder with a bot.py."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer's running daemon, without programs.

    Parameters
    ----------
    start
        Command that starts all programs.
    pid_path
        Where the daemon writes its pid: another one after it was started again.
    control
        Command that acts on one program, with the verb and the name appended.
    daemon_command
        Command that starts the daemon.
    sockets
        The sockets that it is controlled through.
    """

    daemon: psutil.Process
    pid_path: Path
    control: tuple[str, ...]
    daemon_command: tuple[str, ...]
    sockets: tuple[Path, ...]
    _start: tuple[str, ...]
    _environment: dict[str, str]
    _folder: Path

    def start(self) -> None:
        """Request the start of all programs, without waiting for it."""
        subprocess.Popen(
            self._start, cwd=self._folder, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def act(self, verb: str, name: str, *, timeout_s: float = 60.0) -> bool:
        """Start, stop or restart one program; tells whether the peer says that it was done."""
        return self._call((*self.control, verb, name), timeout_s)

    def revive(self) -> None:
        """Start the daemon and the programs again, as its service would after it died."""
        self._call(self.daemon_command, 60.0)
        self.start()

    def shut_down(self, verb: str) -> None:
        """Ask the daemon to end with all its programs."""
        self._call((*self.control, verb), 60.0)

    def _call(self, command: tuple[str, ...], timeout_s: float) -> bool:
        try:
            done = subprocess.run(
                command, cwd=self._folder, env=self._environment, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def _cache() -> Path:
    named = os.environ.get("FLEET_BENCHMARK_CACHE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / "fleet-benchmark-peers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str], *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S, cwd=cwd, env=environment)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerMissing(f"{Path(command[0]).name}: {error}"[:200]) from error


def _wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text().strip():
        if time.monotonic() > deadline:
            raise PeerMissing(f"{path.name} did not appear")
        time.sleep(0.01)
    return path.read_text().strip()


@contextmanager
def supervisord(folder: Path, programs: list[Program], *, start_seconds: int = 1) -> Iterator[Peer]:
    """Run supervisord over ``programs``, none of them started."""
    home = _cache() / "supervisord"
    if not (home / "bin" / "supervisord").exists():
        _run([sys.executable, "-m", "venv", str(home)])
        _run([str(home / "bin" / "pip"), "install", "--quiet", "supervisor", "setuptools<81"])
    sections = "".join(
        f"[program:{program.name}]\ncommand={sys.executable} bot.py\ndirectory={program.folder}\nautostart=false\n"
        f"autorestart=true\nstartsecs={start_seconds}\nstartretries=1000000\n"
        for program in programs
    )
    configuration = folder / "supervisord.conf"
    configuration.write_text(
        f"[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\nminfds=4096\n"
        f"[unix_http_server]\nfile={folder}/sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl=unix://{folder}/sock\n{sections}"
    )
    control = (str(home / "bin" / "supervisorctl"), "-c", str(configuration))
    command = (str(home / "bin" / "supervisord"), "-c", str(configuration))
    _run([*command], cwd=folder)
    daemon = psutil.Process(int(_wait_for(folder / "pid")))
    try:
        yield Peer(
            daemon,
            pid_path=folder / "pid",
            control=control,
            daemon_command=command,
            sockets=(folder / "sock",),
            _start=(*control, "start", "all"),
            _environment=dict(os.environ),
            _folder=folder,
        )
    finally:
        _end_all(daemon, folder / "pid")


@contextmanager
def pm2(folder: Path, programs: list[Program], *, endless: bool = False, memory: str = "") -> Iterator[Peer]:
    """Run PM2's daemon over ``programs``, none of them started.

    Parameters
    ----------
    endless
        No retry limit for programs that exit at once.
    memory
        Above it a program is restarted; empty: no limit.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise PeerMissing("npm is not installed")
    home = _cache() / "pm2"
    tool = home / "node_modules" / ".bin" / "pm2"
    if not tool.exists():
        _run([npm, "install", "--silent", "--prefix", str(home), "pm2"])
    environment = {**os.environ, "PM2_HOME": str(folder / "pm2")}
    limits: dict[str, Any] = {"max_restarts": 10**6} if endless else {}
    if memory:
        limits["max_memory_restart"] = memory
    (folder / "ecosystem.json").write_text(
        json.dumps(
            {
                "apps": [
                    {
                        "name": program.name,
                        "script": "bot.py",
                        "cwd": str(program.folder),
                        "interpreter": sys.executable,
                        **limits,
                    }
                    for program in programs
                ]
            }
        )
    )
    _run([str(tool), "ping"], cwd=folder, environment=environment)
    daemon = psutil.Process(int(_wait_for(folder / "pm2" / "pm2.pid")))
    try:
        yield Peer(
            daemon,
            pid_path=folder / "pm2" / "pm2.pid",
            control=(str(tool),),
            daemon_command=(str(tool), "ping"),
            sockets=(folder / "pm2" / "rpc.sock", folder / "pm2" / "pub.sock"),
            _start=(str(tool), "start", "ecosystem.json"),
            _environment=environment,
            _folder=folder,
        )
    finally:
        _end_all(daemon, folder / "pm2" / "pm2.pid")


def _end_all(daemon: psutil.Process, pid_path: Path) -> None:
    """End the daemon, and the one that took its place if there is one."""
    _end(daemon)
    try:
        later = psutil.Process(int(pid_path.read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess):
        return
    if str(pid_path.parent) in " ".join(later.cmdline()) or "PM2" in " ".join(later.cmdline()):
        _end(later)


def _end(daemon: psutil.Process) -> None:
    try:
        below = daemon.children(recursive=True)
        daemon.kill()
        daemon.wait(20)
        for process in below:
            process.kill()
        psutil.wait_procs(below, 20)
    except psutil.NoSuchProcess:
        return


PEERS: dict[str, Callable[..., Any]] = {"supervisord": supervisord, "PM2": pm2}
