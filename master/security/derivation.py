"""Every key that the master uses is derived from MASTER_SECRET; the secret itself signs and encrypts nothing."""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from handshake.redaction import Secret
from handshake.signing import NodeKey
from master.security.errors import SecretRefused

MIN_SECRET_BYTES = 32
_SALT = b"fleetmaster/1"
_KEY_BYTES = 32
_FIX = "run `fleet init`, which makes a good one and keeps it in .env"


def new_master_secret() -> str:
    """Make a MASTER_SECRET: 48 random bytes as URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()


def check_master_secret(text: str) -> bytes:
    """Decode MASTER_SECRET.

    Raises
    ------
    SecretRefused
        It is empty, too short, not base64, or plainly not random.
    """
    if not text:
        raise SecretRefused("MASTER_SECRET is not set", hint=_FIX)
    try:
        secret = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SecretRefused("MASTER_SECRET is not URL-safe base64", hint=_FIX) from None
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretRefused(f"MASTER_SECRET has {len(secret)} bytes, and needs {MIN_SECRET_BYTES} or more", hint=_FIX)
    # Random bytes repeat little: 32 of them hold about 30 distinct values. An example or a pattern holds few.
    if len(set(secret)) < 16:
        raise SecretRefused("MASTER_SECRET is not random", hint=_FIX)
    return secret


class MasterSecret:
    """Derive keys from the secret (HKDF-SHA256, RFC 5869).

    Parameters
    ----------
    secret
        32 random bytes or more.
    """

    def __init__(self, secret: Secret[bytes]) -> None:
        self._secret = secret

    def derive_node_key(self, node_id: str, epoch: int) -> NodeKey:
        """Derive a node's signing key; raising the epoch makes every earlier key worthless."""
        return NodeKey(node_id, epoch, Secret(self._derive(f"node|{node_id}|{epoch}")))

    def derive(self, purpose: str) -> bytes:
        """Derive the 32-byte key for one purpose of the master's own, such as ``vault``."""
        return self._derive(f"master|{purpose}")

    def _derive(self, info: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=_SALT, info=info.encode()).derive(self._secret.reveal())
