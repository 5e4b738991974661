"""An author of patches on the stage: a key that is made for the occasion, and signed bundles. The functions block."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from handshake.patch_bundle import RawBundle, pack
from handshake.patch_document import NAMESPACE, SUFFIX, PatchDocument, PatchedFile, RemovedFile
from master.control.client import ControlClient
from master.operations import patch_keys
from master.operations.parameters import PatchKeyAddParams
from master.services.patches import sshsig
from master.services.patches.ssh_public_keys import public_half

_DAY_S = 86_400


class Author:
    """Somebody whose patches a fleet may trust.

    Parameters
    ----------
    folder
        Where the bundles are written to.
    """

    def __init__(self, folder: Path, name: str = "ada") -> None:
        self._folder = folder
        self._key = Ed25519PrivateKey.generate()
        self.name = name

    def is_trusted_by(self, client: ControlClient) -> None:
        """Have a master accept this author's patches."""
        line = public_half(self._key).line
        client.run(patch_keys.add, PatchKeyAddParams(line=f"{line} {self.name}", name=self.name))

    def write(
        self,
        base: Path,
        changes: Mapping[str, str | None],
        *,
        name: str,
        version: int,
        **more: Any,
    ) -> Path:
        """Write a signed bundle, and return its path.

        Parameters
        ----------
        base
            The folder of a bot as it is without the patch.
        changes
            Texts by path; None takes a file away.
        more
            Further fields of the document, such as ``reload``.
        """
        written = {path: text.encode() for path, text in changes.items() if text is not None}
        archive = _archive(written)
        now = int(time.time())
        document = PatchDocument(
            name=name,
            version=version,
            created=now,
            author=self.name,
            files=tuple(
                PatchedFile(path=path, sha256=_digest(content), length=len(content), base=_digest_of(base / path))
                for path, content in written.items()
            ),
            removed=tuple(
                RemovedFile(path=path, base=_digest((base / path).read_bytes()))
                for path, text in changes.items()
                if text is None
            ),
            archive_sha256=_digest(archive),
            archive_bytes=len(archive),
            **{"expires": now + _DAY_S, **more},
        )
        encoded = msgspec.json.encode(document)
        path = self._folder / f"{name}-{version}{SUFFIX}"
        path.write_bytes(pack(RawBundle(encoded, sshsig.sign(self._key, encoded, NAMESPACE), archive)))
        return path

    def sign_again(self, raw: RawBundle, name: str) -> Path:
        """Write somebody's bundle with a signature of this author, and return its path."""
        path = self._folder / f"{name}{SUFFIX}"
        path.write_bytes(pack(RawBundle(raw.document, sshsig.sign(self._key, raw.document, NAMESPACE), raw.archive)))
        return path


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str | None:
    return _digest(path.read_bytes()) if path.exists() else None
