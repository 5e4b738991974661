"""A mail of 50 MB on a real server: its header and the beginning of its text are fetched, and no more."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage

import pytest
from msgspec.structs import replace

from master.configuration.settings import Settings
from sandbox import Sandbox
from tests.services.mailbox.dovecot import Dovecot, a_mail, needs_dovecot
from tests.services.mailbox.scene import mailbox_at, open_mail_scene

pytestmark = [needs_dovecot, pytest.mark.slow, pytest.mark.timeout(120)]

LARGE = 50 << 20
MOST_ON_THE_WIRE, MOST_MEMORY = 1 << 20, 16 << 20


class Meter:
    """Counts what a mail server sends."""

    def __init__(self) -> None:
        self.port = 0
        self.received = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_port: int) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", to_port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counts: bool) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65_536):
                    self.received += len(data) * counts
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, back, counts=False), pump(there, writer, counts=True))


@asynccontextmanager
async def metered(server: Dovecot) -> AsyncIterator[Meter]:
    meter = Meter()
    listening = await asyncio.start_server(lambda r, w: meter.relay(r, w, server.port), "127.0.0.1", 0)
    meter.port = listening.sockets[0].getsockname()[1]
    try:
        yield meter
    finally:
        listening.close()


def with_attachment() -> EmailMessage:
    mail = a_mail("A backup", "It is attached.\n")
    mail.add_attachment(b"\x5a" * (LARGE * 3 // 4), maintype="application", subtype="zip", filename="backup.zip")
    return mail


def all_text() -> bytes:
    head = a_mail("A log", "").as_bytes().partition(b"\n\n")[0]
    return head + b"\n\n" + b"a line of a log, and another one follows it\n" * (LARGE // 44)


async def test_of_50_mb_little_is_fetched_and_less_is_kept(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with metered(server) as meter:
        box = replace(mailbox_at(server), port=meter.port)
        async with open_mail_scene(house_settings, sandbox, {"inbox": box}) as scene:
            await scene.state("ready")
            for mail in (with_attachment().as_bytes(), all_text()):
                assert len(mail) > LARGE * 0.99
                server.deliver(mail)
            del mail
            tracemalloc.start()
            try:
                await scene.acted(2)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            posts = {message.embeds[0]["title"]: message.embeds[0] for message in scene.posts()}
            assert posts["A backup"]["description"] == "```\nIt is attached.\n```"
            assert "backup.zip" in str(posts["A backup"]["fields"])
            assert "a line of a log" in posts["A log"]["description"]
            print(f"2 mails of 50 MB: {meter.received:,} bytes fetched, {most:,} bytes of memory")
            assert meter.received < MOST_ON_THE_WIRE
            assert most < MOST_MEMORY
