"""``rotate-secret``: rotate MASTER_SECRET of a running fleet."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from master.cli.context import HomeOption, JsonOption, YesOption, client_of, reporting_errors, run_operation
from master.control.client import ControlBroken, ControlTimedOut, NoMaster
from master.errors import FleetError
from master.operations import ledger, nodes
from master.operations.parameters import NoParams, StatusParams
from master.terminal import confirm, console, one_line, print_json

ROTATION_TIMEOUT_S = 180.0
COME_BACK_TIMEOUT_S = 60.0
HANDOVER_TIMEOUT_S = 300.0
LOOK_EVERY_S = 0.25


class RotationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a rotation."""

    nodes: int
    renewed: bool
    """Whether all running nodes have a key of the new secret."""


def rotate_secret(home: HomeOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Replace MASTER_SECRET: tokens are sealed again and nodes get new keys, without restarting any node.

    Keep a copy of .env afterwards. Licences and the audit log go on; a backup made before needs the old secret.
    """
    with reporting_errors(as_json=as_json):
        if not as_json:
            confirm("Replace MASTER_SECRET? Existing backups need the current one.", yes=yes)
        began_at = _master_started_at(home)
        rotated = run_operation(home, ledger.rotate_secret, NoParams(), timeout_s=ROTATION_TIMEOUT_S)
        renewed = False
        if began_at is not None:
            with console.status("waiting for the nodes to get their new keys"):
                renewed = _wait(home, began_at)
        result = RotationResult(nodes=rotated.nodes, renewed=renewed)
        if as_json:
            print_json(result)
            return
        console.print(one_line(("✓ ", "green"), f"MASTER_SECRET is replaced; {rotated.nodes} nodes go over to it"))
        if renewed:
            console.print(one_line(("✓ ", "green"), "every running node has its new key; the old secret is gone"))
        else:
            console.print("running nodes get their new keys from the next master; `fleet status` shows how many wait")
        console.print("keep a copy of .env, and make a backup: `fleet backup`", style="bright_black")


def _master_started_at(home: Path | None) -> float | None:
    """Return the start time of the running master in Unix seconds; None if none runs."""
    try:
        found = client_of(home).run(nodes.status, StatusParams(), timeout_s=15.0)
    except NoMaster:
        return None
    return found.at - found.master.uptime_s


def _wait(home: Path | None, began_at: float) -> bool:
    """Wait until the master has restarted and all nodes have new keys; False after a time-out."""
    until, back_until = time.monotonic() + HANDOVER_TIMEOUT_S, time.monotonic() + COME_BACK_TIMEOUT_S
    while time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        try:
            found = client_of(home).run(nodes.status, StatusParams(), timeout_s=15.0)
        except (NoMaster, ControlBroken, ControlTimedOut):
            if time.monotonic() > back_until:
                raise FleetError(
                    "MASTER_SECRET is replaced, but the master did not come back",
                    hint="check its log, and start it again: `fleet up`",
                ) from None
            continue
        if found.at - found.master.uptime_s > began_at + 0.1 and found.master.old_keys is None:
            return True
    return False
