"""Key derivation: every key of the master is derived from MASTER_SECRET, which itself signs and encrypts nothing."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from handshake.redaction import Secret
from handshake.signing import NodeKey
from master.security.errors import SecretRefused

MIN_SECRET_BYTES = 32
_SALT = b"fleetmaster/1"
_KEY_BYTES = 32
_FIX = "run `fleet init`, which generates one and stores it in .env"


def new_master_secret() -> str:
    """Make a MASTER_SECRET: 48 random bytes as URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(48)).decode()


def check_master_secret(text: str) -> bytes:
    """Decode MASTER_SECRET.

    Raises
    ------
    SecretRefused
        It is empty, too short, not base64, or obviously not random.
    """
    if not text:
        raise SecretRefused("MASTER_SECRET is not set", hint=_FIX)
    try:
        secret = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SecretRefused("MASTER_SECRET is not URL-safe base64", hint=_FIX) from None
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretRefused(f"MASTER_SECRET has {len(secret)} bytes, and needs {MIN_SECRET_BYTES} or more", hint=_FIX)
    # 32 random bytes have about 30 distinct values. An example or a pattern has few.
    if len(set(secret)) < 16:
        raise SecretRefused("MASTER_SECRET is not random", hint=_FIX)
    return secret


LASTING_PURPOSES = ("audit", "licence", "licence-hash", "lineage", "giveaway")
"""Purposes whose keys survive a rotation of the secret: the audit log's chain, issued licence codes, manifests, and the
seeds of giveaways, which were committed to before it."""


def encode_kept_keys(keys: Mapping[str, bytes]) -> Secret[str]:
    """Return keys as one value for ``.env``."""
    return Secret(",".join(f"{purpose}:{base64.urlsafe_b64encode(key).decode()}" for purpose, key in keys.items()))


def decode_kept_keys(text: str) -> dict[str, Secret[bytes]]:
    """Decode the value that :func:`encode_kept_keys` returned.

    Raises
    ------
    SecretRefused
        It is damaged.
    """
    found = {}
    for part in filter(None, text.split(",")):
        purpose, _, encoded = part.partition(":")
        try:
            key = base64.b64decode(encoded, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if purpose not in LASTING_PURPOSES or len(key) != _KEY_BYTES:
            raise SecretRefused("MASTER_KEPT_KEYS is damaged", hint="restore .env from your copy of it")
        found[purpose] = Secret(key)
    return found


@dataclass(frozen=True, slots=True)
class IntakeKey:
    """What a node shows to the intake of error reports, and to nothing else."""

    project: int
    """Stands for the node; says nothing of it."""
    text: Secret[str]
    """32 hex digits."""


class MasterSecret:
    """Derives keys from the secret (HKDF-SHA256, RFC 5869).

    Parameters
    ----------
    secret
        32 random bytes or more.
    kept
        Keys by purpose that were derived from an earlier secret and remain in use.
    """

    def __init__(self, secret: Secret[bytes], kept: Mapping[str, Secret[bytes]] | None = None) -> None:
        self._secret = secret
        self._kept = dict(kept or {})

    def derive_node_key(self, node_id: str, epoch: int) -> NodeKey:
        """Derive a node's signing key; raising the epoch invalidates every earlier key."""
        return NodeKey(node_id, epoch, Secret(self._derive(f"node|{node_id}|{epoch}")))

    def derive_intake_key(self, node_id: str, epoch: int) -> IntakeKey:
        """Derive what a node shows to the intake; it says nothing of its signing key, or of another node's."""
        derived = self._derive(f"intake|{node_id}|{epoch}")
        # 48 bits: what a number in JavaScript holds.
        return IntakeKey(int.from_bytes(derived[16:22]), Secret(derived[:16].hex()))

    def derive(self, purpose: str) -> bytes:
        """Derive the master's 32-byte key for one purpose, such as ``vault``."""
        kept = self._kept.get(purpose)
        return kept.reveal() if kept is not None else self._derive(f"master|{purpose}")

    def _derive(self, info: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=_SALT, info=info.encode()).derive(self._secret.reveal())
