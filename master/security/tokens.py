"""The format of Discord bot tokens, checked offline."""

from __future__ import annotations

import base64
import binascii
import re

from master.security.errors import TokenFormatError

# base64url of the bot's user id, a timestamp, an HMAC: https://discord.com/developers/docs/reference#authentication
_TOKEN = re.compile(r"([A-Za-z0-9_-]{18,36})\.([A-Za-z0-9_-]{5,10})\.([A-Za-z0-9_-]{20,80})", re.ASCII)
_HINT = "copy it from the Bot page of the application in Discord's developer portal (Reset Token shows it once)"


def check_token_format(token: str) -> int:
    """Return the Discord user id that a bot token begins with.

    Raises
    ------
    TokenFormatError
        It cannot be a bot token. The error does not quote it.
    """
    if not token.strip():
        raise TokenFormatError("the token is empty", hint=_HINT)
    if token != token.strip() or " " in token:
        raise TokenFormatError("the token contains blanks", hint=_HINT)
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TokenFormatError(
            f"the text ({len(token)} characters) does not have the three parts of a bot token",
            hint=_HINT,
        )
    try:
        decoded = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    if not (decoded.isdecimal() and 15 <= len(decoded) <= 20):
        raise TokenFormatError("the first part of the token is not a bot's id", hint=_HINT)
    return int(decoded)
