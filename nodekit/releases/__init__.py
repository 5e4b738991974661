"""Releases on disk: what patches changed in a node's folder, put in force and taken back atomically.

Standard library and msgspec only. Nodes use it, and the master through ``python -m nodekit.releases`` for programs that
do not speak the protocol. docs/releases.md has the layout.
"""

from nodekit.releases.errors import (
    BaseDiffers,
    HalfChanged,
    NoRoom,
    NoSuchRelease,
    NotNow,
    ReleaseDamaged,
    ReleaseError,
    UnsafeFolder,
)
from nodekit.releases.records import Outcome, Release, ReleaseState, Settled
from nodekit.releases.releases import Releases

__all__ = [
    "BaseDiffers",
    "HalfChanged",
    "NoRoom",
    "NoSuchRelease",
    "NotNow",
    "Outcome",
    "Release",
    "ReleaseDamaged",
    "ReleaseError",
    "ReleaseState",
    "Releases",
    "Settled",
    "UnsafeFolder",
]
