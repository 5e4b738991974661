"""Refused messages by the thousand: a bounded number of rows, lines and events says how many there were."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable

import pytest

from handshake.errors import Refused
from handshake.messages import Heartbeat
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from master.events import MessageRefused
from master.ledger.rows import handshake_events
from master.services.onboarding.saga import CloneRequest
from master.services.trust import refusals
from master.services.trust.source import Source
from tests.services.conftest import OPERATOR, House

LOCAL = Source(transport="local", pid=1)
FLOOD = 3_000


async def flood(house: House, texts: list[str]) -> None:
    for text in texts:
        assert await house.services.reception.receive(text, LOCAL) is None


async def test_a_flood_is_one_row_that_counts_it(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await flood(house, [f"nonsense {number}" for number in range(FLOOD)])
    with house.services.bus.subscribe(MessageRefused) as told:
        house.services.reception.flush()
        assert len(told) == 1
    await house.services.ledger.flush()
    rows = await house.services.ledger.read(handshake_events.recent)
    assert len(rows) == refusals.ONE_BY_ONE + 1
    assert {row.outcome for row in rows} == {"malformed"}
    counted = [int(found[1]) for row in rows if (found := re.match(r"(\d+) more like this", row.detail))]
    assert counted == [FLOOD - refusals.ONE_BY_ONE]
    assert sum("message refused" in record.message for record in caplog.records) == refusals.ONE_BY_ONE + 1


async def test_refusals_of_different_nodes_and_reasons_are_counted_apart(house: House) -> None:
    texts = ["nonsense"] * 20
    for name in ("atlas", "borealis"):
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=False))
        node = house.services.directory.find(name)
        forger = Signer(NodeKey(node.id, 1, Secret(b"x" * 32)), from_master=False, clock=time.time)
        texts += [forger.sign(Heartbeat(uptime_s=1.0)) for _ in range(20)]
    await flood(house, texts)
    house.services.reception.flush()
    await house.services.ledger.flush()
    rows = await house.services.ledger.read(handshake_events.recent)
    each = refusals.ONE_BY_ONE + 1
    kinds = [(row.node_id is not None, row.outcome) for row in rows]
    assert (kinds.count((True, "bad_signature")), kinds.count((False, "malformed"))) == (2 * each, each)
    assert all(house.services.directory.find(name).flag_reason == "bad_signature" for name in ("atlas", "borealis"))


async def test_the_window_ends_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "WINDOW_S", 0.2)
    with house.services.bus.subscribe(MessageRefused) as told:
        await flood(house, ["nonsense"] * 50)
        events = [await asyncio.wait_for(told.get(), 5) for _ in range(refusals.ONE_BY_ONE + 1)]
    assert events[-1].detail.startswith("45 more like this within 0 s, the last one: ")


async def test_whoever_takes_a_message_is_told_of_a_refusal(house: House) -> None:
    take = house.services.reception.take
    for _ in range(refusals.ONE_BY_ONE):
        recording = take("nonsense", LOCAL)
        assert isinstance(recording, Awaitable)
        with pytest.raises(Refused):
            await recording
    for _ in range(5):
        with pytest.raises(Refused):
            take("nonsense", LOCAL)
