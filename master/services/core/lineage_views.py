"""Views of lineage: how a node came to be what it is."""

from __future__ import annotations

from typing import Literal

import msgspec

Signature = Literal["holds", "does not hold"]


class GenerationView(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was at one time."""

    id: str
    generation: int
    at: float
    """Unix seconds."""
    cause: str
    """registered, cloned, patched, rolled_back, edited, restored."""
    what: str = ""
    """``ranks 3``, ``template 1.4``, ``generation 2``."""
    actor: str = ""
    detail: str = ""
    release: int = 0
    """Of the node's folder; 0: as it was before any patch."""
    files: int = 0
    changed: tuple[str, ...] = ()
    """Files of code that differ from the generation before: ``+new.py``, ``-gone.py``, ``~changed.py``."""
    depends_on: tuple[str, ...] = ()
    permissions: dict[str, str] = {}
    signature: Signature = "holds"
    trouble: str = ""
    """Why the signature does not hold."""


class LineageView(msgspec.Struct, frozen=True, kw_only=True):
    """How a node came to be what it is, the oldest first."""

    node: str
    node_id: str
    generations: tuple[GenerationView, ...] = ()
    ancestors: tuple[str, ...] = ()
    """Of a clone: what it was cloned from, and what that came from, the nearest first."""
    missing: tuple[int, ...] = ()
    """Generations that ought to be there and are not."""


class RestoredView(msgspec.Struct, frozen=True, kw_only=True):
    """What a node was is in force again."""

    node: str
    generation: int
    """The one that this made."""
    restored: int
    """The one that was asked for."""
    release: int
    restarted: bool
    differs: tuple[str, ...] = ()
    """Files of code that are not what they were: edited by hand, outside of any patch."""
