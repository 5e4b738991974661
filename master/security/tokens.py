"""Discord bot tokens, as far as they can be looked at offline.

Whether a token is good only the server says. Discord's own have a shape, which is a hint for a person who pasted the
wrong thing; other servers that speak Discord's API give tokens of another shape.
"""

from __future__ import annotations

import base64
import binascii
import re

from master.security.errors import TokenFormatError

MAX_TOKEN_CHARACTERS = 480
"""What the ledger's column holds, sealed."""

# base64url of the bot's user id, a timestamp, an HMAC: https://discord.com/developers/docs/reference#authentication
_DISCORDS = re.compile(r"([A-Za-z0-9_-]{18,36})\.([A-Za-z0-9_-]{5,10})\.([A-Za-z0-9_-]{20,80})", re.ASCII)
_WITHIN_TEXT = re.compile(r"(?<![\w-])[\w-]{18,36}\.[\w-]{5,10}\.[\w-]{20,80}", re.ASCII)
# What an HTTP header can carry: https://www.rfc-editor.org/rfc/rfc9110#section-5.5, without blanks.
_SENDABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_HINT = "copy it from the Bot page of the application in Discord's developer portal (Reset Token shows it once)"


def check_token_text(token: str) -> None:
    """Check that a token can be sent and kept at all.

    Raises
    ------
    TokenFormatError
        It is empty, too long, or contains what no HTTP header can carry. The error does not quote it.
    """
    if not token.strip():
        raise TokenFormatError("the token is empty", hint=_HINT)
    if re.search(r"\s", token):
        raise TokenFormatError("the token contains blanks", hint=_HINT)
    if not _SENDABLE.fullmatch(token):
        raise TokenFormatError("the token contains characters that no token has", hint=_HINT)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise TokenFormatError(
            f"the token is too long: {len(token)} characters, at most {MAX_TOKEN_CHARACTERS}", hint=_HINT
        )


def claimed_user_id(token: str) -> int | None:
    """Return the user id that a token of Discord's shape begins with; None for any other shape."""
    match = _DISCORDS.fullmatch(token)
    if match is None:
        return None
    try:
        decoded = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return int(decoded) if decoded.isdecimal() and 15 <= len(decoded) <= 20 else None


def hide_tokens(text: str) -> str:
    """Return text in which what is a token of Discord's shape is replaced by whose it is."""
    return _WITHIN_TEXT.sub(_named, text) if text.count(".") >= 2 else text


def _named(found: re.Match[str]) -> str:
    user_id = claimed_user_id(found[0])
    return found[0] if user_id is None else f"[token of {user_id}]"


def shape_hint(token: str) -> str:
    """Return what to say about a token that does not look like one of Discord's; empty for one that does."""
    if claimed_user_id(token) is not None:
        return ""
    return f"it does not look like a token of Discord's, which has three parts and begins with the bot's id: {_HINT}"
