"""Errors of releases. Each says what was wrong in one sentence, and has a code that programs can rely on."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import ClassVar


class ReleaseError(Exception):
    """Root of the errors of releases; unless the message says otherwise, the folder is as it was.

    Attributes
    ----------
    message
        What was wrong and where.
    paths
        The files that it is about, from the node's folder on.
    """

    code: ClassVar[str] = "release_failed"

    def __init__(self, message: str, *, paths: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.paths = tuple(paths)


class BaseDiffers(ReleaseError):
    """Files are not those that the patch was made for; ``paths`` names them."""

    code: ClassVar[str] = "base_differs"


class UnsafeFolder(ReleaseError):
    """Something in the folder leads elsewhere, or is no plain file or folder."""

    code: ClassVar[str] = "unsafe_folder"


class ReleaseDamaged(ReleaseError):
    """What is kept in ``.releases`` is not what was put there."""

    code: ClassVar[str] = "release_damaged"


class NoSuchRelease(ReleaseError):
    """No release of that number is kept."""

    code: ClassVar[str] = "no_such_release"


class NotNow(ReleaseError):
    """The release in force is on trial, or somebody else changes the folder at this moment."""

    code: ClassVar[str] = "release_not_now"


class NoRoom(ReleaseError):
    """The disk, or the node's share of it, is full."""

    code: ClassVar[str] = "no_room"


class HalfChanged(ReleaseError):
    """A change failed, and so did taking it back. The next call, or the next start, ends it one way or the other."""

    code: ClassVar[str] = "half_changed"


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "that is not permitted",
    errno.EPERM: "that is not permitted",
    errno.EXDEV: "a part of the folder is on another disk",
}


def is_for_want_of_room(error: BaseException) -> bool:
    """Tell whether something failed because there is no room on the disk."""
    return isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in _NO_ROOM)


def reason_of(error: Exception) -> str:
    """Return what is wrong, in words: of the system's errors with the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    number = error.errno or 0
    reason = _REASONS.get(number, os.strerror(number) if number else str(error))
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def as_release_error(doing: str, error: OSError) -> ReleaseError:
    """Return the system's error as one of ours.

    Parameters
    ----------
    doing
        What was tried, as the beginning of a sentence: ``"release 3 cannot be staged"``.
    """
    kind = NoRoom if is_for_want_of_room(error) else ReleaseError
    return kind(f"{doing}: {reason_of(error)}")
