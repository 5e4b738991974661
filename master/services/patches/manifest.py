"""The signed manifest of a generation: what something was, what it was made of, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import msgspec

from master.ledger.rows.records import Generation
from master.security.derivation import MasterSecret

PURPOSE = "lineage"
"""Of the key, which a rotation of MASTER_SECRET keeps: what was signed stays signed."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is signed."""

    format: Literal[1] = 1
    uid: str
    """Of this generation."""
    kind: str
    subject: str
    name: str = ""
    """Of a node when this was noted."""
    version: str = ""
    generation: int
    parent: str = ""
    """The uid of the generation that it was made of."""
    at: int
    """Unix seconds."""
    cause: str
    actor: str = ""
    detail: str = ""
    origin: str = ""
    """The patch or the generation that caused it, by its id."""
    release: int = 0
    """Of a node's folder."""
    depends_on: tuple[str, ...] = ()
    permissions: dict[str, str] = {}
    files: dict[str, str] = {}
    """SHA-256 by path, of code."""
    left_out: int = 0
    """Files of code that were too many or too large to be listed."""


_MANIFESTS = msgspec.json.Decoder(Manifest)
"""Made when this is imported: two threads that are the first to decode a type end their process (msgspec 0.22)."""


class ManifestSigner:
    """Sign manifests, and tell whether a signature holds."""

    def __init__(self, secret: MasterSecret) -> None:
        self._key = secret.derive(PURPOSE)

    def signed(self, manifest: Manifest, generation: Generation) -> Generation:
        """Return a generation with its manifest and the signature."""
        text = msgspec.json.encode(manifest).decode()
        return msgspec.structs.replace(generation, manifest=text, signature=self._mac(text))

    def trouble(self, generation: Generation) -> str:
        """Return why a generation is not what was signed; empty if it is."""
        if not hmac.compare_digest(self._mac(generation.manifest), generation.signature):
            return "manifest changed, or another MASTER_SECRET"
        found = read_manifest(generation)
        same = (found.uid, found.kind, found.subject, found.generation, found.parent, found.cause, found.at) == (
            generation.id,
            generation.kind,
            generation.subject,
            generation.generation,
            generation.parent,
            generation.cause,
            int(generation.at.timestamp()),
        )
        return "" if same else "the row differs from its manifest"

    def _mac(self, text: str) -> bytes:
        return hmac.new(self._key, text.encode(), hashlib.sha256).digest()


def read_manifest(generation: Generation) -> Manifest:
    """Return a generation's manifest; one that cannot be read is an empty one, whose signature does not hold."""
    try:
        return _MANIFESTS.decode(generation.manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Manifest(
            uid="", kind=generation.kind, subject=generation.subject, generation=0, at=0, cause=generation.cause
        )
