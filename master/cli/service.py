"""``install-service``: the master as a systemd service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from master.cli.context import HomeOption, YesOption, home_of, reporting_errors
from master.errors import ExitCode, FleetError
from master.terminal import confirm, console

UNIT_NAME = "fleetmaster.service"
SYSTEMCTL_TIMEOUT_S = 120.0
"""It waits until the master is up, which may migrate its ledger first."""

_UNIT = """\
[Unit]
Description=Fleetmaster, a fleet of Discord bots
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
Environment={home}
Environment=MALLOC_ARENA_MAX=1
ExecStart={python} -m master
Restart=on-failure
RestartSec=2
# Only the master is stopped by systemd; it stops its nodes itself. After a crash they live on and are adopted.
KillMode=process
# Asked for more while it ends, if a node has a long grace period.
TimeoutStopSec=60
# It ended by force: it was asked to end, and is not to come back.
RestartPreventExitStatus=9
# The master divides its cgroup among the nodes: memory limits and CPU weights.
Delegate=yes
LimitNOFILE=65536

[Install]
WantedBy=default.target
"""


def unit_text(home: Path, python: Path) -> str:
    """Return the unit for a home."""
    return _UNIT.format(home=_quoted(f"FLEET_HOME={home}"), python=_quoted(str(python)))


def _quoted(value: str) -> str:
    """Quote for a unit file (systemd.syntax(7)); ``%`` starts a specifier, so it is doubled."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def install_service(
    home: HomeOption = None,
    user: Annotated[bool, typer.Option("--user", help="For this user alone; needs no root.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Print the unit, and change nothing.")] = False,
    yes: YesOption = False,
) -> None:
    """Run the master as a systemd service of yours, from now on and after each boot."""
    with reporting_errors():
        folder = home_of(home)
        unit = unit_text(folder, Path(sys.executable))
        if print_only:
            typer.echo(unit, nl=False)
            return
        if not user:
            raise FleetError(
                "say --user: a fleet needs no root, and should not have it",
                hint="`fleet install-service --print` prints the unit, to install it elsewhere",
            )
        if not (folder / "config.py").is_file():
            raise FleetError(f"{folder} is not a fleet's home", hint="run `fleet init` first, or give --home")
        _require_systemd()
        path = _unit_path()
        if path.exists() and path.read_text("utf-8") != unit:
            confirm(f"Replace {path}?", yes=yes)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit, "utf-8")
        console.print(f"wrote {path}")
        _enable()


def _require_systemd() -> None:
    """Check that systemd answers this user, before a unit is left that nothing starts.

    Raises
    ------
    FleetError
    """
    problem = _run(["systemctl", "--user", "show-environment"])
    if problem:
        raise FleetError(
            f"systemd does not answer for this user, so no service was installed: {problem}",
            hint="log in as the user by ssh or on the console (su and sudo make no session), or use `fleet up`; "
            "`fleet install-service --print` prints the unit",
        )


def _unit_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user" / UNIT_NAME


def unit_of(home: Path) -> Path | None:
    """Return the installed unit that runs the master of this home; None if there is none."""
    try:
        lines = _unit_path().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return _unit_path() if f"Environment={_quoted(f'FLEET_HOME={home}')}" in lines else None


def remove_unit() -> None:
    """Disable the service and remove its unit; what systemd refuses is said, and the unit is removed nevertheless."""
    _tell_systemd(["systemctl", "--user", "disable", UNIT_NAME])
    _unit_path().unlink(missing_ok=True)
    _tell_systemd(["systemctl", "--user", "daemon-reload"])


def _tell_systemd(command: list[str]) -> None:
    problem = _run(command)
    if problem:
        console.print(f"`{' '.join(command)}` did not work: {problem}", style="yellow", soft_wrap=True)


def start_unit() -> None:
    """Have systemd start the service; it says so when the master is up.

    Raises
    ------
    FleetError
    """
    problem = _run(["systemctl", "--user", "start", UNIT_NAME])
    if problem:
        raise FleetError(
            f"systemd could not start {UNIT_NAME}: {problem}",
            hint="`journalctl --user -u fleetmaster` says why; `fleet up --no-service` does without systemd",
        )


def _enable() -> None:
    commands = (
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", UNIT_NAME],
        # Without lingering, the user's services stop with the last session.
        ["loginctl", "enable-linger"],
    )
    for command in commands:
        problem = _run(command)
        if problem:
            console.print(f"`{' '.join(command)}` did not work: {problem}", style="yellow")
            console.print("the unit is in place; run these yourself: " + "; ".join(" ".join(c) for c in commands))
            raise typer.Exit(ExitCode.FAILED)
    console.print("enabled and started; `fleet status` shows the fleet, `journalctl --user -u fleetmaster` its log")


def _run(command: list[str]) -> str:
    """Run a command; returns the error, empty on success."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    try:
        done = subprocess.run(  # noqa: S603 - our own three commands
            command, capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")
