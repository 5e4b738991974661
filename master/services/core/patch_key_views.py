"""Views of authors' keys. Imports nothing heavy: the command line decodes them without loading the master."""

from __future__ import annotations

import msgspec


class DeployedPatch(msgspec.Struct, frozen=True, kw_only=True):
    """A patch that is in force on nodes."""

    id: str
    name: str
    version: int
    nodes: tuple[str, ...]


class PatchKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An author's key; times in Unix seconds."""

    id: str
    """As ``ssh-keygen -l`` prints it."""
    name: str
    kind: str
    public: str
    """As in authorized_keys, without a comment."""
    added_at: float
    added_by: str
    is_trusted: bool
    """Whether patches that are signed with it are accepted."""
    revoked_at: float | None = None
    revoked_by: str = ""
    why: str = ""
    versions: dict[str, int] = {}
    """The highest version that was accepted of it, by channel."""
    deployed: tuple[DeployedPatch, ...] = ()
    """What is in force of it."""


class PatchKeysView(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of all authors."""

    fleet_id: str
    """An author can make a patch for this fleet alone."""
    keys: tuple[PatchKeyView, ...] = ()
