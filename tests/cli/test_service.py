"""``install-service``, and what the master tells systemd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from master.systemd import notify, watchdog_interval_s


def fleet(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "a fleet, 100% mine"
    assert fleet("init", "--home", str(made), "--yes").returncode == 0
    return made


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Stand-ins for systemctl and loginctl that note their arguments: a test must not touch this user's units."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("systemctl", "loginctl"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/called"\n')
        (folder / name).chmod(0o755)
    return folder


def test_the_unit_is_written_and_enabled(home: Path, tools: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = fleet("install-service", "--user", "--home", str(home), **environment)
    assert done.returncode == 0, done.stderr
    unit = (tmp_path / "config" / "systemd" / "user" / "fleetmaster.service").read_text()
    assert f'Environment="FLEET_HOME={home}"'.replace("100%", "100%%") in unit
    for line in ("Type=notify", "WatchdogSec=60", "KillMode=process", "Delegate=yes", "WantedBy=default.target"):
        assert line in unit.splitlines()
    assert (tmp_path / "called").read_text().splitlines() == [
        "systemctl --user show-environment",
        "systemctl --user daemon-reload",
        "systemctl --user enable --now fleetmaster.service",
        "loginctl enable-linger",
    ]


def test_a_changed_unit_is_not_replaced_without_asking(home: Path, tools: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    unit = tmp_path / "config" / "systemd" / "user" / "fleetmaster.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("# the operator's own\n")
    done = fleet("install-service", "--user", "--home", str(home), **environment)
    assert done.returncode == 2
    assert unit.read_text() == "# the operator's own\n"
    assert fleet("install-service", "--user", "--yes", "--home", str(home), **environment).returncode == 0
    assert "Type=notify" in unit.read_text()


def test_without_systemd_it_says_what_to_do(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = fleet(
        *("install-service", "--user", "--home", str(home)),
        PATH=str(tmp_path / "empty"),
        XDG_CONFIG_HOME=str(tmp_path / "config"),
    )
    assert done.returncode == 1
    assert "systemctl is not installed" in done.stderr
    assert "`fleet up`" in done.stderr
    # Otherwise each `fleet up` would ask a systemd that is not there.
    assert not (tmp_path / "config" / "systemd").exists()
    assert fleet("install-service", "--home", str(home)).returncode == 1
    printed = fleet("install-service", "--print", "--home", str(home))
    assert printed.stdout.startswith("[Unit]\n")
    assert fleet("install-service", "--user", "--home", str(tmp_path / "empty")).returncode == 1


def test_notify_reaches_a_listener_and_bears_one_that_is_gone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        assert notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, "READY=1")
        assert listening.recv(100) == b"READY=1"
    assert not notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, "READY=1")
    assert not notify({}, "READY=1")
    assert not notify({"NOTIFY_SOCKET": "vsock:2:1"}, "READY=1")


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(environment: dict[str, str], interval_s: float | None) -> None:
    assert watchdog_interval_s(environment) == interval_s


async def test_a_master_tells_systemd_that_it_is_up_alive_and_ending(home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "master", "--home", str(home)),
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"},
            stderr=asyncio.subprocess.DEVNULL,
        )
        told: set[str] = set()
        while not {"READY=1", "WATCHDOG=1"} <= told:
            told.update((await asyncio.to_thread(listening.recv, 100)).decode().splitlines())
        process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in told:
            told.update((await asyncio.to_thread(listening.recv, 100)).decode().splitlines())
        assert await asyncio.wait_for(process.wait(), 20) == 0
