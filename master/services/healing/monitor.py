"""The error monitor: takes everything that is seen of errors, groups it, and says which solutions know it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from master.services.healing.library import SolutionLibrary
from master.services.healing.matching import Match
from master.services.healing.sighting import Sighting

log = logging.getLogger(__name__)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Solutions that know what was seen."""

    sighting: Sighting
    matches: tuple[Match, ...]
    """In no order; one solution may be there for several lines."""


class ErrorMonitor:
    """Match what is seen.

    Parameters
    ----------
    library
        The solutions.
    """

    def __init__(self, library: SolutionLibrary) -> None:
        self._library = library
        self._followers = list[Callable[[Finding], None]]()

    def follow(self, found: Callable[[Finding], None]) -> None:
        """Call ``found``, which must not block, with each finding."""
        self._followers.append(found)

    def take(self, sighting: Sighting) -> None:
        """Match something small that was seen."""
        matches = self._library.matcher.scan(sighting.seen_in, sighting.text.encode("utf-8", "replace"))
        self.take_matched(sighting, matches)

    def take_matched(self, sighting: Sighting, matches: list[Match]) -> None:
        """Take something whose lines were matched already, in another thread."""
        if matches:
            finding = Finding(sighting=sighting, matches=tuple(matches))
            for found in self._followers:
                found(finding)
