"""Secrets at rest: AES-GCM with the id of what they belong to as associated data, so that rows cannot be swapped."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from handshake.redaction import Secret
from master.security.derivation import MasterSecret
from master.security.errors import VaultError

_VERSION = b"\x01"
_NONCE_BYTES = 12


class TokenVault:
    """Encrypts and decrypts bot tokens with a key derived from MASTER_SECRET."""

    def __init__(self, secret: MasterSecret) -> None:
        self._cipher = AESGCM(secret.derive("vault"))

    def seal(self, node_id: str, token: Secret[str]) -> bytes:
        """Encrypt a token for one node: version, nonce, ciphertext with its tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, token.reveal().encode(), node_id.encode())

    def unseal(self, node_id: str, sealed: bytes) -> Secret[str]:
        """Decrypt a node's token.

        Raises
        ------
        VaultError
            It was encrypted with another secret or for another node, or it was altered.
        """
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            return Secret(self._cipher.decrypt(nonce, ciphertext, node_id.encode()).decode())
        except (InvalidTag, ValueError):
            raise VaultError(
                f"the token of node {node_id} cannot be decrypted",
                hint="MASTER_SECRET in .env is not the one that this ledger was created with; restore it",
            ) from None


class SeedVault:
    """Encrypts and decrypts the seeds of giveaways, until their draw shows them.

    Its key survives a rotation of MASTER_SECRET: a seed cannot be replaced once its hash is published.
    """

    def __init__(self, secret: MasterSecret) -> None:
        self._cipher = AESGCM(secret.derive("giveaway"))

    def seal(self, giveaway_id: str, seed: bytes) -> bytes:
        """Encrypt a seed for one giveaway: version, nonce, ciphertext with its tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, seed, giveaway_id.encode())

    def unseal(self, giveaway_id: str, sealed: bytes) -> bytes:
        """Decrypt a giveaway's seed.

        Raises
        ------
        VaultError
            It was encrypted with another secret or for another giveaway, or it was altered.
        """
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            return self._cipher.decrypt(nonce, ciphertext, giveaway_id.encode())
        except (InvalidTag, ValueError):
            raise VaultError(
                f"the seed of giveaway {giveaway_id} cannot be decrypted",
                hint="MASTER_SECRET and MASTER_KEPT_KEYS in .env are not those that it was started with; restore them",
            ) from None
