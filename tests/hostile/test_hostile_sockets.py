"""Fuzzers of both sockets: lines cut at any byte, of wrong types, too deep, too long, and callers that vanish.

``FLEET_FUZZ=100000`` sends that many to each. They end nothing, nothing forged is believed, and what they leave in the
log and in the ledger stays bounded.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handshake.errors import Refused
from handshake.messages import Acknowledgement, Heartbeat
from handshake.replay import ReplayGuard
from handshake.signing import NodeKey, Signer, Verifier
from handshake.sockets import Peer, short_path
from handshake.transports.local import LocalServer
from master.control.key import ControlKey, known_key
from master.control.protocol import Answer
from master.control.server import ControlServer
from master.ledger.rows import handshake_events
from master.operations import OPERATIONS
from master.operations.operation import Needs
from master.services.core.keys import master_secret_of
from master.services.onboarding.saga import CloneRequest
from master.services.trust.refusals import ONE_BY_ONE, WINDOW_S
from master.services.trust.source import Source
from tests.hostile.attacker import SEED, Attacker, Oracle
from tests.hostile.effort import rounds
from tests.services.conftest import OPERATOR, House

LINES = 1_000
HONEST_EVERY = 200
HELD_OPEN = 40
"""Connections that stay open, each with half a line."""
WITHIN_S = 180.0
"""A backup of what the fuzzer itself leaves in the ledger takes long on a busy machine."""
KINDS_OF_REFUSAL = 30
"""More than there are: reasons, times nodes, and none."""

pytestmark = pytest.mark.timeout(3_600)


class Hostile:
    """Connections of somebody who wants the master to fall."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self._open: list[socket.socket] = []

    def send(self, payload: bytes) -> None:
        """Send as much as fits, and leave in one of several ways."""
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            with short_path(self.path) as name:
                connection.connect(name)
            connection.send(payload)
            self._leave(connection)
        except BlockingIOError:
            self.counts["the master was busy"] += 1
            connection.close()
        except (BrokenPipeError, ConnectionError):
            self.counts["hung up on"] += 1
            connection.close()

    def _leave(self, connection: socket.socket) -> None:
        way = self.rng.choice(("closes", "closes its half", "stays", "vanishes"))
        self.counts[way] += 1
        if way in ("closes its half", "stays"):
            if way == "closes its half":
                connection.shutdown(socket.SHUT_WR)
            self._open.append(connection)
            if len(self._open) > HELD_OPEN:
                self._open.pop(self.rng.randrange(len(self._open))).close()
        else:
            connection.close()

    def close(self) -> None:
        for connection in self._open:
            connection.close()


@dataclass
class NodesSocket:
    """The nodes' socket of a master with two nodes, and an attacker who has one's key."""

    server: LocalServer
    attacker: Attacker
    refused: Counter[str]
    forged: list[str]
    """What was believed, and must not have been."""


def asks_to_verify(answer: str) -> bool:
    """Tell whether a message was not believed: it was of no session, and its sender is asked to prove itself in one."""
    claims = json.loads(base64.urlsafe_b64decode(answer.split(".")[1] + "=="))
    return "session" in claims and bool(claims["body"].get("order") == "verify_again")


@pytest.fixture
async def nodes_socket(house: House) -> AsyncIterator[NodesSocket]:
    keys: list[NodeKey] = []
    for name in ("atlas", "borealis"):
        await house.clone(OPERATOR, CloneRequest(name=name, token=house.token(name), start=False))
        node = house.services.directory.find(name)
        keys.append(master_secret_of(house.services.settings.identity).derive_node_key(node.id, 1))
    attacker = Attacker(time.time, key=keys[0], other=keys[1])
    oracle, refused, forged = Oracle(attacker), Counter[str](), list[str]()

    def judge(text: str) -> None:
        if not oracle.allows(text):
            forged.append(text)

    def take(text: str, peer: Peer) -> str | Awaitable[str | None] | None:
        try:
            answer = house.services.reception.take(text, Source(transport="local", pid=peer.pid))
        except Refused as error:
            refused[error.reason.value] += 1
            raise
        if isinstance(answer, Awaitable):
            return later(answer, text)
        if answer is None or not asks_to_verify(answer):
            judge(text)
        return answer

    async def later(answer: Awaitable[str | None], text: str) -> str | None:
        try:
            said = await answer
        except Refused as error:
            refused[error.reason.value] += 1
            raise
        judge(text)
        return said

    server = LocalServer(house.services.settings.node_socket_path, take)
    await server.start()
    yield NodesSocket(server, attacker, refused, forged)
    await server.close()


