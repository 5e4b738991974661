"""Who attacks with patches gets nothing onto real nodes of a real master, and is told why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from dotenv import dotenv_values

from handshake.messages import Heartbeat, Order, PatchOrder, PatchStatus
from handshake.patch_bundle import RawBundle, pack, unpack
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from handshake.transports.local import LocalClient
from master.control.client import RemoteError
from master.demonstration.author import Author
from master.operations import kernel, patches
from master.operations.parameters import AuditParams, NoParams, PatchDeployParams, PatchReceiveParams, PatchStopParams
from master.security.derivation import MasterSecret, check_master_secret
from master.services.core.patch_views import PatchView
from master.services.core.views import AuditView
from sandbox.records import Message
from tests.journeys.patched_fleet import GOOD, NEWS, Fleet, open_fleet, states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SETTINGS = 'PATCHES = {"ANSWER_WITHIN_S": 20, "WAVES": [100], "MOST_SOAK_S": 600}\n'


@pytest.fixture
async def fleet(empty_ledger: Path) -> AsyncIterator[Fleet]:
    async with open_fleet(empty_ledger, SETTINGS) as opened:
        yield opened


def code_of(fleet: Fleet) -> dict[str, bytes]:
    """Return what is on disk of all nodes, and of accepted bundles."""
    home = fleet.stage.home
    roots = (home / "bots", home / "state" / "patches")
    found = (path for root in roots for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path): path.read_bytes() for path in found}


async def refused(fleet: Fleet, path: Path) -> str:
    with pytest.raises(RemoteError) as told:
        await fleet.run(patches.receive, PatchReceiveParams(path=str(path), deploy=True))
    return told.value.message


async def test_what_is_not_what_a_trusted_author_signed_changes_nothing_and_is_told(fleet: Fleet) -> None:
    older = fleet.write(GOOD.format(text="older"))
    good = await fleet.deploy(GOOD.format(text="good"), canary=0)
    await fleet.until_told(good, "done")
    rolled_back = await fleet.deploy(GOOD.format(text="bad"), canary=0)
    await fleet.until_told(rolled_back, "done")
    await fleet.run(patches.rollback, PatchStopParams(patch=rolled_back.id))
    await fleet.until_told(rolled_back, "rolled_back")
    next_one = fleet.write(GOOD.format(text="next"))
    foreign = fleet.write(GOOD.format(text="x"), fleets=("another",))
    retargeted = fleet.write(GOOD.format(text="x"), targets={"names": ["nobody"]})
    stranger = Author(fleet.stage.home / "state", name="ada")
    before, pids = code_of(fleet), await fleet.pids()

    home = fleet.stage.home
    one, two = unpack(next_one.read_bytes()), unpack(older.read_bytes())
    aimed = unpack(retargeted.read_bytes())
    attempts = {
        "forged": pack(RawBundle(one.document.replace(b"ada", b"eve"), one.signature, one.archive)),
        "aimed": pack(RawBundle(aimed.document.replace(b"nobody", b"atlas"), aimed.signature, aimed.archive)),
        "truncated": next_one.read_bytes()[:-7],
        "mixed": pack(RawBundle(one.document, one.signature, two.archive)),
    }
    for what, content in attempts.items():
        path = home / f"{what}.fleetpatch"
        path.write_bytes(content)
        print(what, await refused(fleet, path))
    by_stranger = stranger.write(fleet.folder("atlas"), {NEWS: "x"}, name="news", version=99, reload=("news",))
    assert "key" in await refused(fleet, by_stranger)
    assert "another" in await refused(fleet, foreign)
    assert "version" in await refused(fleet, older)
    quarantined = home / f"news-{rolled_back.version}.fleetpatch"
    assert "quarantined" in await refused(fleet, quarantined)
    assert "no node is of a kind" in await refused(fleet, retargeted)
    # Replayed: it is the patch that it was, and is not rolled out again.
    with pytest.raises(RemoteError, match="cannot be rolled out: it is done"):
        await fleet.run(patches.deploy, PatchDeployParams(patch=good.id))
    replayed: PatchView = await fleet.run(patches.receive, PatchReceiveParams(path=str(home / "news-2.fleetpatch")))
    assert (replayed.id, replayed.state) == (good.id, "done")

    kept = retargeted.read_bytes()  # It is signed and accepted; nobody gets it.
    after = {path: content for path, content in code_of(fleet).items() if content != kept}
    assert after == before
    assert await fleet.pids() == pids
    assert await fleet.answers() == ["good"] * 3


async def test_the_holder_of_a_nodes_key_can_only_speak_of_its_own_node(fleet: Fleet) -> None:
    patch = await fleet.deploy(GOOD.format(text="new"), canary=1, soak_s=300.0)
    await fleet.until_told(patch, "soaking")
    shown = await fleet.show(patch)
    (has_it,) = [name for name, state in states(shown).items() if state in ("healthy", "good")]
    waiting = next(name for name, state in states(shown).items() if state == "waiting")
    ids = {node.name: node.id for node in (await fleet.stage.status()).nodes}
    given = dotenv_values(fleet.stage.home / ".env")["MASTER_SECRET"] or ""
    secret = MasterSecret(Secret(check_master_secret(given)))
    answers = asyncio.Queue[str]()
    thief = LocalClient(fleet.stage.home / "state" / "nodes.sock", answers.put_nowait)
    before, told = code_of(fleet), states(shown)

    stolen = secret.derive_node_key(ids[waiting], 1)
    by_key = Signer(stolen, from_master=False, clock=time.time)
    of_another = Signer(NodeKey(ids[has_it], 1, stolen.secret), from_master=False, clock=time.time)
    as_master = Signer(stolen, from_master=True, clock=time.time)
    body = PatchStatus(patch_id=patch.id, status="rolled_back", release=0)
    for text in (
        of_another.sign(body),
        as_master.sign(Order("1", "patch", "", PatchOrder(patch_id=patch.id))),
        by_key.sign(PatchStatus(patch_id=patch.id, status="good", release=1)),
        by_key.sign(PatchStatus(patch_id="01M82WVHF72000000000000000", status="good", release=1)),
    ):
        await thief.send(text)
    # What is answered comes after them on the same connection.
    await thief.send(by_key.sign(Heartbeat(uptime_s=1.0)))
    await answers.get()
    assert states(await fleet.show(patch)) == told
    assert code_of(fleet) == before
    await thief.close()


async def test_who_is_no_operator_any_more_steers_nothing_with_a_reaction(fleet: Fleet) -> None:
    patch = await fleet.deploy(GOOD.format(text="new"), canary=1, soak_s=300.0)
    await fleet.until_told(patch, "soaking")
    message = await posted(fleet, patch)
    config = fleet.stage.home / "config.py"
    config.write_text(config.read_text() + 'OPERATORS = {"USERS": [111111111111111111]}\n')
    await fleet.run(kernel.reload, NoParams())
    await fleet.stage.operator.reacts(message, "⏸")
    weighed = list[AuditView]()
    async with asyncio.timeout(20):
        while not weighed:
            weighed = await asyncio.to_thread(
                partial(fleet.stage.client.call, "audit", AuditParams(50, "", "patch_pause"), answer=list[AuditView])
            )
    assert [row.outcome for row in weighed] == ["refused"]
    assert (await fleet.show(patch)).patch.state == "soaking"


async def posted(fleet: Fleet, patch: PatchView) -> Message:
    """Return the message of a patch in PATCH_CHANNEL."""
    return await fleet.stage.patch.wait_for_message(
        lambda found: any(patch.label in str(embed.get("title", "")) for embed in found.embeds)
    )


async def test_the_message_and_then_the_channel_go_while_nodes_react(fleet: Fleet) -> None:
    patch = await fleet.deploy(GOOD.format(text="new"), canary=1, soak_s=300.0)
    first = await posted(fleet, patch)
    await fleet.until_told(patch, "soaking")
    await fleet.stage.operator.deletes(first)
    await fleet.stage.operator.deletes_channel(fleet.stage.patch)
    await fleet.run(patches.rollback, PatchStopParams(patch=patch.id))
    await fleet.until_told(patch, "rolled_back")
    assert fleet.has() == []
    again = await fleet.deploy(GOOD.format(text="newer"), canary=0)
    await fleet.until_told(again, "done")
    assert await fleet.answers() == ["newer"] * 3
