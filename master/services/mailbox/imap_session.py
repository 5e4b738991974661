"""A mailbox that is open: what came since a UID, and of each mail only as much as is shown."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aioimaplib import aioimaplib

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.services.mailbox.errors import MailboxRefused, MailServerAway, MailServerOdd
from master.services.mailbox.imap_client import MOST_BYTES, ImapClient, said
from master.services.mailbox.imap_parsing import Part, items_of, parse, parts_of
from master.services.mailbox.mail_content import HEADER_BYTES, TEXT_BYTES

_MOST_SEARCH_BYTES = 8 << 20
"""A million UIDs."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CODE = re.compile(r"\[([A-Z-]+)[ \]]", re.IGNORECASE)
_PASSES = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "OVERQUOTA", "SERVERBUG"})
"""Response codes (RFC 5530) that say: not now."""


class Opened(msgspec.Struct, frozen=True):
    """A folder as it was when it was opened."""

    uid_validity: int
    uid_next: int
    exists: int


class Head(msgspec.Struct, frozen=True):
    """What is known of a mail before its text is fetched."""

    uid: int
    size: int
    arrived_at: datetime | None
    """By the server's clock."""
    header: bytes
    parts: tuple[Part, ...]


class ImapSession:
    """One session with a mailbox; it only reads, and marks nothing as seen.

    Raises
    ------
    MailServerAway
    MailServerOdd
    MailboxRefused
    """

    def __init__(self, settings: MailboxSettings, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._client = ImapClient(settings, context)

    async def connect(self) -> None:
        """Connect, and encrypt as the settings say."""
        await self._client.connect()

    async def login(self, secret: Secret[str]) -> None:
        """Log in, with the password or an access token.

        Raises
        ------
        MailboxRefused
            The server refuses it. To try that again may lock the account.
        """
        protocol, user = self._client.protocol, self._settings.user
        if protocol.state == "AUTH":
            return
        try:
            if self._settings.login == "xoauth2":
                call = self._authenticate(user, secret)
            else:
                call = protocol.login(aioimaplib.quoted(user), secret.reveal())
            answer = await self._client.within("LOGIN", call)
        except ValueError as error:
            raise MailboxRefused("a password or user cannot have line breaks in it") from error
        if answer.result == "OK":
            if not protocol.capabilities or "IDLE" not in protocol.capabilities:
                # What a server can do it may say only now.
                await self._client.within("CAPABILITY", protocol.capability())
            return
        words = said(answer)
        code = _CODE.search(words)
        if code is not None and code[1].upper() in _PASSES:
            raise MailServerAway(f"{self._settings.host} takes no logins now: {words}")
        raise MailboxRefused(
            f"{self._settings.host} refuses the login of {user}: {words}", hint=_login_hint(self._settings)
        )

    async def _authenticate(self, user: str, token: Secret[str]) -> aioimaplib.Response:
        """Log in with an access token; the library's own ends in a wait for ever when it is refused."""
        protocol = self._client.protocol
        text = b64encode(f"user={user}\1auth=Bearer {token.reveal()}\1\1".encode()).decode()
        command = _Authenticate("AUTHENTICATE", protocol.new_tag(), "XOAUTH2", text, protocol=protocol)
        answer = await protocol.execute(command)
        if answer.result == "OK":
            protocol.state = "AUTH"
        return answer

    async def select(self) -> Opened:
        """Open the folder."""
        folder = aioimaplib.quoted(encoded_folder(self._settings.folder))
        answer = await self._client.within("SELECT", self._client.protocol.select(folder))
        if answer.result != "OK":
            raise MailboxRefused(
                f"{self._settings.host} does not open the folder {self._settings.folder!r}: {said(answer)}",
                hint="FOLDER in MAILBOXES is its name as the server has it",
            )
        text = b"\n".join(bytes(line) for line in answer.lines).decode("utf-8", "replace")
        validity, following = (_number(rf"\[{name} (\d+)\]", text) for name in ("UIDVALIDITY", "UIDNEXT"))
        if validity is None:
            raise MailServerOdd(f"{self._settings.host} says no UIDVALIDITY, without which no mail has a name")
        exists = _number(r"(?m)^(\d+) EXISTS", text) or 0
        if following is None:
            found = await self.uids_from(1)
            following = found[-1] + 1 if found else 1
        return Opened(validity, following, exists)

    @property
    def can_idle(self) -> bool:
        """Tell whether the server says by itself that a mail came."""
        return "IDLE" in self._client.protocol.capabilities

    async def uids_from(self, first: int, *, since: datetime | None = None) -> list[int]:
        """Return the UIDs from ``first`` on, rising; with ``since`` only of mails that arrived on that day or later."""
        words = [f"UID {first}:*"]
        if since is not None:
            words.append(f"SINCE {since.day}-{_MONTHS[since.month - 1]}-{since.year}")
        protocol = self._client.protocol
        protocol.has_news = False
        call = protocol.search(*words, charset=None, by_uid=True)
        answer = await self._client.within("SEARCH", call, most_bytes=_MOST_SEARCH_BYTES)
        if answer.result != "OK":
            raise MailServerOdd(f"{self._settings.host} does not search: {said(answer)}")
        # "first:*" has the last mail in it even if that is below first.
        return sorted({uid for line in answer.lines[:-1] for uid in _numbers(line) if uid >= first})

    async def head(self, uid: int) -> Head | None:
        """Return what is known of a mail before its text; None if it is gone."""
        items = f"(UID RFC822.SIZE INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER]<0.{HEADER_BYTES}>)"
        found = await self._fetch(uid, items, HEADER_BYTES)
        if found is None:
            return None
        return Head(
            uid,
            int(found["RFC822.SIZE"]) if isinstance(found.get("RFC822.SIZE"), bytes) else 0,
            _moment(found.get("INTERNALDATE")),
            _bytes(found.get("BODY[HEADER]"))[:HEADER_BYTES],
            tuple(parts_of(found.get("BODYSTRUCTURE"))),
        )

    async def part(self, uid: int, section: str) -> bytes:
        """Return the beginning of a part, as it is encoded."""
        found = await self._fetch(uid, f"(UID BODY.PEEK[{section}]<0.{TEXT_BYTES}>)", TEXT_BYTES)
        return b"" if found is None else _bytes(found.get(f"BODY[{section}]"))[:TEXT_BYTES]

    async def _fetch(self, uid: int, items: str, room: int) -> dict[str, Any] | None:
        call = self._client.protocol.fetch(str(uid), items, by_uid=True)
        answer = await self._client.within("FETCH", call, most_bytes=MOST_BYTES + 2 * room)
        if answer.result != "OK":
            raise MailServerOdd(f"{self._settings.host} does not hand out mail {uid}: {said(answer)}")
        try:
            # Answers about other mails may stand in between: flags that somebody changed.
            for fetched in (node for node in parse(answer.lines[:-1]) if isinstance(node, list)):
                found = items_of(fetched)
                if found.get("UID") == str(uid).encode() and any(name.startswith("BODY[") for name in found):
                    return found
        except ValueError as error:
            raise MailServerOdd(f"mail {uid} has figures that are none") from error
        return None

    @property
    def has_news(self) -> bool:
        """Tell whether something came since the last search began."""
        return bool(self._client.protocol.has_news)

    async def wait(self, for_s: float) -> bool:
        """Wait for news for so long; tells whether there are any. Needs :attr:`can_idle`."""
        return await self._client.idle(for_s)

    async def noop(self) -> None:
        """Look whether the server is still there."""
        await self._client.run("NOOP")

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()


class _Authenticate(aioimaplib.Command):  # type: ignore[misc] # it has no types
    """AUTHENTICATE; a refusal's reason comes as a question, which wants an empty answer."""

    def __init__(self, *arguments: Any, protocol: Any) -> None:
        super().__init__(*arguments)
        self._protocol = protocol

    def append_to_resp(self, line: bytes, result: str = "Pending") -> None:
        """Take a line; answer the question."""
        super().append_to_resp(line, result)
        if line.startswith(b"+"):
            self._protocol.transport.write(b"\r\n")

    def __repr__(self) -> str:
        return f"{self.tag} {self.name} {' '.join(self.args)}"


def encoded_folder(name: str) -> str:
    """Return a folder's name in IMAP's UTF-7 (RFC 3501, 5.1.3)."""

    def shifted(found: re.Match[str]) -> str:
        if found[0] == "&":
            return "&-"
        text = b64encode(found[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{text}-"

    return re.sub(r"&|[^\x20-\x7e]+", shifted, name)


def _login_hint(settings: MailboxSettings) -> str:
    if "gmail" in settings.host or "google" in settings.host:
        return "Gmail wants an app password, not the account's own: docs/mailbox.md has the steps"
    return "`fleet mailbox password NAME` sets another; it is not tried again by itself"


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text)
    return None if found is None or len(found[1]) > 18 else int(found[1])


def _numbers(line: bytes | bytearray) -> Sequence[int]:
    return [int(word) for word in bytes(line).split() if word.isdigit() and len(word) < 11]


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) and value != b"NIL" else b""


def _moment(value: Any) -> datetime | None:
    """Return an INTERNALDATE: ``17-Jul-1996 02:44:25 -0700``."""
    text = _bytes(value).decode("ascii", "replace").strip()
    found = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})", text)
    if found is None or found[2].title() not in _MONTHS:
        return None
    month = _MONTHS.index(found[2].title()) + 1
    try:
        # strptime's month names are those of the locale.
        local = (
            f"{found[3]}-{month:02}-{int(found[1]):02}T{found[4]}:{found[5]}:{found[6]}{found[7][:3]}:{found[7][3:]}"
        )
        return datetime.fromisoformat(local).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