async def pulse(path: Path, key: NodeKey) -> None:
    """Be an honest node, and be answered."""
    with short_path(path) as name:
        reader, writer = await asyncio.open_unix_connection(name)
    writer.write(Signer(key, from_master=False, clock=time.time).sign(Heartbeat(uptime_s=1.0)).encode() + b"\n")
    line = await asyncio.wait_for(reader.readline(), WITHIN_S)
    writer.close()
    node = Verifier(
        lambda _node, _epoch: key, node_id=key.node_id, clock=time.time, replay_guard=ReplayGuard(time.time)
    )
    assert isinstance(node.open(line.decode().strip()).body, Acknowledgement)


def hostile_lines(attacker: Attacker) -> tuple[bytes, int]:
    """Return what one connection sends, and how many lines that is."""
    rng, lines = attacker.rng, 1
    way = rng.random()
    if way < 0.7:
        lines = rng.randrange(1, 12)
        texts = [rng.choice(attacker.kinds)() for _ in range(lines)]
        raw = b"\n".join(text.encode("utf-8", "surrogatepass") for text in texts) + b"\n"
    elif way < 0.8:
        raw = attacker.genuine().encode()[: rng.randrange(400)]
    elif way < 0.9:
        raw = rng.choice((b"\n" * 5_000, b"\0" * 9_000, b"\0\n" * 50, b"x" * 60_000, b"\xff\xfe\n" * 20))
    else:
        raw = rng.randbytes(rng.randrange(3_000))
    cut = rng.randrange(len(raw) + 1) if rng.random() < 0.2 else len(raw)
    return raw[:cut], lines


