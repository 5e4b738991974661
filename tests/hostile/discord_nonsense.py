"""Nonsense that Discord, or a proxy before it, may say: REST answers, gateway frames, hang-ups; from a seed."""

from __future__ import annotations

import json
import random
import zlib
from collections import Counter
from typing import Any

from aiohttp import web

from sandbox.faults import cut_off, hung_up
from sandbox.gateway import Frame, Raw

PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**64, 10**400, 1.5, 1e308, "", "x", "\x00", "1" * 40, "ä" * 2_000),
    *([], [None], [[]], [{}], {}, {"id": None}, {"id": "1"}, "-1", "2026-11-22T10:00:00Z", "ws://127.0.0.1:1"),
)
BODIES = (
    *(b"", b" ", b"{}", b"[]", b"null", b"5", b'"text"', b"true", b"NaN", b"1e999", b"{", b'{"id": "1", "na'),
    *(
        b"[" * 100_000,
        b'{"a":' * 5_000,
        b"\xff\xfe\x00",
        b"\x1f\x8b\x08\x00junk",
        PAGE,
        b"9" * 5_000,
        b"\xef\xbb\xbf{}",
    ),
    *(
        b'{"message": null, "code": "x"}',
        b'{"message": 5, "errors": 5}',
        b'{"errors": {"a": [5]}}',
        b'{"retry_after": 0}',
    ),
    *(b'{"retry_after": "x", "global": true}', b'{"retry_after": 1e9, "global": true}', b'{"retry_after": -5}'),
)
STATUSES = (
    *(200,) * 6,
    201,
    202,
    204,
    206,
    299,
    300,
    301,
    304,
    400,
    403,
    404,
    405,
    409,
    413,
    418,
    429,
    429,
    451,
    503,
    520,
)
"""Without those that discord.py itself repeats with waits of seconds (500, 502, 504, 524), and without a 401 in JSON,
which is Discord's refusal."""
KINDS = ("application/json", "application/json", "application/json; charset=utf-8", "text/html", "", "x/y", "image/png")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {},
    {},
    {"X-RateLimit-Remaining": "x", "X-RateLimit-Limit": "x"},
    {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Limit": "1",
        "X-RateLimit-Reset-After": "1e9",
        "X-RateLimit-Reset": "9",
    },
    {
        "X-RateLimit-Remaining": "-1",
        "X-RateLimit-Limit": "-1",
        "X-RateLimit-Reset-After": "-1",
        "X-RateLimit-Reset": "x",
    },
    {"X-RateLimit-Bucket": "ä" * 10},
    {"Retry-After": "tomorrow"},
    {"Content-Encoding": "gzip"},
    {"Location": "/api/v10/nowhere"},
)
EVENTS = (
    *("READY", "RESUMED", "GUILD_CREATE", "GUILD_UPDATE", "GUILD_DELETE", "CHANNEL_CREATE", "CHANNEL_UPDATE"),
    *("CHANNEL_DELETE", "MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK", "THREAD_CREATE"),
    *("MESSAGE_REACTION_ADD", "MESSAGE_REACTION_REMOVE", "INTERACTION_CREATE", "GUILD_MEMBER_ADD", "PRESENCE_UPDATE"),
    *("GUILD_ROLE_CREATE", "GUILD_MEMBERS_CHUNK", "VOICE_STATE_UPDATE", "USER_UPDATE", "TYPING_START", "NO_SUCH_EVENT"),
)
CLOSE_CODES = (1000, 1001, 1002, 1006, 1008, 1011, 1012, 3000, 4000, 4001, 4002, 4003, 4005, 4007, 4008, 4009, 4999)
"""Without those by which Discord says that another attempt is in vain (4004, 4010 to 4014)."""


