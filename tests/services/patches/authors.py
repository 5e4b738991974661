"""Authors of patches for tests: their keys, and the bundles that they build and sign."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from handshake.patch_bundle import RawBundle, pack
from handshake.patch_document import NAMESPACE, PatchDocument, PatchedFile
from master.ledger.rows.records import PatchKey
from master.services.patches import sshsig
from master.services.patches.ssh_public_keys import PrivateKey, public_half

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
UNIX = int(NOW.timestamp())
DAY = 86_400


def zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def document_of(files: Mapping[str, bytes], archive: bytes, **fields: Any) -> PatchDocument:
    """Return a document that brings these files."""
    given: dict[str, Any] = {
        "name": "ranks",
        "version": 1,
        "created": UNIX - DAY,
        "expires": UNIX + 30 * DAY,
        "files": tuple(
            PatchedFile(path=path, sha256=hashlib.sha256(text).hexdigest(), length=len(text))
            for path, text in files.items()
        ),
        "reload": ("ranks",),
        "archive_sha256": hashlib.sha256(archive).hexdigest(),
        "archive_bytes": len(archive),
    }
    return PatchDocument(**{**given, **fields})


@dataclass
class Author:
    """Somebody with a key."""

    name: str = "ada"
    private: PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def key(self, **fields: Any) -> PatchKey:
        public = public_half(self.private)
        record = PatchKey(
            id=public.id, name=self.name, kind=public.kind, public=public.line, added_at=NOW, added_by="cli:root"
        )
        return msgspec.structs.replace(record, **fields)

    def sign(self, document: bytes, archive: bytes, *, namespace: str = NAMESPACE) -> bytes:
        return pack(RawBundle(document, sshsig.sign(self.private, document, namespace), archive))

    def bundle(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        change: Callable[[bytes], bytes] = bytes,
        archive: bytes | None = None,
        **fields: Any,
    ) -> bytes:
        """Return a signed bundle; ``change`` alters the document before it is signed."""
        files = {"cogs/ranks.py": b"RANKS = 2\n"} if files is None else files
        archive = zipped(files) if archive is None else archive
        document = msgspec.json.encode(document_of(files, archive, **fields))
        return self.sign(change(document), archive)
