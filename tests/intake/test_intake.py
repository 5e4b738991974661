"""What the intake takes and refuses, over real connections."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import sys
import zlib
from typing import Any

import msgspec
import pytest

from master.intake import sentry
from master.intake.envelopes import BROTLI_MISSING, MAX_UNPACKED_BYTES
from master.intake.requests import MAX_BODY_BYTES
from tests.intake.conftest import Intake, free_port, run_intake
from tests.intake.sending import Answer, a_request, an_envelope, an_error, send

BROTLI_EMPTY_ENVELOPE = base64.b64decode("CwGAe30KAw==")
"""``{}`` and a line's end."""


def refusal(answer: Answer) -> tuple[int, str]:
    """Return its status and its reason, which stands where Sentry's does."""
    assert answer.content == {"detail": answer.headers["x-sentry-error"]}
    return answer.status, answer.headers["x-sentry-error"]


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = (body[:half], body[half:], b"")
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "raw deflate"])
async def test_a_body_is_taken_as_it_was_compressed(intake: Intake, encoding: str) -> None:
    body = an_envelope(("event", an_error()))
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": lambda text: zlib.compress(text, wbits=-15)}
    packed = pack.get(encoding, bytes)(body)
    request = a_request(intake.dsn(), packed, headers={"Content-Encoding": encoding.removeprefix("raw ")})
    answer = await send(intake.port, request)
    assert (answer.status, answer.content) == (200, {"id": "f" * 32})
    assert (await intake.next()).text == (
        "sentry bot.on_message: OperationalError: no such table: xp\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/atlas/bot.py", line 12, in on_message\n'
        "    rows = db.execute(QUERY)\n"
        "sqlite3.OperationalError: no such table: xp"
    )


async def test_brotli_is_taken(intake: Intake) -> None:
    brotli: Any = pytest.importorskip("brotli")
    body = brotli.compress(an_envelope(("event", an_error())))
    assert (await send(intake.port, a_request(intake.dsn(), body, headers={"Content-Encoding": "br"}))).status == 200
    assert (await intake.next()).exception == "OperationalError"
    for part in (body[:-3], b"no brotli"):
        answer = await send(intake.port, a_request(intake.dsn(), part, headers={"Content-Encoding": "br"}))
        assert answer.status == 400
    bomb = brotli.compress(bytes(8 * MAX_UNPACKED_BYTES), quality=1)
    answer = await send(intake.port, a_request(intake.dsn(), bomb, headers={"Content-Encoding": "br"}))
    assert refusal(answer) == (413, f"too large: more than {MAX_UNPACKED_BYTES} bytes, unpacked")