class Nonsense:
    """Makes nonsense, and counts it by kind.

    Parameters
    ----------
    seed
        Two with one seed make the same nonsense in the same order.
    share
        How much of what is said is nonsense, from 0 to 1.
    """

    def __init__(self, seed: int, share: float) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self.share = share
        self.made: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self.made.total()

    def _now(self) -> bool:
        return self._random.random() < self.share

    # REST

    async def instead(self, request: web.Request) -> web.StreamResponse | None:
        """Return nonsense instead of an answer; None to answer."""
        if not self._now():
            return None
        pick = self._random.choice(("hang up", "cut answer", "answer", "answer", "answer", "page 401"))
        self.made[f"REST: {pick}"] += 1
        if pick == "hang up":
            return hung_up(request)
        body = self._random.choice(BODIES)
        if pick == "cut answer":
            return await cut_off(request, web.Response(body=body, content_type="application/json"), body)
        if pick == "page 401":
            return web.Response(status=401, body=PAGE, content_type="text/html")
        headers = dict(self._random.choice(HEADERS))
        kind = self._random.choice(KINDS)
        if kind:
            headers["Content-Type"] = kind
        if self._random.random() < 0.5:
            headers["Via"] = "1.1 proxy"
        return web.Response(status=self._random.choice(STATUSES), body=body, headers=headers)

    def spoil_answer(self, body: bytes) -> bytes:
        """Return a real answer, spoilt."""
        if not self._now():
            return body
        self.made["REST: spoilt answer"] += 1
        return self._spoilt(body)

    # Gateway

    def refusals(self) -> list[int | None]:
        """Return statuses for the next WebSockets, sometimes."""
        if not self._now():
            return []
        self.made["gateway: refused"] += 1
        return [self._random.choice((None, 200, 301, 400, 404, 429, 500, 503))]

    def frame(self, payload: bytes) -> Frame:
        """Return what is sent for a payload."""
        if not self._now():
            return payload
        pick = self._random.choice(("spoilt", "spoilt", "event", "event", "opcode", "opcode", "text", "bytes", "close"))
        self.made[f"gateway: {pick}"] += 1
        if pick == "spoilt":
            return self._spoilt(payload)
        if pick == "event":
            return self._json(0, t=self._random.choice(EVENTS))
        if pick == "opcode":
            return self._json(self._random.choice((1, 7, 9, 10, 10, 11, 2, 99, -1, None, "0", 10**30)))
        if pick == "text":
            return Raw(self._random.choice(BODIES).decode("utf-8", "replace"))
        if pick == "bytes":
            return Raw(self._bytes())
        return self._random.choice(CLOSE_CODES)

    def _json(self, op: Any, **fields: Any) -> bytes:
        data: Any = self._random.choice(VALUES)
        if op == 10:
            data = self._random.choice((data, {"heartbeat_interval": self._random.choice(VALUES)}))
        elif self._random.random() < 0.5:
            names = (
                "id",
                "guild_id",
                "channel_id",
                "user",
                "author",
                "session_id",
                "members",
                "channels",
                "type",
                "emoji",
            )
            data = {name: self._random.choice(VALUES) for name in self._random.sample(names, 4)}
        number = self._random.choice((None, 1, 2, *VALUES[:12]))
        return json.dumps({"op": op, "d": data, "s": number, **fields}).encode()

    def _bytes(self) -> bytes:
        junk = self._random.choice(BODIES)[:5_000]
        whole = zlib.compress(junk)
        return self._random.choice(
            (junk, junk + b"\x00\x00\xff\xff", whole, whole[:-3] + b"\x00\x00\xff\xff", b"\x78\x9c")
        )

    def _spoilt(self, payload: bytes) -> bytes:
        pick = self._random.random()
        if pick < 0.2:
            return payload[: self._random.randrange(len(payload) + 1)]
        if pick < 0.3 and payload:
            at = self._random.randrange(len(payload))
            return payload[:at] + bytes([self._random.randrange(256)]) + payload[at + 1 :]
        try:
            return json.dumps(self._mutated(json.loads(payload))).encode()
        except ValueError:
            return payload[1:]

    def _mutated(self, value: Any) -> Any:
        """Return a payload with one value of it replaced, or missing."""
        if isinstance(value, dict) and value and self._random.random() < 0.85:
            name = self._random.choice(list(value))
            if self._random.random() < 0.25:
                return {key: inner for key, inner in value.items() if key != name}
            return {**value, name: self._mutated(value[name])}
        if isinstance(value, list) and value and self._random.random() < 0.7:
            at = self._random.randrange(len(value))
            return [*value[:at], self._mutated(value[at]), *value[at + 1 :]]
        return self._random.choice(VALUES)
