"""A fuzzer of the intake for sentry-sdk: requests cut, changed, repeated, of wrong types, and callers that vanish.

``FLEET_FUZZ=100000`` sends that many. They end nothing, a stranger's events reach nobody, and an honest bot is heard
in between.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import zlib
from collections import Counter
from typing import Any

import pytest

from master.intake import sentry
from master.intake.events import MAX_CRUMBS, MAX_TEXT_CHARACTERS
from tests.hostile.effort import rounds
from tests.intake.conftest import Intake, free_port, run_intake
from tests.intake.sending import a_request, an_envelope, an_error, send

SEED = 20_261_122
REQUESTS = 600
HONEST_EVERY = 100
AT_ONCE = 20

pytestmark = pytest.mark.timeout(3_600)

WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "", "\x00\x1b[2J", "a\nb", [], {}, [None], {"values": 3}, [[[[]]]])


class Fuzzer:
    """What somebody sends who wants the intake to fall.

    Parameters
    ----------
    dsn
        Of a node that has gone bad; strangers have another key.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._rng = random.Random(SEED)  # noqa: S311 - a sequence that can be repeated
        self.kinds: Counter[str] = Counter()

    def request(self) -> tuple[str, bytes]:
        """Return the kind of a request, and its bytes."""
        kind = self._rng.choice(("event", "envelope", "body", "head", "bytes", "stranger", "chunks"))
        self.kinds[kind] += 1
        return kind, getattr(self, f"_{kind}")()

    def _event(self) -> bytes:
        """Return a request with fields of wrong types."""
        event: dict[str, Any] = an_error(
            "x" * self._rng.randrange(0, 5_000), breadcrumbs={"values": [{"message": "m"}]}
        )
        target: Any = event
        while isinstance(target, dict | list) and target and self._rng.random() < 0.8:
            keys = list(target) if isinstance(target, dict) else list(range(len(target)))
            key = self._rng.choice(keys)
            if self._rng.random() < 0.4:
                target[key] = self._rng.choice(WRONG)
                break
            target = target[key]
        return a_request(self._dsn, an_envelope(("event", event)))

    def _envelope(self) -> bytes:
        """Return a request whose envelope has wrong lengths, kinds and lines."""
        lines = [b"{}", b'{"type":"event","length":%d}' % self._rng.choice((-5, 0, 3, 10**6, 2**70)), b"{}", b"", b"["]
        lines += [json.dumps({"type": self._rng.choice(WRONG)}).encode(), json.dumps(an_error()).encode()]
        self._rng.shuffle(lines)
        return a_request(self._dsn, b"\n".join(lines * self._rng.choice((1, 1, 60))))

    def _body(self) -> bytes:
        """Return a request whose compressed body is damaged, or far larger than it looks."""
        name, pack = self._rng.choice((("gzip", gzip.compress), ("deflate", zlib.compress)))
        plain = bytes(2**23) if self._rng.random() < 0.1 else an_envelope(("event", an_error()))
        return a_request(self._dsn, self._damage(pack(plain)), headers={"Content-Encoding": name})

    def _head(self) -> bytes:
        """Return a request with a header that is wrong."""
        name = self._rng.choice(("Content-Length", "Content-Encoding", "X-Sentry-Auth", "Transfer-Encoding", "Expect"))
        value = self._rng.choice(
            ("chunked", "-1", "9" * 30, "0x10", "br", "gzip, br", "Sentry", "100-continue", "\xff")
        )
        return a_request(self._dsn, an_envelope(("event", an_error())), headers={name: value})

    def _chunks(self) -> bytes:
        """Return a request in chunks with wrong sizes."""
        sizes = [
            self._rng.choice((b"0", b"5", b"ffffffff", b"-1", b"5;x=y", b"", b"g", b"5" * 2_000)) for _ in range(4)
        ]
        body = b"".join(size + b"\r\nhello\r\n" for size in sizes) + b"0\r\n\r\n"
        return a_request(self._dsn, body, headers={"Content-Length": "", "Transfer-Encoding": "chunked"})

    def _bytes(self) -> bytes:
        """Return a request of which bytes were changed."""
        return self._damage(a_request(self._dsn, an_envelope(("event", an_error()))))

    def _stranger(self) -> bytes:
        """Return a flawless request without the right key."""
        return a_request(self._dsn.replace("http://", "http://00"), an_envelope(("event", an_error("forged"))))

    def _damage(self, content: bytes) -> bytes:
        found = bytearray(content)
        for _ in range(self._rng.randrange(1, 6)):
            found[self._rng.randrange(len(found))] = self._rng.randrange(256)
        return bytes(found[: self._rng.randrange(len(found))]) if self._rng.random() < 0.3 else bytes(found)


async def vanish(port: int, request: bytes, at: int) -> None:
    """Send a part of a request, and hang up."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request[:at])
    writer.close()


@pytest.mark.slow
async def test_nothing_ends_the_intake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sentry, "RATE_S", 1e9)
    caplog.set_level(logging.ERROR)
    # Of a body that never comes whole, the end is waited for.
    monkeypatch.setattr("master.intake.requests.BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr("master.intake.requests.HEAD_TIMEOUT_S", 0.2)
    statuses: Counter[int] = Counter()
    async with run_intake(free_port()) as intake:
        await intake.server.listening.wait()
        fuzzer = Fuzzer(intake.dsn("atlas"))
        for number in range(rounds(REQUESTS) // AT_ONCE):
            batch = [fuzzer.request()[1] for _ in range(AT_ONCE)]
            answers = await asyncio.gather(*(send(intake.port, one) for one in batch))
            statuses.update(answer.status for answer in answers)
            await vanish(intake.port, batch[0], len(batch[0]) // 2)
            if number % (HONEST_EVERY // AT_ONCE) == 0:
                await is_heard(intake, number)
        heard = drain(intake)
        assert not [one for one in heard if "forged" in one.text]
        assert all(len(one.text) <= 2 * MAX_TEXT_CHARACTERS for one in heard)
        assert all(len(one.lines_before) <= MAX_CRUMBS for one in heard)
    # Nothing unforeseen: no 500, no exception of a connection.
    assert statuses[500] == 0
    assert [record.getMessage() for record in caplog.records] == []
    with capsys.disabled():
        print(
            f"\n  intake: {fuzzer.kinds.total()} requests, "
            f"answers {dict(sorted(statuses.items()))}, {intake.server.taken} taken"
        )


def drain(intake: Intake) -> list[Any]:
    """Return what was taken so far."""
    return [intake.taken.get_nowait() for _ in range(intake.taken.qsize())]


async def is_heard(intake: Intake, number: int) -> None:
    """Have an honest bot report, and look that it arrives."""
    drain(intake)
    answer = await send(
        intake.port, a_request(intake.dsn("borea"), an_envelope(("event", an_error(f"honest {number}"))))
    )
    assert answer.status == 200
    async with asyncio.timeout(20):
        while True:
            seen = await intake.taken.get()
            if seen.node_id == "borea-id" and f"honest {number}" in seen.text:
                return
