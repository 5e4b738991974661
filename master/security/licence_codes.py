"""Licence codes, as people type them: ``FM1-XXXXX-...`` in Crockford base32, with a truncated HMAC.

Layout before encoding, 25 bytes: version (1), nothing (1), random id (8), first expiry in hours since the Unix epoch
(3; 0 for never), HMAC-SHA256 over these, truncated to 96 bits (12). Tier and end are as the ledger has them: the second
byte is 0; in older codes, where it was the tier's place in the config then, it is not looked at.
Crockford's alphabet omits I, L, O and U; a look-alike letter is decoded as the digit it resembles:
https://www.crockford.com/base32.html
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from handshake.redaction import Secret
from master.security.derivation import MasterSecret
from master.security.errors import InvalidLicenceCode

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PREFIX = "FM1"
_BODY_BYTES = 13
_MAC_BYTES = 12
_CHARACTERS = (_BODY_BYTES + _MAC_BYTES) * 8 // 5
_GROUP = 5
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LicenceCode:
    """A new code; ``text`` is shown to the person."""

    licence_id: str
    text: Secret[str]


@dataclass(frozen=True, slots=True)
class ParsedCode:
    """The contents of a valid code."""

    licence_id: str
    expires_at: datetime | None
    """When it was to end as it was issued; a licence that was renewed ends later."""


class LicenceCodes:
    """Issues and checks codes, with keys derived from MASTER_SECRET."""

    def __init__(self, secret: MasterSecret) -> None:
        self._mac_key = secret.derive("licence")
        self._hash_key = secret.derive("licence-hash")

    def issue(self, *, expires_at: datetime | None) -> LicenceCode:
        """Make a code; it expires on the full hour at or after ``expires_at``."""
        identity = secrets.token_bytes(8)
        hours = 0 if expires_at is None else -int(-expires_at.timestamp() // 3600)
        body = bytes([_VERSION, 0]) + identity + hours.to_bytes(3, "big")
        text = _encode(body + self._mac(body))
        groups = [text[start : start + _GROUP] for start in range(0, len(text), _GROUP)]
        return LicenceCode(identity.hex(), Secret("-".join([_PREFIX, *groups])))

    def parse(self, text: str) -> ParsedCode:
        """Parse a code, tolerating case, blanks, hyphens and look-alike characters.

        Raises
        ------
        InvalidLicenceCode
            It is not a code, or its HMAC does not match: a typing error or a forgery.
        """
        raw = _decode(_normalise(text))
        body, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)) or body[0] != _VERSION:
            raise InvalidLicenceCode(
                "the licence code was not issued here",
                hint="type it again exactly as it was shown",
            )
        hours = int.from_bytes(body[10:13], "big")
        expires_at = datetime.fromtimestamp(hours * 3600, UTC) if hours else None
        return ParsedCode(body[2:10].hex(), expires_at)

    def hash(self, text: str) -> bytes:
        """Return the keyed hash that the ledger stores instead of the code."""
        return hmac.digest(self._hash_key, _normalise(text).encode(), "sha256")

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._mac_key, body, "sha256")[:_MAC_BYTES]


def _normalise(text: str) -> str:
    if len(text) > 100:
        raise InvalidLicenceCode("that is too long for a licence code", hint="enter only the code")
    plain = text.upper().translate(_LOOKALIKES)
    plain = plain.removeprefix(_PREFIX.translate(_LOOKALIKES))
    if len(plain) != _CHARACTERS or any(character not in _VALUES for character in plain):
        raise InvalidLicenceCode(
            "that does not look like a licence code",
            hint=f"it has {_CHARACTERS // _GROUP} groups of {_GROUP} characters after {_PREFIX}",
        )
    return plain


def _encode(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(len(raw) * 8 - 5, -5, -5))


def _decode(plain: str) -> bytes:
    number = 0
    for character in plain:
        number = number << 5 | _VALUES[character]
    return number.to_bytes(_BODY_BYTES + _MAC_BYTES, "big")
