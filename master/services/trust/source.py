"""Where a message came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Facts about a message's sender from the transport, not from the message.

    Parameters
    ----------
    author_id
        Discord user id of the channel message's author; None for the local socket.
    pid
        Process at the other end of the local socket; None for the channel.
    """

    transport: Literal["channel", "local"]
    author_id: int | None = None
    pid: int | None = None
