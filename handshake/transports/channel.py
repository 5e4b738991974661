"""VERIFY_CHANNEL: a message is the JWS in a code block. Text only; the caller posts it to Discord."""

from __future__ import annotations

import re

from handshake.errors import TransportError
from handshake.messages import MAX_CHANNEL_CHARACTERS

_BLOCK = re.compile(r"```\n([A-Za-z0-9_.-]{1,1990})\n```", re.ASCII)


def wrap(text: str) -> str:
    """Put a signed message into a code block.

    Raises
    ------
    TransportError
        It does not fit one Discord message.
    """
    if len(text) > MAX_CHANNEL_CHARACTERS:
        raise TransportError(f"{len(text)} characters do not fit one Discord message")
    return f"```\n{text}\n```"


def unwrap(content: str) -> str | None:
    """Return the signed message in a channel message; None when it contains anything else."""
    match = _BLOCK.fullmatch(content.strip()) if len(content) <= 2_000 else None
    return None if match is None else match[1]
