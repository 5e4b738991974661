"""Whose folder a path lies in, by its text alone: nothing is opened, and no link is followed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

MAX_PATH = 4_096


class PathRefused(ValueError):
    """The text is no plain absolute path."""


def steps_of(path: str) -> tuple[str, ...]:
    """Return the steps of an absolute path out of foreign text.

    Raises
    ------
    PathRefused
        It is relative, too long, leads up again, or has characters that no path in a traceback has.
    """
    if len(path) > MAX_PATH:
        raise PathRefused("the path is too long")
    if not path.isprintable():
        raise PathRefused("the path has characters that cannot be printed")
    if not path.startswith("/"):
        raise PathRefused("the path is not absolute")
    steps = tuple(step for step in path.split("/") if step not in ("", "."))
    if ".." in steps:
        # Where it leads depends on links, which would have to be followed.
        raise PathRefused("the path leads up again (..)")
    return steps


def owners_of(path: str, folders: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the ids of the nodes whose folder holds a path: those of the innermost folder, none if there is none.

    Parameters
    ----------
    folders
        Node ids with the absolute path of a folder; one node may have several.

    Raises
    ------
    PathRefused
    """
    steps = steps_of(path)
    found: dict[int, set[str]] = {}
    for node_id, folder in folders:
        own = tuple(step for step in posixpath.normpath(folder).split("/") if step)
        if own and steps[: len(own)] == own:
            found.setdefault(len(own), set()).add(node_id)
    return frozenset(found[max(found)]) if found else frozenset()
