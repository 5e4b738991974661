"""`fleet rotate-secret`: another MASTER_SECRET under a running fleet."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dotenv import dotenv_values

from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.signing import Signer
from handshake.transports.local import LocalClient
from master.demonstration.stage import Stage
from master.operations.parameters import NoParams
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.services.core.views import Soundness

pytestmark = pytest.mark.timeout(180)


def secrets_of(stage: Stage) -> dict[str, str | None]:
    return dotenv_values(stage.home / ".env")


async def command(stage: Stage, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "master.cli", *arguments, "--home", str(stage.home),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def pids(stage: Stage) -> dict[str, int | None]:
    return {node.name: node.pid for node in (await stage.status()).nodes}


async def sound(stage: Stage) -> Soundness:
    return await asyncio.to_thread(stage.client.call, "ledger_verify", NoParams(), answer=Soundness)


async def handed_over(stage: Stage) -> None:
    while (await stage.status()).master.old_keys is not None:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)


async def ready(stage: Stage, *names: str) -> None:
    async with stage.listen() as tap:
        for name in names:
            await stage.register(name)
            await tap.wait_for("ready", name)


async def restarted(stage: Stage, name: str) -> None:
    """Prove that a node's token is readable and that its key and licence are believed."""
    async with stage.listen() as tap:
        (result,) = await stage.act("restart", [name])
        assert result.ok, result
        await tap.wait_for("ready", name)


@pytest.mark.slow
async def test_nodes_get_their_new_keys_while_they_run(stage: Stage) -> None:
    await ready(stage, "atlas", "borealis")
    before, running = secrets_of(stage), await pids(stage)
    assert stage.master is not None
    output = await command(stage, "rotate-secret", "--yes")
    assert "every running node has its new key" in output
    after = secrets_of(stage)
    assert after["MASTER_SECRET"] != before["MASTER_SECRET"]
    assert after["MASTER_TOKEN"] == before["MASTER_TOKEN"]
    assert set(after) == {"MASTER_SECRET", "MASTER_TOKEN", "MASTER_KEPT_KEYS"}
    assert (stage.home / ".env").stat().st_mode & 0o777 == 0o600
    # Neither the nodes nor the master's process are new, and nobody is flagged.
    assert await pids(stage) == running
    assert stage.master.process.returncode is None
    assert (await stage.status()).master.pid == stage.master.process.pid
    assert [node.flag_reason for node in (await stage.status()).nodes] == ["", ""]
    with sqlite3.connect(stage.home / "state" / "ledger.db") as found:
        assert found.execute("SELECT key_epoch FROM nodes").fetchall() == [(2,), (2,)]
        assert found.execute("SELECT count(*) FROM handshake_events WHERE outcome <> 'accepted'").fetchone() == (0,)
        assert found.execute("SELECT outcome FROM audit_log WHERE action = 'rotate_secret'").fetchall() == [("done",)]
    assert (await sound(stage)).ok
    # The licence, issued under the first secret, still covers its node.
    await restarted(stage, "atlas")
    # And again: what was kept once is kept on.
    await command(stage, "rotate-secret", "--yes", "--json")
    assert secrets_of(stage)["MASTER_KEPT_KEYS"] == after["MASTER_KEPT_KEYS"]
    await restarted(stage, "borealis")
    assert (await sound(stage)).ok


@pytest.mark.slow
async def test_a_key_of_the_old_secret_is_worthless_afterwards(stage: Stage) -> None:
    await ready(stage, "atlas")
    old = MasterSecret(Secret(check_master_secret(secrets_of(stage)["MASTER_SECRET"] or "")))
    await command(stage, "rotate-secret", "--yes")
    with sqlite3.connect(stage.home / "state" / "ledger.db") as found:
        (node_id,) = found.execute("SELECT id FROM nodes").fetchone()
    async with stage.listen() as tap:
        for epoch in (1, 2):
            answers: list[str] = []
            thief = LocalClient(stage.home / "state" / "nodes.sock", answers.append)
            signer = Signer(old.derive_node_key(node_id, epoch), from_master=False, clock=time.time)
            await thief.send(signer.sign(Heartbeat(uptime_s=1.0)))
            reason = {1: "stale_epoch", 2: "bad_signature"}[epoch]
            while not any(event.kind == "refused" and event.detail == reason for event in tap.events):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert answers == []
            await thief.close()


@pytest.mark.slow
async def test_nodes_that_speak_by_the_channel_are_replaced_and_keep_their_sessions(
    empty_ledger: Path,
) -> None:
    async with Stage(pulse_s=0.5, transport="channel", ledger=empty_ledger) as stage:
        config = stage.home / "config.py"
        config.write_text(config.read_text("utf-8") + 'HANDSHAKE["KEY_HANDOVER_S"] = 1.0\n', "utf-8")
        await stage.start_master()
        await ready(stage, "atlas")
        running = await pids(stage)
        spent = dict(stage.sandbox.gateway.identifies)
        await command(stage, "rotate-secret", "--yes")
        await handed_over(stage)
        assert await pids(stage) != running
        assert "MASTER_SECRET_PREVIOUS" not in secrets_of(stage)
        # It resumed: the rotation cost its bot no IDENTIFY.
        bot = stage.bots["atlas"].id
        assert stage.sandbox.gateway.identifies[bot] == spent[bot] == 1


@pytest.mark.slow
@pytest.mark.parametrize("committed", [False, True])
async def test_a_crash_on_either_side_of_the_transaction_is_made_good(stage: Stage, committed: bool) -> None:
    await ready(stage, "atlas")
    before = secrets_of(stage)
    running = await pids(stage)
    if committed:
        await command(stage, "rotate-secret", "--yes")
    assert stage.master is not None
    os.kill(stage.master.process.pid, signal.SIGKILL)
    await stage.master.process.wait()
    # The files as a crash leaves them: the next secret is in, the present one not yet replaced.
    if committed:
        after = secrets_of(stage)
        following, kept = after["MASTER_SECRET"], after["MASTER_KEPT_KEYS"]
    else:
        following, kept = new_master_secret(), ""
    lines = [f"MASTER_SECRET={before['MASTER_SECRET']}", f"MASTER_TOKEN={before['MASTER_TOKEN']}"]
    lines += [f"MASTER_SECRET_NEXT={following}", *([f"MASTER_KEPT_KEYS={kept}"] if kept else [])]
    (stage.home / ".env").write_text("\n".join(lines) + "\n")
    await stage.start_master()
    await handed_over(stage)
    found = secrets_of(stage)
    assert found["MASTER_SECRET"] == (following if committed else before["MASTER_SECRET"])
    assert "MASTER_SECRET_NEXT" not in found
    assert "MASTER_SECRET_PREVIOUS" not in found
    assert await pids(stage) == running
    await restarted(stage, "atlas")
    assert (await sound(stage)).ok