async def test_where_brotli_is_not_installed_that_is_said(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    request = a_request(intake.dsn(), BROTLI_EMPTY_ENVELOPE, headers={"Content-Encoding": "br"})
    assert refusal(await send(intake.port, request)) == (415, BROTLI_MISSING)
    said = f"the intake for sentry-sdk cannot read what some bots send: {BROTLI_MISSING}"
    assert intake.addresses.troubles() == (said,)


async def test_a_body_in_chunks_with_the_key_in_the_query_as_other_sdks_send_it(intake: Intake) -> None:
    dsn, body = intake.dsn(), gzip.compress(an_envelope(("event", an_error())))
    headers = {"X-Sentry-Auth": "", "Content-Length": "", "Transfer-Encoding": "chunked", "Content-Encoding": "gzip"}
    request = a_request(dsn, chunked(body), headers=headers)
    key = dsn.removeprefix("http://").partition("@")[0]
    request = request.replace(b"/envelope/", b"/envelope/?sentry_version=7&sentry_key=" + key.encode(), 1)
    assert (await send(intake.port, request)).status == 200
    assert (await intake.next()).exception == "OperationalError"


async def test_the_older_endpoint(intake: Intake) -> None:
    event = an_error(exception=None, logentry={"message": "shop %s", "formatted": "shop north"}, logger="economy")
    answer = await send(intake.port, a_request(intake.dsn(), json.dumps(event).encode(), kind="store"))
    assert answer.status == 200
    assert (await intake.next()).text == "sentry economy: error: shop north"
    body = json.dumps({"type": "transaction", "spans": []}).encode()
    assert (await send(intake.port, a_request(intake.dsn(), body, kind="store"))).status == 200
    assert intake.taken.empty()


async def test_what_is_no_error_is_dropped_politely(intake: Intake) -> None:
    kinds = ("transaction", "session", "sessions", "profile", "replay_recording", "attachment", "log", "client_report")
    # Not all of them are JSON.
    body = an_envelope(*((kind, b"\x00\xff not json\n{") for kind in kinds), ("event", an_error(level="info")))
    answer = await send(intake.port, a_request(intake.dsn(), body))
    assert answer.status == 200
    assert intake.taken.empty()


async def test_an_address_opens_its_own_door_alone(intake: Intake) -> None:
    atlas, borea = intake.dsn("atlas"), intake.dsn("borea")
    (key_a, project_a), (key_b, project_b) = (one.removeprefix("http://").split("@") for one in (atlas, borea))
    assert key_a != key_b
    assert project_a != project_b
    body = an_envelope(("event", an_error()))
    for wrong in (f"http://{key_b}@{project_a}", f"http://{key_a[:-1]}@{project_a}", f"http://{key_a}@{project_a}7"):
        status, why = refusal(await send(intake.port, a_request(wrong, body)))
        assert (status, why) == (403, "bad sentry DSN: restart the bot to give it a new one")
    answer = await send(intake.port, a_request(atlas, body, headers={"X-Sentry-Auth": "Sentry sentry_version=7"}))
    assert refusal(answer) == (401, "missing authorization information")
    assert intake.taken.empty()
    # A key that was replaced is of no use any more, nor is that of a node that was removed.
    intake.directory.update("atlas-id", lambda node: msgspec.structs.replace(node, key_epoch=2))
    intake.directory.discard("borea-id")
    for old in (atlas, borea):
        assert (await send(intake.port, a_request(old, body))).status == 403
    assert (await send(intake.port, a_request(intake.dsn("atlas"), body))).status == 200


async def test_other_requests_are_refused(intake: Intake) -> None:
    dsn = intake.dsn()
    request = a_request(dsn, b"{}\n")
    project = dsn.rpartition("/")[2].encode()
    assert (await send(intake.port, b"GET / HTTP/1.1\r\n\r\n")).status == 404
    answer = await send(intake.port, b"GET /api/" + project + b"/envelope/ HTTP/1.1\r\n\r\n")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert (await send(intake.port, b"HELO there\r\n\r\n")).status == 400
    assert (await send(intake.port, b"\x16\x03\x01" + bytes(200) + b"\r\n\r\n")).status == 400
    assert (await send(intake.port, request.replace(b"Content-Length", b"X-Length"))).status == 411
    assert (await send(intake.port, request.replace(b"Content-Length: 3", b"Content-Length: -3"))).status == 400
    twice = request.replace(b"Content-Length: 3", b"Content-Length: 3\r\ncontent-length: 4")
    assert (await send(intake.port, twice)).status == 400
    assert (await send(intake.port, b"A" * 100_000)).status == 431
    assert (await send(intake.port, a_request(dsn, b"x", headers={"Content-Encoding": "zstd"}))).status == 415
    assert (await send(intake.port, a_request(dsn, b"no gzip", headers={"Content-Encoding": "gzip"}))).status == 400
    deep = b'{}\n{"type":"event"}\n' + b'{"exception":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert (await send(intake.port, a_request(dsn, deep))).status == 400
    assert intake.taken.empty()


async def test_a_large_body_within_the_bounds_is_taken(intake: Intake) -> None:
    body = an_envelope(("attachment", b"x" * 900_000), ("event", an_error()))
    assert (await send(intake.port, a_request(intake.dsn(), body))).status == 200
    assert (await intake.next()).exception == "OperationalError"


async def test_large_bodies_are_refused_before_and_after_they_are_unpacked(intake: Intake) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)
    assert refusal(await send(intake.port, a_request(intake.dsn(), body)))[0] == 413
    claimed = a_request(intake.dsn(), b"", headers={"Content-Length": "9" * 15})
    assert refusal(await send(intake.port, claimed)) == (413, f"too large: {'9' * 15} bytes")
    bomb = gzip.compress(bytes(8 * MAX_UNPACKED_BYTES))
    assert len(bomb) < MAX_BODY_BYTES
    answer = await send(intake.port, a_request(intake.dsn(), bomb, headers={"Content-Encoding": "gzip"}))
    assert refusal(answer) == (413, f"too large: more than {MAX_UNPACKED_BYTES} bytes, unpacked")
    events = [("event", an_error())] * 11
    assert (await send(intake.port, a_request(intake.dsn(), an_envelope(*events)))).status == 413
    assert intake.taken.empty()


async def test_a_node_that_sends_too_much_is_told_to_wait_and_another_is_not(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentry, "RATE_S", 0.0)
    request = a_request(intake.dsn(), an_envelope(("event", an_error())))
    answers = [await send(intake.port, request) for _ in range(int(sentry.BURST) + 1)]
    assert [answer.status for answer in answers] == [200] * int(sentry.BURST) + [429]
    assert answers[-1].headers["retry-after"] == "10"
    assert answers[-1].headers["x-sentry-rate-limits"] == "10::key"
    other = a_request(intake.dsn("borea"), an_envelope(("event", an_error())))
    assert (await send(intake.port, other)).status == 200


async def test_idle_connections_keep_nobody_out(intake: Intake) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", intake.port) for _ in range(2 * sentry.MAX_CONNECTIONS)]
    answer = await send(intake.port, a_request(intake.dsn(), an_envelope(("event", an_error()))))
    assert answer.status == 200
    # Those that came first made room.
    assert await asyncio.wait_for(idle[0][0].read(), 10) == b""
    for _, writer in idle:
        writer.close()


async def test_a_port_that_is_taken_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "TRY_AGAIN_S", 0.05)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        async with run_intake(port) as intake:
            async with asyncio.timeout(10):
                while not intake.alerts:  # noqa: ASYNC110 - the bus is synchronous
                    await asyncio.sleep(0.01)
            said = f"the intake for sentry-sdk cannot listen on 127.0.0.1:{port}: another process listens at the port"
            assert intake.addresses.troubles() == (said,)
            assert intake.addresses.state == said.removeprefix("the intake for sentry-sdk ")
            # No bot is told to report to a stranger.
            assert intake.dsn() == ""
            (alert,) = intake.alerts
            assert alert.title == "The intake for sentry-sdk cannot listen"


async def test_it_listens_once_the_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "TRY_AGAIN_S", 0.05)
    port = free_port()
    other = socket.create_server(("127.0.0.1", port))
    async with run_intake(port) as intake:
        async with asyncio.timeout(10):
            while not intake.alerts:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            other.close()
            await intake.server.listening.wait()
        assert intake.addresses.state == f"listening on 127.0.0.1:{port}"
        assert intake.alerts[-1].title == "The intake for sentry-sdk listens"
        assert (await send(port, a_request(intake.dsn(), an_envelope(("event", an_error()))))).status == 200
