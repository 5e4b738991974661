"""The manifest (``node.json``) of a node that is changed or removed. The functions block; call them in a thread."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from handshake.manifest import MANIFEST_NAME, ManifestError, NodeManifest, read_manifest, write_manifest


def manifest_of(folder: Path, node_id: str) -> NodeManifest | None:
    """Return the manifest in a folder, if it is this node's."""
    try:
        found = read_manifest(folder)
    except ManifestError:
        return None
    return found if found.node_id == node_id else None


def forget_manifest(folder: Path, node_id: str) -> None:
    """Remove the manifest from a folder, if it is this node's.

    Raises
    ------
    OSError
    """
    if manifest_of(folder, node_id) is not None:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)


def change_manifest(folder: Path, node_id: str, **changes: object) -> None:
    """Change the manifest in a folder, if it is this node's.

    Raises
    ------
    OSError
    """
    found = manifest_of(folder, node_id)
    if found is not None and replace(found, **changes) != found:
        write_manifest(folder, replace(found, **changes))
