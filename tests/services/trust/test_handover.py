"""Keys of the previous secret: who is given a new one, and what was sealed late."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from handshake.messages import Body, Heartbeat, KeyReplacement, VerificationRequest
from handshake.redaction import Secret
from handshake.replay import ReplayGuard
from handshake.signing import NodeKey, Signer, Verifier
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.ledger.rows import nodes, tokens
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.security.vault import TokenVault
from master.services.core.auditing import audit_chain_of
from master.services.core.keys import master_secret_of
from master.services.onboarding.saga import CloneRequest
from master.services.trust.rotation import finish_rotation
from master.services.trust.source import Source
from sandbox import Sandbox
from tests.conftest import TurnableClock
from tests.ledger.test_database import NOW, a_node
from tests.services.conftest import OPERATOR, House, open_house

PREVIOUS = Secret(check_master_secret(new_master_secret()))


@pytest.fixture
async def house(house_settings: Settings, sandbox: Sandbox) -> AsyncIterator[House]:
    settings = structs.replace(
        house_settings, identity=structs.replace(house_settings.identity, previous_secret=PREVIOUS)
    )
    async with open_house(settings, sandbox) as opened:
        yield opened


async def test_only_the_supervised_process_gets_a_new_key_and_only_where_nobody_else_reads(house: House) -> None:
    made = await house.clone(OPERATOR, CloneRequest(name="atlas", token=house.token("atlas")))
    services, node = house.services, house.services.directory.find("atlas")
    # As after a rotation: the node runs with a key of the previous secret, one epoch behind.
    services.directory.update(node.id, lambda known: structs.replace(known, key_epoch=2))
    services.keys.expect_old([node.id])
    old = MasterSecret(PREVIOUS).derive_node_key(node.id, 1)
    signer = Signer(old, from_master=False, clock=time.time, session=services.sessions.offered(node.id))
    pid = services.supervisor.pid_of(node.id)
    own, other = Source(transport="local", pid=pid), Source(transport="local", pid=1)
    channel = Source(transport="channel", author_id=node.bot_user_id)

    async def says(body: Body, source: Source) -> str | None:
        return await services.reception.receive(signer.sign(body), source)

    request = VerificationRequest(
        licence=made.licence, version="1", pid=pid or 0, pid_started_at=0.0, bot_user_id=node.bot_user_id, started_at=0
    )
    assert await says(request, own) is not None
    assert services.verification.is_verified(node.id)
    for source in (other, channel):
        assert await says(Heartbeat(uptime_s=1.0), source) is None
        assert node.id in services.keys.old
    answer = await says(Heartbeat(uptime_s=1.0), own)
    assert answer is not None
    new = master_secret_of(services.settings.identity).derive_node_key(node.id, 2)
    assert opened_with(answer, old) == KeyReplacement(key=new.secret.reveal(), key_epoch=2)
    assert new.secret.reveal().hex() not in repr(opened_with(answer, old))
    # Once it has used the new key, the old one is worthless.
    fresh = signer.with_key(new)
    assert await services.reception.receive(fresh.sign(Heartbeat(uptime_s=2.0)), own) is None
    assert services.keys.all_renewed.is_set()
    assert await says(Heartbeat(uptime_s=3.0), own) is None
    assert (services.directory.get(node.id) or node).flag_reason == "stale_epoch"


async def test_what_was_sealed_while_the_secret_changed_is_carried_over(
    house_settings: Settings, clock: TurnableClock
) -> None:
    settings = structs.replace(
        house_settings, identity=structs.replace(house_settings.identity, previous_secret=PREVIOUS)
    )
    present, previous = (TokenVault(MasterSecret(one)) for one in (settings.identity.master_secret, PREVIOUS))
    ledger = await Ledger.open(settings.database, chain=audit_chain_of(settings))
    for node_id, vault, number in (("01A", present, 1), ("01B", previous, 2)):
        await ledger.write(lambda c, i=node_id, n=number: nodes.insert(c, a_node(i, i, n)))  # type: ignore[misc]
        sealed = vault.seal(node_id, Secret(f"token of {node_id}"))
        await ledger.write(lambda c, i=node_id, s=sealed: tokens.store(c, i, s, at=NOW))  # type: ignore[misc]
    await finish_rotation(settings, ledger, clock)
    found = await ledger.read(tokens.load_all)
    assert {node_id: present.unseal(node_id, sealed).reveal() for node_id, sealed in found.items()} == {
        "01A": "token of 01A",
        "01B": "token of 01B",
    }
    # Its process, if it runs, has a key of the previous secret: one epoch behind, as all others.
    assert [node.key_epoch for node in await ledger.read(nodes.list_active)] == [1, 2]
    await ledger.close()


def opened_with(answer: str, key: NodeKey) -> Body:
    """Read an answer as the node does, with the key that it still has."""
    verifier = Verifier(
        lambda _node, _epoch: key, node_id=key.node_id, clock=time.time, replay_guard=ReplayGuard(time.time)
    )
    return verifier.open(answer).body
