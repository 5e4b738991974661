"""Where a message came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the transport knows of a message's sender, and the message cannot claim.

    Parameters
    ----------
    author_id
        Discord user id of the channel message's author; None on the local socket.
    pid
        Process at the other end of the local socket; None in the channel.
    """

    transport: Literal["channel", "local"]
    author_id: int | None = None
    pid: int | None = None
