"""What is kept of a mail: enough to show it and to answer it, and never more than fits."""

from __future__ import annotations

from datetime import datetime

import msgspec

HEADER_BYTES, TEXT_BYTES = 64 << 10, 128 << 10
"""That are fetched of a mail, however large it is."""
TEXT_CHARACTERS, SUBJECT_CHARACTERS, ADDRESS_CHARACTERS, ID_CHARACTERS = 6_000, 300, 320, 400
MOST_REFERENCES, MOST_ATTACHMENTS = 50, 20


class Attachment(msgspec.Struct, frozen=True):
    """A part that is listed, and not fetched."""

    name: str
    kind: str
    size: int


class Verdict(msgspec.Struct, frozen=True):
    """Whether one's own mail server vouches for the sender."""

    is_trusted: bool
    why: str


class MailContent(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as it was read. All of it is foreign text."""

    message_id: str = ""
    sender: str = ""
    """The address in From; empty if that is not exactly one."""
    sender_name: str = ""
    reply_to: str = ""
    subject: str = ""
    list_id: str = ""
    references: tuple[str, ...] = ()
    """Message-IDs that it answers, of References and In-Reply-To."""
    sent_at: datetime | None = None
    automatic: str = ""
    """Why it was written by a machine, in words; empty if it was not."""
    verdict: Verdict
    text: str = ""
    is_cut: bool = False
    attachments: tuple[Attachment, ...] = ()
    more_attachments: int = 0
    size: int = 0

    @property
    def domain(self) -> str:
        """Return the sender's domain, in lower case."""
        return self.sender.rpartition("@")[2].lower()
