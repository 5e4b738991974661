"""``uninstall``: takes away what the command line put outside of the fleet's home and the checkout."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from master.cli import background, command_link, service
from master.cli.context import HomeOption, YesOption, client_of, home_of, reporting_errors
from master.configuration.home import forget_home, is_home, remembered_home
from master.control.client import NoMaster
from master.operations import nodes
from master.operations.parameters import StatusParams
from master.services.core.views import FleetStatus
from master.terminal import confirm, console, one_line


def uninstall(home: HomeOption = None, yes: YesOption = False) -> None:
    """End the master, take away the service, the link and the remembered home; and say what is left."""
    with reporting_errors():
        folder = home_of(home)
        unit, link, remembered = service.unit_of(folder), command_link.installed_link(), remembered_home(os.environ)
        running = _status(home)
        steps = [
            *([f"end the master in {folder}, and all of its nodes"] if running else []),
            *([f"remove the service: {unit}"] if unit else []),
            *([f"remove {link}"] if link else []),
            *([f"forget that {remembered} is the home"] if remembered == folder else []),
        ]
        if steps:
            console.print("This will")
            for step in steps:
                console.print(one_line(f"  - {step}"), soft_wrap=True)
            confirm("Go on?", yes=yes)
        if running:
            background.end_master(home, running)
        if unit:
            service.remove_unit()
        if link:
            link.unlink()
        if remembered == folder:
            forget_home(os.environ)
        console.print(one_line(("✓ ", "green"), "done" if steps else "there is nothing of it outside of its folders"))
        _say_what_is_left(folder, had_service=unit is not None)


def _status(home: Path | None) -> FleetStatus | None:
    """Return the fleet; None without a master."""
    try:
        return client_of(home).run(nodes.status, StatusParams(), timeout_s=15.0)
    except NoMaster:
        return None


def _say_what_is_left(folder: Path, *, had_service: bool) -> None:
    left = []
    if is_home(folder):
        left.append((folder, "config, secrets, bots, ledger, backups: all that the fleet is"))
    checkout = Path(os.environ.get("FLEET_CHECKOUT") or Path(__file__).resolve().parents[2])
    if (checkout / "fleet").is_file():
        left.append((checkout, "this program, and its environment in .venv"))
    if left:
        console.print("Left where they are; for good, and only if you want that:")
    for path, what in left:
        console.print(one_line("  ", (f"rm -r {shlex.quote(str(path))}", "bold"), f"   {what}"), soft_wrap=True)
    if had_service:
        console.print(one_line("  ", ("loginctl disable-linger", "bold"), "   if no other service of yours needs it"))
    console.print("At Discord the bots' applications are left: developer portal, the application, Delete App.")
