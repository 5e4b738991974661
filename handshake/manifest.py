"""``node.json`` in a node's folder: the node's identity and its licence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from handshake.errors import ManifestError
from handshake.files import open_regular, read_regular

MANIFEST_NAME = "node.json"
DEFAULT_TOKEN_VARIABLE = "DISCORD_TOKEN"  # noqa: S105 - a name
_MAX_BYTES = 16_384

__all__ = [
    "DEFAULT_TOKEN_VARIABLE",
    "MANIFEST_NAME",
    "ManifestError",
    "NodeManifest",
    "read_manifest",
    "write_manifest",
]


class NodeManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a node's ``node.json``."""

    version: Literal[1] = 1
    node_id: str
    name: str
    licence: str
    template_version: str = ""
    entry: str = "bot.py"
    created_at: str = ""
    """ISO 8601, UTC."""
    tags: tuple[str, ...] = ()
    token_variable: str = ""
    """For a linked program: the environment variable in which it reads its token. Empty for all others."""

    def __repr__(self) -> str:
        return f"NodeManifest(node_id={self.node_id!r}, name={self.name!r}, licence=...)"


def read_manifest(folder: Path) -> NodeManifest:
    """Read the manifest of a node's folder.

    Raises
    ------
    ManifestError
        It is missing, too long, or invalid.
    """
    path = folder / MANIFEST_NAME
    try:
        payload = read_regular(path, _MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(
            f"{path}: {error.strerror}; register the folder with `fleet register`, which writes it"
        ) from error
    if len(payload) > _MAX_BYTES:
        raise ManifestError(f"{path}: longer than {_MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(payload, type=NodeManifest)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"{path}: {error}") from error


def write_manifest(folder: Path, manifest: NodeManifest) -> None:
    """Write the manifest atomically and durably, readable by its owner only.

    Raises
    ------
    OSError
    """
    temporary = folder / f".{MANIFEST_NAME}.new"
    # What somebody put there is removed, not opened.
    temporary.unlink(missing_ok=True)
    descriptor = open_regular(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder / MANIFEST_NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
