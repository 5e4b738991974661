"""What the supervisor is told of a node is plain data."""

from __future__ import annotations

import msgspec

from master.supervision.specification import NodeSpec

SPEC = NodeSpec(
    node_id="01A",
    name="atlas",
    folder="/srv/bots/atlas",
    readiness="handshake",
    priority=5,
    host="attic",
    after=("borealis",),
    memory_limit_bytes=1 << 40,
)


def test_a_specification_survives_a_wire() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(SPEC), type=NodeSpec) == SPEC
    assert msgspec.json.decode(msgspec.json.encode(SPEC), type=NodeSpec) == SPEC
