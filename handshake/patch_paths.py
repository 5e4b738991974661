"""Which paths of a node's folder a patch may touch. Runs in nodes too, which read what the master verified."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from handshake.errors import BundleError

NEVER_PATCHED = frozenset({"node.json"})
"""Names that no patch brings or takes away, in whatever folder and case; nor does one a name that begins ``.env``."""
_OURS = (".releases", ".fleet")
"""What folders and files begin with that no patch reaches into."""
_OTHERS = frozenset({".git", "__pycache__"})
MOST_PARTS = 16
MAX_PART_BYTES = 200
"""Of one name; a file system takes 255, and while a file is written its name is longer."""


def check_path(path: str) -> None:
    """Check that a patch may touch a path.

    Raises
    ------
    BundleError
        It leads elsewhere, could be taken for another, or names what no patch may touch.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or str(pure) != path or ".." in pure.parts or path == "." or "\\" in path:
        raise BundleError(f"{path!r} is not a plain path within a node's folder")
    if not path.isprintable():
        raise BundleError(f"{path!r} has characters that cannot be shown")
    if len(pure.parts) > MOST_PARTS or any(len(part.encode()) > MAX_PART_BYTES for part in pure.parts):
        raise BundleError(f"{path!r} is too deep, or a name in it too long")
    if any(part != part.strip() or part.endswith(".") for part in pure.parts):
        raise BundleError(f"{path!r} has a name that begins or ends with a space, or ends with a dot")
    if not path.isascii():
        _check_form(path)
    _check_names(path)


def check_together(paths: Iterable[str]) -> None:
    """Check that paths, of which each is allowed, are different files, on whatever file system and for whatever eye.

    Raises
    ------
    BundleError
        Two are the same but for upper and lower case or look-alikes, or one is a folder of another.
    """
    spellings, files = dict[str, str](), set[str]()
    for path in paths:
        folded = _folded(path)
        if folded in files:
            raise BundleError(f"two of its files have the same name as {path!r}, but for upper and lower case")
        files.add(folded)
        for part in (PurePosixPath(path), *PurePosixPath(path).parents):
            known = spellings.setdefault(_folded(str(part)), str(part))
            if known != str(part):
                raise BundleError(f"{known!r} and {str(part)!r} are the same, but for upper and lower case")
    for path in spellings.values():
        for folder in PurePosixPath(path).parents:
            if _folded(str(folder)) in files:
                raise BundleError(f"{str(folder)!r} is a file, and a folder of {path!r}")


def _check_form(path: str) -> None:
    import unicodedata  # of no use for most paths

    if unicodedata.normalize("NFC", path) != path:
        raise BundleError(f"{path!r} is not written in Unicode's usual form (NFC)")


def _check_names(path: str) -> None:
    for part in _folded(path).split("/"):
        if part in NEVER_PATCHED or part.startswith(".env"):
            raise BundleError(f"{path!r} holds secrets or the node's identity, which no patch touches")
        if part in _OTHERS or part.startswith(_OURS):
            raise BundleError(f"{path!r} is in a folder that no patch reaches into")


def _folded(path: str) -> str:
    """Return a path as it is compared: without case, and with letters that stand for others (a wide dot) replaced."""
    if path.isascii():
        return path.lower()
    import unicodedata

    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
