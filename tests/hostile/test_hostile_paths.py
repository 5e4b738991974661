"""A hostile node, in a fleet of its own: all that it tries on other files, processes and sockets, each counted."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from master.supervision import landlock
from master.supervision.isolation import describe_isolation, landlock_problem
from tests.hostile import attempts

pytestmark = [pytest.mark.timeout(120)]

needs_landlock = pytest.mark.skipif(bool(landlock_problem()), reason=describe_isolation())
needs_scopes = landlock.abi() >= 6
needs_truncate = landlock.abi() >= 3
REFUSALS = {
    *("Permission denied", "Operation not permitted", "no_key"),
    # A second name for a file of another folder; a program and a child that were refused.
    *("Invalid cross-device link", "exit code 1", "in the child"),
}
KNOWN_LIMIT = "change the mode of a file of the fleet"


@pytest.fixture
def abstract() -> Iterator[str]:
    """Yield the name of an abstract socket that listens."""
    name = f"fleet-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + name)
        listening.listen()
        yield name


@pytest.fixture
def user_home(tmp_path: Path) -> Path:
    (tmp_path / ".fleet-decoy").write_text("a private key")
    return tmp_path


async def plant(stage: Stage, tap: EventTap, abstract: str, user_home: Path) -> dict[str, str]:
    """Make one of two nodes hostile, start it again, and return the outcomes of its attempts."""
    for name in ("atlas", "borealis"):
        await stage.register(name)
        await tap.wait_for("ready", name)
    master = stage.master
    sibling = await stage.node("borealis")
    assert master is not None
    folder = stage.home / "bots" / "atlas"
    (stage.home / "decoy").write_text("precious")
    (stage.home / "state" / "logs" / "decoy.err.log").write_text("a log\n")
    targets = {
        "home": str(stage.home),
        "other": str(stage.home / "bots" / "borealis"),
        "other_id": sibling.id,
        "master": str(master.process.pid),
        "sibling": str(sibling.pid),
        "abstract": abstract,
        "user_home": str(user_home),
    }
    (folder / "targets.json").write_text(json.dumps(targets))
    shutil.copy(attempts.__file__, folder / "cogs" / "hostile.py")
    since = len(tap.events)
    await stage.act("restart", ["atlas"])
    await tap.wait_for("ready", "atlas", since=since)
    outcomes: dict[str, str] = json.loads((folder / "outcomes.json").read_text())
    return outcomes


def borne(outcomes: dict[str, str]) -> set[str]:
    """Return the attempts that had to fail and did not."""
    return {name for name, outcome in outcomes.items() if outcome == "done" and not name.startswith("own")}


def expected_to_work() -> set[str]:
    """Return what this kernel's Landlock does not keep a node from; docs/security.md tells it."""
    found = {KNOWN_LIMIT}
    if not needs_scopes:
        found |= {"reach an abstract socket", "signal the master", "signal another node"}
    return found if needs_truncate else found | {"cut a file of the fleet"}


@needs_landlock
async def test_a_hostile_node_gets_at_nothing_but_its_own(
    stage: Stage, tap: EventTap, abstract: str, user_home: Path
) -> None:
    outcomes = await plant(stage, tap, abstract, user_home)
    assert borne(outcomes) <= expected_to_work()
    assert set(outcomes.values()) <= {"done", *REFUSALS}
    assert {name: told for name, told in outcomes.items() if name.startswith("own") and told != "done"} == {}
    print(f"{len(outcomes)} attempts of a hostile cog, {len(borne(outcomes))} of them done ({describe_isolation()})")
    # It ran on, verified, and the operator reads that it is walled in.
    assert (await stage.node("atlas")).state == "ready"
    assert (await stage.status()).master.isolation == describe_isolation()


@needs_landlock
@pytest.mark.slow
async def test_the_attempts_work_where_the_operator_turned_isolation_off(
    stage: Stage, tap: EventTap, abstract: str, user_home: Path
) -> None:
    with (stage.home / "config.py").open("a") as config:
        config.write('\nNODES = {"atlas": {"ISOLATED": False}}\n')
    await asyncio.to_thread(stage.client.call, "reload", answer=dict)
    outcomes = await plant(stage, tap, abstract, user_home)
    # Else the test above would pass for the wrong reason.
    assert {"read .env", "write another node's program", "signal the master", "replace a log by a pipe"} <= borne(
        outcomes
    )
    assert (await stage.status()).master.isolation == f"{describe_isolation()}, not atlas"
