"""VERIFY_CHANNEL: a message is the JWS in a code block. Text only; the caller posts it to Discord."""

from __future__ import annotations

import re

from handshake.errors import TransportError
from handshake.messages import MAX_CHANNEL_CHARACTERS

_BLOCK = re.compile(r"(?:<@\d{1,20}>)?```\n([A-Za-z0-9_.-]{1,1990})\n```", re.ASCII)


def wrap(text: str, *, to_user_id: int | None = None) -> str:
    """Put a signed message into a code block.

    Parameters
    ----------
    to_user_id
        The bot that has to read it, which is mentioned: without the privileged intent MESSAGE_CONTENT a bot sees the
        content of such messages only. https://discord.com/developers/docs/events/gateway#message-content-intent

    Raises
    ------
    TransportError
        It does not fit one Discord message.
    """
    mention = "" if to_user_id is None else f"<@{to_user_id}>"
    if len(text) + len(mention) > MAX_CHANNEL_CHARACTERS:
        raise TransportError(f"{len(text)} characters do not fit one Discord message")
    return f"{mention}```\n{text}\n```"


def unwrap(content: str) -> str | None:
    """Return the signed message in a channel message; None when it contains anything else."""
    match = _BLOCK.fullmatch(content.strip()) if len(content) <= 2_000 else None
    return None if match is None else match[1]