async def test_the_nodes_socket(
    house: House,
    nodes_socket: NodesSocket,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, attacker = nodes_socket.server, nodes_socket.attacker
    path = house.services.settings.node_socket_path
    hostile = Hostile(path, attacker.rng)
    caplog.set_level(logging.WARNING)
    sent = connections = honest = 0
    began = time.monotonic()
    while sent < rounds(LINES):
        raw, lines = hostile_lines(attacker)
        hostile.send(raw)
        sent, connections = sent + lines, connections + 1
        await asyncio.sleep(0)
        if connections % HONEST_EVERY == 1:
            await pulse(path, attacker.other)
            honest += 1
    took = time.monotonic() - began
    hostile.close()
    await pulse(path, attacker.other)
    assert nodes_socket.forged == []
    async with asyncio.timeout(WITHIN_S):
        while server._connections:  # noqa: ASYNC110 - the end of a connection is no event
            await asyncio.sleep(0.02)
    house.services.reception.flush()
    await house.services.ledger.flush()
    rows = len(await house.services.ledger.read(lambda c: handshake_events.recent(c, limit=100_000)))
    bound = KINDS_OF_REFUSAL * (ONE_BY_ONE + 1) * (1 + took // WINDOW_S)
    assert 0 < rows <= bound
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert len(caplog.records) <= bound + 10
    with capsys.disabled():
        print(
            f"\nnodes' socket, seed {SEED}: {sent:,} hostile lines over {connections:,} connections in {took:.0f} s "
            f"({sent / took:,.0f} a second); {sum(nodes_socket.refused.values()):,} were read before their sender was "
            f"hung up on, all refused {dict(nodes_socket.refused)}; {honest + 1} honest pulses in between answered; "
            f"{dict(hostile.counts)}; {rows} rows in the ledger, {len(caplog.records)} lines in the log"
        )


class JsonMaker:
    """Makes requests of the control socket, and what is nearly one."""

    def __init__(self, rng: random.Random, key: str) -> None:
        self.rng = rng
        self.key = key
        self._methods = [name for name, found in OPERATIONS.items() if found.needs is not Needs.STOPPED]

    def value(self, depth: int = 0) -> Any:
        simple = [
            None,
            True,
            0,
            -1,
            1.5,
            2**63,
            10**40,
            "",
            "atlas",
            "../..",
            "a\0b",
            "é" * 50,
            "[/]",
            "\x1b[31m",
            "x" * 900,
        ]
        if depth > 2 or self.rng.random() < 0.7:
            return self.rng.choice(simple)
        if self.rng.random() < 0.5:
            return [self.value(depth + 1) for _ in range(self.rng.randrange(4))]
        return {str(self.rng.choice(simple)): self.value(depth + 1) for _ in range(self.rng.randrange(4))}

    def params(self, method: str) -> Any:
        if self.rng.random() < 0.2:
            return self.value()
        fields = msgspec.structs.fields(OPERATIONS[method].parameters)
        return {field.name: self.value() for field in fields if field.required or self.rng.random() < 0.4}

    def line(self) -> bytes:
        """Return a whole line."""
        method: Any = self.rng.choice(self._methods) if self.rng.random() < 0.8 else self.value()
        known = isinstance(method, str) and method in OPERATIONS
        key = self.key if self.rng.random() < 0.9 else self.value()
        request = {"method": method, "params": self.params(method) if known else self.value(), "key": key}
        if self.rng.random() < 0.1:
            request[self.rng.choice(("more", "", "id"))] = self.value()
        return json.dumps(request).encode()

    def broken(self) -> bytes:
        """Return what is no request."""
        whole = self.line()
        ways = (
            whole[: self.rng.randrange(len(whole))],
            b'{"method":"status","params":' + b"[" * 30_000 + b"\n",
            b'{"method":"status","key":"\\ud800"}\n',
            b'{"method":"status","params":{"a":' * 900 + b"1" + b"}}" * 900 + b"\n",
            b"x" * 70_000,
            b"\0" * 100 + b"\n",
            self.rng.randbytes(self.rng.randrange(500)) + b"\n",
            b"\n",
            whole[:10] + b"\xff" + whole[10:] + b"\n",
            b"{}\n" * 100,
        )
        return self.rng.choice(ways)


async def ask(path: Path, line: bytes) -> list[Answer]:
    """Send a whole line, close this half, and return all that is answered."""
    with short_path(path) as name:
        reader, writer = await asyncio.open_unix_connection(name, limit=1 << 22)
    writer.write(line + b"\n")
    writer.write_eof()
    try:
        said = await asyncio.wait_for(reader.read(), WITHIN_S)
    except TimeoutError as error:
        raise AssertionError(f"no end of the answer to {line[:300]!r}") from error
    finally:
        writer.close()
    return [msgspec.json.decode(found, type=Answer) for found in said.splitlines()]


async def test_the_control_socket(
    house: House, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = house.services.settings.control_socket_path
    key = ControlKey(path.parent)
    server = ControlServer(path, house.operations, key)
    await server.start()
    rng = random.Random(SEED)  # noqa: S311 - a fuzzer repeats itself
    maker, hostile = JsonMaker(rng, known_key(path.parent)), Hostile(path, rng)
    caplog.set_level(logging.WARNING)
    codes: Counter[str] = Counter()
    descriptors, began = len(os.listdir("/proc/self/fd")), time.monotonic()
    for number in range(rounds(LINES)):
        if number % 4:
            hostile.send(maker.broken())
            await asyncio.sleep(0)
            continue
        line = maker.line()
        answers = await ask(path, line)
        # Who asks and hangs up at once ends what goes on for as long as he stays.
        follows = any(f'"{name}"'.encode() in line for name, operation in OPERATIONS.items() if operation.follows)
        assert answers or follows, f"no answer to {line[:200]!r}"
        for answer in answers:
            assert answer.code != "internal_error", f"{answer.message}: {line[:300]!r}"
            codes[answer.code or answer.kind] += 1
    took = time.monotonic() - began
    hostile.close()
    (answer,) = await ask(path, json.dumps({"method": "status", "key": maker.key}).encode())
    assert answer.kind == "result"
    async with asyncio.timeout(WITHIN_S):
        while server._listener._connections:  # noqa: ASYNC110 - the end of a connection is no event
            await asyncio.sleep(0.02)
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 10
    await server.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    with capsys.disabled():
        print(
            f"\ncontrol socket, seed {SEED}: {rounds(LINES):,} hostile requests in {took:.0f} s "
            f"({rounds(LINES) / took:,.0f} a second), answers {dict(codes)}; {dict(hostile.counts)}"
        )
