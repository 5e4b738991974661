"""The node's identity: the data inherited from the master, read once per process."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from handshake.boot import BootDocument, read_boot
from handshake.manifest import MANIFEST_NAME, NodeManifest, read_manifest
from nodekit.endpoints import apply_endpoints
from nodekit.gateway_session import GatewaySession, inherited_session
from nodekit.identify_budget import IdentifyBudget, inherited_budget


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """A supervised node.

    Parameters
    ----------
    session
        The gateway session file for its successor; None: not kept.
    identifies
        The IDENTIFY budget; None: not counted.
    """

    boot: BootDocument
    manifest: NodeManifest
    folder: Path
    session: GatewaySession | None = field(default=None, repr=False)
    identifies: IdentifyBudget | None = field(default=None, repr=False)

    @property
    def version(self) -> str:
        """What the file ``VERSION`` in its folder says; empty without one."""
        return version_of(self.folder)


_inherited: NodeIdentity | None = None


def inherited_identity() -> NodeIdentity | None:
    """Return the identity inherited from a master; None if no master started this process.

    The first call reads the descriptors and points discord.py at the Discord that the fleet uses.

    Raises
    ------
    HandshakeError
        The boot document or the manifest cannot be read.
    """
    global _inherited
    if _inherited is None:
        boot = read_boot(os.environ)
        # None is not cached: the zygote calls this in its warm-up, and its nodes would inherit the cached value.
        if boot is None:
            return None
        apply_endpoints(boot.api_base, boot.gateway_url)
        folder = node_folder()
        _inherited = NodeIdentity(
            boot=boot,
            manifest=read_manifest(folder),
            folder=folder,
            session=inherited_session(os.environ),
            identifies=inherited_budget(os.environ),
        )
    return _inherited


def node_folder() -> Path:
    """Return the node's folder: the working directory at its start, even if the program has changed it since."""
    here, program = Path.cwd(), program_folder()
    return here if (here / MANIFEST_NAME).exists() or not (program / MANIFEST_NAME).exists() else program


def program_folder() -> Path:
    """Return the folder of the program that this process runs."""
    entry = getattr(sys.modules["__main__"], "__file__", None)
    return Path(entry).resolve().parent if entry else Path.cwd()


def version_of(folder: Path) -> str:
    """Return what the file ``VERSION`` in a folder says; empty without one."""
    try:
        return (folder / "VERSION").read_text("utf-8").strip()[:100]
    except (OSError, UnicodeDecodeError):
        return ""
