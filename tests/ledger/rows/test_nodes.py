"""Rows of nodes are fenced by the host that they belong to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.errors import Fenced
from master.ledger.rows import nodes, process_events
from master.ledger.rows.audit import AuditChain
from master.ledger.rows.records import DesiredState, HandshakeEvent, Lifecycle, Node, ProcessRecord
from master.ledger.schema.tables import nodes as nodes_table
from master.ledger.writer.entries import DesiredStateSet, Entry, FlagCleared, HandshakeOutcome, ProcessStep
from tests.ledger.test_database import NOW, a_node

CHAIN = AuditChain(b"k" * 32)


def entries_of(host: str) -> list[Entry]:
    """Return each kind of entry that writes to a node's row, in the name of a host."""
    spawned = ProcessRecord(id=f"P{host}", at=NOW, node_id="01A", kind="spawned", pid=7)
    refused = HandshakeEvent(
        id=f"H{host}", at=NOW, node_id="01A", message_type="heartbeat", outcome="replayed", transport="local"
    )
    return [
        ProcessStep(record=spawned, moved=True, pid_started_at=1.5, host=host),
        DesiredStateSet(node_id="01A", desired=DesiredState.RUNNING, at=NOW, host=host),
        HandshakeOutcome(event=refused, flag=True, host=host),
    ]


async def found(ledger: Ledger) -> Node:
    node = await ledger.read(lambda c: nodes.get(c, "01A"))
    assert node is not None
    return node


async def moved_to(ledger: Ledger, host: str) -> None:
    """Assign the node to a host, as a later version will."""
    statement = nodes_table.update().where(nodes_table.c.id == "01A").values(host=host)
    await ledger.write(lambda c: c.execute(statement).close())


async def test_a_host_that_has_lost_a_node_cannot_write_its_state_any_more(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.write(lambda c: nodes.insert(c, replace(a_node(), host="attic")))
    await ledger.write_durable(*entries_of("attic"))
    theirs = await found(ledger)
    assert (theirs.host, theirs.pid, theirs.pid_started_at) == ("attic", 7, 1.5)
    assert (theirs.desired_state, theirs.flag_reason) == (DesiredState.RUNNING, "replayed")
    await moved_to(ledger, "cellar")
    before = await found(ledger)
    late = ProcessRecord(id="P9", at=NOW, node_id="01A", kind="exited", pid=7)
    await ledger.write_durable(
        ProcessStep(record=late, moved=True, host="attic"),
        DesiredStateSet(node_id="01A", desired=DesiredState.STOPPED, at=NOW, host="attic"),
        FlagCleared(node_id="01A", at=NOW, host="attic"),
        *entries_of(""),
    )
    assert await found(ledger) == before
    fenced = [vars(record)["write"] for record in caplog.records if record.message == "write fenced"]
    assert fenced == [
        "ProcessStep",
        "DesiredStateSet",
        "FlagCleared",
        "ProcessStep",
        "DesiredStateSet",
        "HandshakeOutcome",
    ]
    # What happened there did happen: history keeps it.
    kinds = await ledger.read(lambda c: [row.kind for row in process_events.recent(c, "01A")])
    assert "exited" in kinds


async def test_the_host_that_has_it_takes_its_flag_off(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, replace(a_node(), host="attic")))
    await ledger.write_durable(*entries_of("attic"), FlagCleared(node_id="01A", at=NOW, host="attic"))
    assert (await found(ledger)).flag_reason == ""


async def test_a_saga_is_told_that_the_node_is_another_hosts_and_writes_nothing(ledger: Ledger) -> None:
    node = replace(a_node(), host="attic", lifecycle=Lifecycle.PROVISIONING)
    await ledger.write(lambda c: nodes.insert(c, node))

    def finish(connection: Connection) -> None:
        process_events.insert(connection, ProcessRecord(id="P1", at=NOW, node_id="01A", kind="spawned"))
        nodes.activate(connection, "01A", host="", at=NOW)

    with pytest.raises(Fenced, match="belongs to the host 'attic', not to the master's own box") as refused:
        await ledger.write(finish)
    assert (refused.value.owner, refused.value.host) == ("attic", "")
    with pytest.raises(Fenced):
        await ledger.write(lambda c: nodes.mark_removed(c, "01A", host="cellar", at=NOW))
    assert await found(ledger) == node
    assert await ledger.read(lambda c: process_events.recent(c, "01A")) == []
    await ledger.write(lambda c: nodes.activate(c, "01A", host="attic", at=NOW))
    assert (await found(ledger)).lifecycle is Lifecycle.ACTIVE


async def test_a_node_that_was_never_written_is_no_mistake_to_take_back(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.mark_removed(c, "01NOBODY", host="", at=NOW))


async def test_keys_are_the_masters_wherever_a_node_is(ledger: Ledger) -> None:
    await ledger.write(lambda c: nodes.insert(c, replace(a_node(), host="attic")))
    await ledger.write(lambda c: nodes.raise_key_epoch(c, "01A", at=NOW))
    assert (await found(ledger)).key_epoch == 2
