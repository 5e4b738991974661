"""What is written about releases in a node's folder, and what is told of them.

The node's own code can write there too: what is read is checked, field by field, as if a stranger had written it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from handshake.patch_document import MAX_FILES, MAX_UNPACKED_BYTES, Digest, RelativePath

FOLDER = ".releases"
"""In the node's folder."""
MAX_NUMBER = 1_000_000
_MAX_SQUASHED = 20 * MAX_FILES
_MAX_KEPT = 100

Number = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Word = Annotated[str, Meta(max_length=200)]
Mode = Annotated[int, Meta(ge=0, le=0o777)]


class ReleaseState(StrEnum):
    """What is known of a release."""

    STAGED = "staged"
    """It is on disk, and was never in force."""
    TRIAL = "trial"
    """It was put in force, and nobody has said yet that it is good."""
    GOOD = "good"
    BAD = "bad"
    """It was on trial, and taken back."""


class Side(StrEnum):
    """What a release changed: the content before it, and its own."""

    OLD = "old"
    NEW = "new"

    @property
    def other(self) -> Side:
        """Return the other side."""
        return Side.NEW if self is Side.OLD else Side.OLD


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base class of all records."""


class Version(_Record, frozen=True, kw_only=True):
    """A file as it is on one side."""

    sha256: Digest
    length: Annotated[int, Meta(ge=0, le=MAX_UNPACKED_BYTES)]
    mode: Mode


class Change(_Record, frozen=True, kw_only=True):
    """A file that a release changed."""

    path: RelativePath
    old: Version | None = None
    """None: there was none."""
    new: Version | None = None
    """None: the release takes it away."""

    def on(self, side: Side) -> Version | None:
        """Return the file as it is on one side."""
        return self.old if side is Side.OLD else self.new


class FolderMade(_Record, frozen=True, kw_only=True):
    """A folder that exists on one side only."""

    path: RelativePath
    mode: Mode


class Manifest(_Record, frozen=True, kw_only=True):
    """``.releases/<n>/release.json``: what a release changed in the one before it."""

    format: Literal[1] = 1
    number: Number
    parent: Number
    """The release that it was made on; 0 for the folder before any patch."""
    patch_id: Word
    name: Word
    version: int
    channel: Word = "main"
    at: Annotated[int, Meta(ge=0, le=2**40)]
    """Unix time of its staging."""
    restarts: bool = True
    """Whether it takes effect with the next start; else with the cogs that are reloaded."""
    changes: Annotated[tuple[Change, ...], Meta(max_length=_MAX_SQUASHED)] = ()
    made: Annotated[tuple[FolderMade, ...], Meta(max_length=_MAX_SQUASHED)] = ()
    """Folders that are there with the release, and not without."""
    emptied: Annotated[tuple[FolderMade, ...], Meta(max_length=_MAX_SQUASHED)] = ()
    """Folders that are there without the release, and not with it."""
    packages: Annotated[tuple[Annotated[str, Meta(max_length=1_000)], ...], Meta(max_length=50)] = ()
    """Folders of the packages that it needs."""

    def folders(self, side: Side) -> tuple[FolderMade, ...]:
        """Return the folders that exist on this side only."""
        return self.made if side is Side.NEW else self.emptied


class Standing(_Record, frozen=True, kw_only=True):
    """How a release stands."""

    state: ReleaseState
    began: bool = False
    """Of a trial: whether the node's code has run with it."""


class Index(_Record, frozen=True, kw_only=True):
    """``.releases/current``: the release in force, and how each stands. Replaced as a whole, which is the switch."""

    format: Literal[1] = 1
    current: Number = 0
    last: Number = 0
    """The highest number that was ever given."""
    releases: Annotated[dict[Number, Standing], Meta(max_length=_MAX_KEPT)] = {}

    def with_standing(self, number: int, standing: Standing, *, current: int | None = None) -> Index:
        """Return the index with another standing of one release, and perhaps another release in force."""
        releases = {**self.releases, number: standing}
        return msgspec.structs.replace(self, releases=releases, current=self.current if current is None else current)


class Journal(_Record, frozen=True, kw_only=True):
    """``.releases/journal``: there while files are being changed; who finds it finishes, or undoes, what it says."""

    format: Literal[1] = 1
    release: Number
    direction: Literal["switch", "back"]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is kept."""

    number: int
    patch_id: str
    """Empty for 0, the folder before any patch."""
    name: str
    version: int
    channel: str
    at: int
    """Unix time."""
    state: ReleaseState
    in_force: bool
    began: bool = True
    parent: int = 0
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class Outcome(StrEnum):
    """What a start found, and did."""

    NOTHING = "nothing"
    """No release is on trial, and nothing was cut off."""
    BEGAN = "began"
    """A release that was switched to since the last start is on trial from now on."""
    ROLLED_BACK = "rolled_back"
    """A release that was on trial was not good, and the one before it is in force again."""
    UNDONE = "undone"
    """A switch had been cut off; the folder is as it was before."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How a folder stands before the node's code is run."""

    outcome: Outcome
    current: int
    """The release in force."""
    patch_id: str = ""
    """Its patch; empty for 0."""
    left: int = 0
    """The release that was rolled back or undone."""
    left_patch_id: str = ""
    edited: tuple[str, ...] = ()
    """Files that somebody had edited since; what they wrote is kept in ``.releases/<left>/edited``."""
    packages: tuple[str, ...] = ()
    """Folders of packages that the release in force and those below it need, the newest first."""
