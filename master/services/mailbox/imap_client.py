"""aioimaplib within bounds: it keeps all that a server sends, and notices no hang-up while it waits (its issue 110)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aioimaplib import aioimaplib

from master.configuration.settings import MailboxSettings
from master.services.mailbox.errors import MailboxRefused, MailServerAway, MailServerOdd

T = TypeVar("T")

CONNECT_S, COMMAND_S = 20.0, 30.0
MOST_BYTES = 1 << 20
"""That a server may send in answer to one command, beyond what is asked for."""
_PIECE = 4_096
"""aioimaplib handles each line within the one before it: of too many at once Python's stack ends."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
"""The kernel finds out within four minutes that a line is cut; that costs nobody a wake-up."""

_UNREADABLE = (aioimaplib.AioImapException, ValueError, LookupError, AttributeError, TypeError)

# Its debug lines have passwords and mails in them, its errors are raised too.
logging.getLogger("aioimaplib").setLevel(logging.CRITICAL)


class BoundedProtocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc] # it has no types
    """Hangs up on a server that sends more than it may, or what cannot be read.

    Parameters
    ----------
    lost
        Called once, with the reason, when the connection is no more; empty: the server hung up.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        super().__init__(asyncio.get_running_loop(), lambda _error: lost(""))
        self._lost = lost
        self.allowed_bytes = MOST_BYTES
        self.has_news = False
        """The server said that a mail came, in answer to any command: it does not say so again when IDLE begins."""
        self.greeted = asyncio.Event()
        """Waited for instead of the library's condition: its lock is held by what asks for capabilities, and who is
        cancelled while he waits for a condition goes on waiting for its lock."""

    def data_received(self, d: bytes) -> None:
        """Take what came."""
        self.allowed_bytes -= len(d)
        if self.allowed_bytes < 0:
            self.give_up("it sends more than was asked for")
            return
        try:
            for at in range(0, len(d), _PIECE):
                super().data_received(d[at : at + _PIECE])
        except (*_UNREADABLE, RecursionError) as error:
            self.give_up(f"it sends what is no IMAP ({type(error).__name__})")

    def _handle_line(self, line: bytes, current_cmd: aioimaplib.Command | None) -> aioimaplib.Command | None:
        if line.startswith(b"* ") and line.endswith(b" EXISTS"):
            self.has_news = True
        found: aioimaplib.Command | None = super()._handle_line(line, current_cmd)
        return found

    def give_up(self, why: str) -> None:
        """Hang up."""
        self._lost(why)
        if self.transport is not None:
            self.transport.abort()

    async def welcome(self, command: bytes) -> None:
        """Take the greeting, and ask what the server can do."""
        try:
            await super().welcome(command)
            self.greeted.set()
        except (aioimaplib.AioImapException, ValueError, LookupError) as error:
            self.give_up(f"its greeting is none of IMAP: {str(error)[:100]}")


class ImapClient:
    """One connection, with a time-out for each wait; after an error it is of no more use.

    Raises
    ------
    MailServerAway
    MailServerOdd
    """

    def __init__(self, settings: MailboxSettings, context: ssl.SSLContext | None = None) -> None:
        self._settings, self._context = settings, context
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.protocol = BoundedProtocol(self._note_lost)

    @property
    def _at(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _note_lost(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)

    # Connecting

    async def connect(self) -> None:
        """Connect, encrypt, and wait for the greeting.

        Raises
        ------
        MailboxRefused
            Its certificate is not valid for its name, or it cannot encrypt.
        """
        loop, host = asyncio.get_running_loop(), self._settings.host
        context = self._tls() if self._settings.security == "tls" else None
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: self.protocol, host, self._settings.port, ssl=context)
        except TimeoutError:
            raise MailServerAway(f"{self._at} did not answer within {CONNECT_S:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise MailboxRefused(
                f"{self._at} shows a certificate that is not valid: {error.verify_message}",
                hint="HOST in MAILBOXES has to be the name in the certificate",
            ) from error
        except ssl.SSLError as error:
            raise MailServerAway(
                f"{self._at} does not speak TLS ({error.reason})", hint="SECURITY is 'starttls' on port 143"
            ) from error
        except OSError as error:
            raise MailServerAway(f"{self._at} cannot be reached: {error.strerror or error}") from error
        raw = self.protocol.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        await self.within("greet", self.protocol.greeted.wait())
        if self._settings.security == "starttls":
            await self._encrypt()

    def _tls(self) -> ssl.SSLContext:
        return self._context or ssl.create_default_context()

    async def _encrypt(self) -> None:
        protocol = self.protocol
        answer = await self.run("STARTTLS")
        if answer.result != "OK":
            raise MailboxRefused(f"{self._at} cannot encrypt: {said(answer)}", hint="SECURITY is 'tls' on port 993")
        # What came unencrypted after the answer was put there by somebody else.
        protocol.incomplete_line, protocol.current_command = b"", None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                protocol.transport = await loop.start_tls(
                    protocol.transport, protocol, self._tls(), server_hostname=self._settings.host
                )
        except ssl.SSLCertVerificationError as error:
            raise MailboxRefused(
                f"{self._at} shows a certificate that is not valid: {error.verify_message}",
                hint="HOST in MAILBOXES has to be the name in the certificate",
            ) from error
        except (OSError, TimeoutError) as error:
            raise MailServerAway(f"{self._at} broke off while encrypting: {error}") from error
        await self.within("say what it can do", protocol.capability())

    # Commands

    async def run(self, name: str, *arguments: str) -> aioimaplib.Response:
        """Carry out a command that changes no state of the library's."""
        command = aioimaplib.Command(name, self.protocol.new_tag(), *arguments)
        return await self.within(name, self.protocol.execute(command))

    async def within(self, doing: str, call: Coroutine[Any, Any, T], *, most_bytes: int = MOST_BYTES) -> T:
        """Wait for an answer, for a hang-up, or for the end of the time, whichever is first."""
        self.protocol.allowed_bytes = most_bytes
        task = asyncio.ensure_future(call)
        either: set[asyncio.Future[Any]] = {task, self._lost}
        try:
            await asyncio.wait(either, timeout=COMMAND_S, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._raise_lost(doing)
                raise MailServerAway(f"{self._at} did not answer within {COMMAND_S:g} s: {doing}")
            return task.result()
        except aioimaplib.AioImapException as error:
            self._raise_lost(doing)
            raise MailServerOdd(f"{self._at} answers {doing} oddly: {str(error)[:200]}") from error
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _raise_lost(self, doing: str) -> None:
        if not self._lost.done():
            return
        why = self._lost.result()
        if why:
            raise MailServerOdd(f"{self._at} was hung up on: {why}")
        raise MailServerAway(f"{self._at} hung up: {doing}")

    async def idle(self, for_s: float) -> bool:
        """Wait for news, for so long at most; tells whether there are any.

        The library's own ``idle_start`` waits for ever if the server hangs up meanwhile.
        """
        protocol = self.protocol
        protocol.allowed_bytes = MOST_BYTES
        while not protocol.idle_queue.empty():
            protocol.idle_queue.get_nowait()
        idling = asyncio.ensure_future(protocol.idle())
        begun = asyncio.ensure_future(protocol.wait_for_idle_response())
        try:
            await asyncio.wait({idling, begun, self._lost}, timeout=COMMAND_S, return_when=asyncio.FIRST_COMPLETED)
            if not begun.done() or self._lost.done():
                self._raise_lost("IDLE")
                raise MailServerAway(f"{self._at} did not begin to wait for mail within {COMMAND_S:g} s")
            news = await self._wait_for_news(idling, for_s)
            protocol.idle_done()
            await asyncio.wait({idling, self._lost}, timeout=COMMAND_S, return_when=asyncio.FIRST_COMPLETED)
            if not idling.done():
                self._raise_lost("IDLE")
                raise MailServerAway(f"{self._at} did not answer within {COMMAND_S:g} s: DONE")
            return news
        finally:
            for task in (idling, begun):
                task.cancel()
            await asyncio.gather(idling, begun, return_exceptions=True)

    async def _wait_for_news(self, idling: asyncio.Future[Any], for_s: float) -> bool:
        loop = asyncio.get_running_loop()
        ends = loop.time() + for_s
        while (left_s := ends - loop.time()) > 0:
            pushed = asyncio.ensure_future(self.protocol.idle_queue.get())
            try:
                await asyncio.wait({pushed, idling, self._lost}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if self._lost.done() or idling.done():
                    self._raise_lost("IDLE")
                    return True
                # "* OK Still here" is no news, and no reason to ask.
                if pushed.done() and any(b"EXISTS" in line or b"RECENT" in line for line in pushed.result()):
                    return True
            finally:
                pushed.cancel()
        return False

    async def close(self) -> None:
        """Hang up, without waiting for anybody."""
        if self.protocol.transport is not None:
            self.protocol.transport.abort()
        for task in tuple(self.protocol.tasks):
            task.cancel()
        await asyncio.gather(*self.protocol.tasks, return_exceptions=True)


def said(answer: aioimaplib.Response) -> str:
    """Return what a server said at the end of an answer."""
    last = answer.lines[-1] if answer.lines else b""
    return bytes(last).decode("utf-8", "replace")[:200]
