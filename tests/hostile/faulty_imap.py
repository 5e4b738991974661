"""A small IMAP server of its own making that fails on purpose: it stalls, hangs up, floods or talks nonsense."""

from __future__ import annotations

import asyncio
import random
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

Fault = Literal["stall", "drop", "garbage", "flood", "half", "refuse"]
STAGES = ("GREETING", "CAPABILITY", "LOGIN", "SELECT", "SEARCH", "FETCH", "IDLE", "DONE")
_NONSENSE = b"".join(bytes([n % 256]) * (n % 7) for n in range(2_000)) + b'\r\n* \r\n)("{99999999999}\r\n'

_MARKS = (b"(", b")", b'"', b"{5}\r\n", b"\r\n", b"* ", b"+ ", b"\\", b"\x00")


class FaultyImap:
    """Speaks just enough IMAP, and fails where it is told to."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.fault: tuple[str, Fault] | None = None
        """Where the next connection that comes there fails, and how; once."""
        self.failed = 0
        self.idling = 0
        self.logins = 0
        self.access_token = ""
        """That AUTHENTICATE XOAUTH2 takes."""
        self.rng = random.Random(7)  # noqa: S311 # nobody guesses it
        self.fuzz = 0.0
        """The part of all answers that are spoilt."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._arrived, self._failed = asyncio.Event(), asyncio.Event()
        self._told = 0
        """Of how many mails it said that they are there."""
        self._never = asyncio.Event()
        self.port = 0

    def deliver(self, mail: bytes) -> None:
        self.mails.append(mail)
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until so many faults have happened."""
        while not holds():
            self._failed.clear()
            await self._failed.wait()

    def drop_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError, asyncio.CancelledError):
            pass  # its client went away, or the test is over
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "GREETING", b"* OK ready\r\n"):
            return
        while line := await reader.readline():
            words = line.decode("latin-1").split()
            if len(words) < 2:
                continue
            tag, name = words[0], words[2] if words[1] == "UID" else words[1]
            if name == "AUTHENTICATE":
                await self._authenticate(reader, writer, tag, words)
                continue
            if name == "IDLE":
                if not await self._idle(reader, writer, tag):
                    return
                continue
            if not await self._say(writer, name, self._answer(tag, name, line)):
                return

    async def _authenticate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tag: str, words: list[str]
    ) -> None:
        """Take an access token as Gmail does: a refusal's reason comes as a question."""
        self.logins += 1
        wanted = f"user=bots\1auth=Bearer {self.access_token}\1\1".encode()
        if words[2:3] == ["XOAUTH2"] and b64decode(words[3]) == wanted:
            writer.write(f"{tag} OK welcome\r\n".encode())
        else:
            writer.write(b"+ " + b64encode(b'{"status":"400","schemes":"Bearer"}') + b"\r\n")
            assert await reader.readline() == b"\r\n"
            writer.write(f"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials\r\n".encode())
        await writer.drain()

    async def _idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tag: str) -> bool:
        if not await self._say(writer, "IDLE", b"+ idling\r\n"):
            return False
        self.idling += 1
        self._failed.set()
        if len(self.mails) > self._told:
            self._told = len(self.mails)
            writer.write(f"* {self._told} EXISTS\r\n".encode())
        arrived, done = asyncio.ensure_future(self._arrived.wait()), asyncio.ensure_future(reader.readline())
        try:
            await asyncio.wait({arrived, done}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                self._told = len(self.mails)
                writer.write(f"* {self._told} EXISTS\r\n".encode())
            if not await done:
                return False
        finally:
            self.idling -= 1
            arrived.cancel()
            done.cancel()
        return await self._say(writer, "DONE", f"{tag} OK done\r\n".encode())

    def _answer(self, tag: str, name: str, line: bytes) -> bytes:
        ok = f"{tag} OK {name}\r\n".encode()
        match name:
            case "CAPABILITY":
                return b"* CAPABILITY IMAP4rev1 IDLE\r\n" + ok
            case "LOGIN":
                self.logins += 1
                return ok
            case "SELECT":
                following = len(self.mails) + 1
                text = f"* {len(self.mails)} EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT {following}] .\r\n"
                return text.encode() + ok
            case "SEARCH":
                self._told = max(self._told, len(self.mails))
                found = re.search(rb"UID (\d+):\*", line)
                first = int(found[1]) if found else 1
                uids = " ".join(str(uid) for uid in range(first, len(self.mails) + 1))
                return f"* SEARCH {uids}\r\n".encode() + ok
            case "FETCH":
                return self._fetched(line) + ok
        return ok

    def _fetched(self, line: bytes) -> bytes:
        uid = int(line.split()[3])
        mail = self.mails[uid - 1]
        head, _, text = mail.partition(b"\r\n\r\n")
        head += b"\r\n\r\n"
        if b"BODYSTRUCTURE" in line:
            shape = b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "8BIT" %d 1 NIL NIL NIL NIL)' % len(text)
            return (
                b'* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE "23-Nov-2026 03:00:00 +0000" BODYSTRUCTURE %s '
                b"BODY[HEADER]<0> {%d}\r\n%s)\r\n" % (uid, uid, len(mail), shape, len(head), head)
            )
        return b"* %d FETCH (UID %d BODY[1]<0> {%d}\r\n%s)\r\n" % (uid, uid, len(text), text)

    async def _say(self, writer: asyncio.StreamWriter, stage: str, answer: bytes) -> bool:
        """Answer, or fail; tells whether the conversation goes on."""
        if self.fault is None or self.fault[0] != stage:
            if self.fuzz and self.rng.random() < self.fuzz:
                answer = self._spoilt(answer)
            writer.write(answer)
            await writer.drain()
            return True
        kind, self.fault = self.fault[1], None
        self.failed += 1
        self._failed.set()
        match kind:
            case "stall":
                await self._never.wait()
            case "garbage":
                writer.write(_NONSENSE)
                await writer.drain()
                return True
            case "flood":
                while True:
                    writer.write(b"* 1 FETCH (UID 1 BODY[1] {50000000}\r\n" + b"x" * 65_536)
                    await writer.drain()
            case "half":
                writer.write(answer[: len(answer) // 2])
                await writer.drain()
            case "refuse":
                words = answer.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2].split(b" ")
                writer.write(words[0] + b" NO [UNAVAILABLE] not now\r\n")
                await writer.drain()
                return True
        return False

    def _spoilt(self, answer: bytes) -> bytes:
        spoilt = bytearray(answer)
        for _ in range(self.rng.randint(1, 6)):
            at = self.rng.randrange(len(spoilt) + 1)
            match self.rng.randrange(4):
                case 0:
                    spoilt[at : at + self.rng.randint(1, 20)] = b""
                case 1:
                    spoilt[at:at] = self.rng.randbytes(self.rng.randint(1, 20))
                case 2:
                    spoilt[at:at] = self.rng.choice(
                        (b"(", b")", b'"', b"{5}\r\n", b"\r\n", b"* ", b"+ ", b"\\", b"\x00")
                    )
                case _:
                    spoilt[at:at] = spoilt[: self.rng.randint(0, 200)]
        return bytes(spoilt)


@asynccontextmanager
async def faulty_imap() -> AsyncIterator[FaultyImap]:
    """Run a server on the loopback address."""
    imap = FaultyImap()
    server = await asyncio.start_server(imap.serve, "127.0.0.1", 0)
    imap.port = server.sockets[0].getsockname()[1]
    try:
        yield imap
    finally:
        server.close()
        imap.drop_all()
