"""Validation of names, tags and folders of nodes. A clone's name is its folder, so it must not leave BOTS_BASE_PATH."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from master.configuration.reading import PathRefused, expanded, resolved
from master.services.core.errors import FolderRefused, NameRefused, TagRefused

MAX_NAME_LENGTH = 40
MAX_FOLDER_LENGTH = 255
"""As wide as the ledger's column."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
MAX_TAGS, MAX_TAG_LENGTH = 10, 32
"""The ledger holds them in one column of 400 characters, separated by commas."""
_TAG = re.compile(rf"[^\W_][\w.:-]{{0,{MAX_TAG_LENGTH - 1}}}")
_TAG_RULE = (
    f"at most {MAX_TAGS} tags of 1 to {MAX_TAG_LENGTH} letters, digits, hyphens, underscores, dots or colons, "
    "beginning with a letter or a digit"
)
_RESERVED = frozenset({"all", "master", "template", "fleet"})
_RULE = f"use 1 to {MAX_NAME_LENGTH} letters, digits, hyphens or underscores, beginning with a letter or a digit"


def check_name(name: str) -> str:
    """Return ``name`` if it is valid for a node.

    Raises
    ------
    NameRefused
        The message says what is wrong; the hint is the rule.
    """
    shown = name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "…"
    if not name:
        raise NameRefused("the name is empty", hint=_RULE)
    if len(name) > MAX_NAME_LENGTH:
        raise NameRefused(f"the name {shown!r} is {len(name)} characters long", hint=_RULE)
    if "/" in name or "\\" in name or ".." in name:
        raise NameRefused(f"the name {shown!r} would leave the folder of the bots", hint=_RULE)
    if not _NAME.fullmatch(name):
        wrong = next((c for c in name if not (c.isascii() and (c.isalnum() or c in "-_"))), name[0])
        raise NameRefused(f"the name {shown!r} may not contain or begin with {wrong!r}", hint=_RULE)
    if name.casefold() in _RESERVED:
        raise NameRefused(f"the name {shown!r} is a word of the command line", hint="choose another")
    return name


def check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``tags`` if the ledger can hold them.

    Raises
    ------
    TagRefused
        The message says what is wrong; the hint is the rule.
    """
    if len(tags) > MAX_TAGS:
        raise TagRefused(f"{len(tags)} tags are too many", hint=_TAG_RULE)
    for tag in tags:
        if not _TAG.fullmatch(tag):
            shown = tag if len(tag) <= MAX_TAG_LENGTH else tag[:MAX_TAG_LENGTH] + "…"
            raise TagRefused(f"the tag {shown!r} is not valid", hint=_TAG_RULE)
    return tuple(dict.fromkeys(tags))


def folder_below(base: Path, folder: str) -> Path:
    """Resolve ``folder``, with symbolic links, and check that it is directly below ``base``.

    Raises
    ------
    FolderRefused
        The folder is not directly below ``base``.
    """
    try:
        candidate = resolved(base / folder)
    except PathRefused as error:
        raise FolderRefused(error.message, hint="name a folder below BOTS_BASE_PATH") from error
    if candidate.parent != base.resolve() or not folder or folder.startswith("."):
        raise FolderRefused(
            f"the folder {folder!r} is not directly below BOTS_BASE_PATH",
            hint=f"give the name of a folder inside {base}, or a whole path",
        )
    return candidate


def place_of(base: Path, folder: str, private: Sequence[Path], secret: Sequence[Path]) -> tuple[Path, str]:
    """Return the folder that is meant, and how the ledger names it: by its name below ``base``, or else its path.

    Parameters
    ----------
    folder
        A name below ``base``, or an absolute path.
    private
        The fleet's own folders and files: a node's folder does not hold them.
    secret
        Those of them that a node's folder is not a part of, either.

    Raises
    ------
    FolderRefused
    """
    if not folder.startswith(("/", "~")):
        found = folder_below(base, folder)
        return found, found.name
    try:
        found = resolved(expanded(folder))
    except PathRefused as error:
        raise FolderRefused(error.message, hint=error.hint) from error
    if len(str(found)) > MAX_FOLDER_LENGTH:
        raise FolderRefused(f"{folder[:60]!r} is a longer path than the ledger holds", hint="move it")
    if any(Path(os.path.realpath(own)).is_relative_to(found) for own in private):
        raise FolderRefused(
            f"{found} holds the fleet's own files, which a node could read and change",
            hint="give the folder of the program itself",
        )
    if any(found.is_relative_to(os.path.realpath(own)) for own in secret):
        raise FolderRefused(
            f"{found} is the fleet's own, and a node could read and change it", hint="move the program elsewhere"
        )
    return found, found.name if found.parent == base.resolve() else str(found)
