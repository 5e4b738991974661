"""Bytes of a mail as :class:`MailContent`: bounded, and whatever is broken in it read as far as that goes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import quopri
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email import policy
from email.parser import BytesHeaderParser
from email.utils import parsedate_to_datetime

from master.services.mailbox.html_text import text_of_html
from master.services.mailbox.imap_parsing import Part, decoded, decoded_words
from master.services.mailbox.mail_content import (
    ADDRESS_CHARACTERS,
    ID_CHARACTERS,
    MOST_ATTACHMENTS,
    MOST_REFERENCES,
    SUBJECT_CHARACTERS,
    TEXT_CHARACTERS,
    Attachment,
    MailContent,
)
from master.services.mailbox.trust import judge, without_comments

_HEADER = BytesHeaderParser(policy=policy.compat32)
_VALUE_CHARACTERS = 2_000
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"]{1,128}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,190}[A-Za-z0-9])?\Z")
_QUOTED = re.compile(r'"[^"]*(?:"|\Z)')
_IN_BRACKETS = re.compile(r"[^<>,;]{0,2000}<([^<>\s]{1,400})>\s*\Z")
_ID = re.compile(r"<([^\s<>]{1,250})>")
_LIST_ID = re.compile(r"<([^<>\s]{1,250})>")


class _Headers:
    """The headers of a mail by name, each cut to what is sensible."""

    def __init__(self, raw: bytes) -> None:
        self._found: dict[str, list[str]] = {}
        for name, value in _HEADER.parsebytes(raw).raw_items():
            text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else ""
            self._found.setdefault(name.lower(), []).append(re.sub(r"[\r\n]+[ \t]*", " ", text))

    def all(self, name: str) -> list[str]:
        """Return all values of a header, the topmost first."""
        return self._found.get(name, [])

    def one(self, name: str) -> str:
        """Return the first value of a header, cut; empty without it."""
        return next(iter(self.all(name)), "")[:_VALUE_CHARACTERS].strip()


def mail_hash_of(header: bytes) -> bytes:
    """Return what a mail is known by, under whichever UID: its Message-ID with who wrote what when.

    Not the Message-ID alone: whoever guesses that of another mail could keep it from being seen. And with what one's
    own server says of the sender: who knows all of it, being in copy, cannot forge that.
    """
    headers = _Headers(header)
    known_by = [headers.one(name) for name in ("message-id", "from", "date", "subject", "authentication-results")]
    return hashlib.sha256("\0".join(known_by).encode("utf-8", "replace") if known_by[0] else header).digest()


def read_head(header: bytes, parts: Sequence[Part], *, authserv_id: str, size: int) -> MailContent:
    """Read all but the text."""
    headers = _Headers(header)
    name, sender = _sender(headers.all("from"))
    attached = [part for part in parts if part.is_attachment]
    domain = sender.rpartition("@")[2].lower()
    return MailContent(
        message_id=_first_id(headers.one("message-id")),
        sender=sender,
        sender_name=name,
        reply_to=_sender(headers.all("reply-to"))[1],
        subject=decoded_words(headers.one("subject"))[:SUBJECT_CHARACTERS].strip(),
        list_id=_list_id(headers.one("list-id")),
        references=_references(headers),
        sent_at=_moment(headers.one("date")),
        automatic=_automatic(headers),
        verdict=judge(headers.all("authentication-results"), authserv_id, domain),
        attachments=tuple(
            Attachment(part.name or "without a name", part.kind, part.size) for part in attached[:MOST_ATTACHMENTS]
        ),
        more_attachments=max(0, len(attached) - MOST_ATTACHMENTS),
        size=size,
    )


def text_part_of(parts: Sequence[Part]) -> Part | None:
    """Return the part to read: the first plain text, or else the first HTML."""
    texts = [part for part in parts if not part.is_attachment]
    plain = next((part for part in texts if part.kind == "text/plain"), None)
    return plain or next((part for part in texts if part.kind == "text/html"), None)


def read_text(part: Part, raw: bytes) -> tuple[str, bool]:
    """Return a part's text, and whether there is more of it."""
    text = decoded(_unpacked(raw, part.encoding), part.charset)
    if part.kind == "text/html":
        text = text_of_html(text, 4 * TEXT_CHARACTERS)
    text = _tidy(text)
    return text[:TEXT_CHARACTERS].rstrip(), len(text) > TEXT_CHARACTERS or part.size > len(raw)


def _unpacked(raw: bytes, encoding: str) -> bytes:
    """Return the content of a part that may be cut off, or none of what its header says."""
    match encoding:
        case "base64":
            packed = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
            try:
                return base64.b64decode(packed[: len(packed) // 4 * 4])
            except binascii.Error:
                return raw
        case "quoted-printable":
            return quopri.decodestring(raw)
        case _:
            return raw


def _tidy(text: str) -> str:
    """Return text without trailing blanks, and with one empty line where there are many."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _sender(values: Sequence[str]) -> tuple[str, str]:
    """Return name and address of who wrote it; no address unless there is exactly one: else programs differ."""
    if not values or len(values) > 1:
        return "", ""
    plain = without_comments(values[0][:_VALUE_CHARACTERS])
    bare = _QUOTED.sub("", plain)
    found = _IN_BRACKETS.match(bare) or _ADDRESS.match(bare.strip())
    name = decoded_words(plain.partition("<")[0].replace('"', "").strip())[:SUBJECT_CHARACTERS] if "<" in bare else ""
    if found is None:
        return name, ""
    address = found[found.lastindex or 0].strip()[:ADDRESS_CHARACTERS]
    return name, address if _is_plain(address) else ""


def _is_plain(address: str) -> bool:
    """Tell whether an address is the same to whoever reads it: an encoded word in it would become another one."""
    return address.isascii() and address.isprintable() and "=?" not in address and bool(_ADDRESS.match(address))


def _first_id(value: str) -> str:
    found = _ID.search(value)
    return "" if found is None else f"<{found[1]}>"[:ID_CHARACTERS]


def _references(headers: _Headers) -> tuple[str, ...]:
    found = _ID.findall(" ".join(headers.all("references"))[-20_000:])[-MOST_REFERENCES:]
    answered = _ID.findall(headers.one("in-reply-to"))[:2]
    return tuple(dict.fromkeys(f"<{one}>" for one in (*answered, *reversed(found))))


def _list_id(value: str) -> str:
    found = _LIST_ID.search(value)
    return (value if found is None else found[1])[:250]


def _moment(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _automatic(headers: _Headers) -> str:
    """Say why a mail was written by a machine (RFC 3834): nobody answers it, or two machines would for ever."""
    submitted = headers.one("auto-submitted").partition(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted[:40]}"
    precedence = headers.one("precedence").lower()
    if precedence in ("bulk", "junk", "list", "auto_reply"):
        return f"Precedence: {precedence}"
    for name in ("x-autoreply", "x-autorespond", "x-auto-response-suppress", "x-failed-recipients", "list-unsubscribe"):
        if headers.all(name) and headers.one(name).lower() not in ("none", "no"):
            return name.title()
    if headers.one("return-path") == "<>":
        return "an empty Return-Path"
    return ""
