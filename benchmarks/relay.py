"""A TCP relay before the sandbox: counts what bots and their Discord say to each other, and whose bytes they are.

What discord.py would send without us, heartbeats and the gateway's own payloads, is set apart from what our nodes and
master cause: every request once they are up, and every event of a message. Counted are the bytes above TCP; the ways to
Discord add TLS (about 25 bytes a record) and TCP/IP (40 a packet).
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox import Sandbox

HEADERS_END = b"\r\n\r\n"
_AUTHORIZATION = re.compile(rb"\r\nauthorization: bot ([^\r]+)", re.IGNORECASE)
_OWN_OPS = frozenset({1, 2, 6, 7, 9, 10, 11})
"""HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID SESSION, HELLO, HEARTBEAT ACK."""
_OWN_EVENTS = frozenset({"READY", "RESUMED", "GUILD_CREATE"})
_CONTROL_FRAMES = 8
"""Opcodes of WebSocket frames from here on are close, ping and pong: RFC 6455, 5.2."""


@dataclass(slots=True)
class Traffic:
    """Bytes both ways: the library's own, and ours; and ours by what they were."""

    own: int = 0
    ours: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def count(self, size: int, kind: str, *, own: bool) -> None:
        """Count bytes."""
        if own:
            self.own += size
        else:
            self.ours += size
            self.kinds[kind] = self.kinds.get(kind, 0) + size


class _Conversation:
    """One connection: whose it is, and what its bytes were."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.token = ""
        self._is_gateway = False
        self._buffers = {"up": bytearray(), "down": bytearray()}
        self._is_open = {"up": False, "down": False}
        self._inflate = zlib.decompressobj()

    def take(self, way: str, data: bytes) -> None:
        """Take bytes of one direction, in order."""
        buffer = self._buffers[way]
        buffer += data
        if way == "up" and data.startswith(b"GET /gateway"):
            self._is_gateway = True  # on a connection that was kept from the requests before it, as often as not
        if not self._is_gateway:
            self._take_rest(buffer, data)
            return
        if not self._is_open[way]:
            end = buffer.find(HEADERS_END)
            if end < 0:
                return
            self._is_open[way] = True
            self.traffic.count(end + len(HEADERS_END), "upgrade", own=True)
            del buffer[: end + len(HEADERS_END)]
        for opcode, payload, size in _frames(buffer):
            if opcode >= _CONTROL_FRAMES:
                self.traffic.count(size, "control", own=True)
            else:
                self._take_payload(
                    self._inflate.decompress(payload) if opcode == 2 and way == "down" else payload, size
                )

    def _take_rest(self, buffer: bytearray, data: bytes) -> None:
        self.traffic.count(len(data), "requests", own=False)
        found = _AUTHORIZATION.search(buffer)
        if found is not None:
            self.token = found[1].decode()
        buffer.clear()

    def _take_payload(self, text: bytes, size: int) -> None:
        payload: dict[str, Any] = json.loads(text)
        op, event = payload.get("op"), payload.get("t")
        if op in (2, 6):
            self.token = str(payload["d"]["token"]).removeprefix("Bot ")
        self.traffic.count(size, str(event or op), own=op in _OWN_OPS or event in _OWN_EVENTS)


def _frames(buffer: bytearray) -> Iterator[tuple[int, bytes, int]]:
    """Take whole frames off a buffer: opcode, payload, size on the wire. RFC 6455, 5.2."""
    while len(buffer) >= 2:
        masked, length, head = buffer[1] & 0x80, buffer[1] & 0x7F, 2
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(buffer[2:head])
        mask = bytes(buffer[head : head + 4]) if masked else b""
        head += len(mask)
        if len(buffer) < head + length or (masked and len(mask) < 4):
            return
        payload = bytes(buffer[head : head + length])
        if mask:
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        opcode = buffer[0] & 0x0F
        del buffer[: head + length]
        yield opcode, payload, head + length


class RelayedSandbox(Sandbox):
    """A sandbox that bots reach through the relay only."""

    def __init__(self) -> None:
        super().__init__()
        self._conversations: list[_Conversation] = []
        self._relay: asyncio.Server | None = None
        self._relay_port = 0
        self._inner_port = 0

    async def start(self) -> None:
        """Begin to serve, and to relay."""
        await super().start()
        self._inner_port = self._port
        self._relay = await asyncio.start_server(self._serve_relay, "127.0.0.1", 0, backlog=1024)
        self._relay_port = int(self._relay.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop both."""
        if self._relay is not None:
            self._relay.close()
        await super().close()

    @property
    def api_base(self) -> str:
        """Return the address of REST v10, through the relay."""
        return f"http://127.0.0.1:{self._relay_port}/api/v10"

    @property
    def gateway_url(self) -> str:
        """Return the address of the gateway, through the relay."""
        return f"ws://127.0.0.1:{self._relay_port}/gateway"

    def traffic_of(self, tokens: set[str]) -> Traffic:
        """Return what the bots with these tokens have said and heard so far."""
        total = Traffic()
        for conversation in self._conversations:
            if conversation.token in tokens:
                traffic = conversation.traffic
                total.own += traffic.own
                total.ours += traffic.ours
                for kind, size in traffic.kinds.items():
                    total.kinds[kind] = total.kinds.get(kind, 0) + size
        return total

    async def _serve_relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = _Conversation()
        self._conversations.append(conversation)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
        await asyncio.gather(
            _pump("up", conversation, reader, inner_writer), _pump("down", conversation, inner_reader, writer)
        )


async def _pump(
    way: str, conversation: _Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while data := await reader.read(1 << 16):
            conversation.take(way, data)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # the other end has hung up; what it said is counted
    finally:
        writer.close()
