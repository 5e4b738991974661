"""The solutions that there are: those that come with Fleetmaster, and the operator's own."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from master.services.healing.matching import Matcher
from master.services.healing.solution import Solution

SHIPPED = Path(__file__).resolve().parents[3] / "solutions"
"""The folder of those that come with Fleetmaster."""


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is no solution, and why."""

    path: str
    line: int
    """0 if it is not known."""
    reason: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One solution, and where it is from."""

    solution: Solution
    content: str
    """The file's text."""
    is_shipped: bool
    path: str

    @property
    def content_hash(self) -> str:
        """Return 16 hex digits that change with the file's text."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


class SolutionLibrary:
    """Load solutions; the operator's take the place of shipped ones with the same id. Loading blocks.

    Parameters
    ----------
    own
        The operator's folder, which need not exist.
    """

    def __init__(self, own: Path, shipped: Path = SHIPPED) -> None:
        self._own, self._shipped = own, shipped
        self.entries: Mapping[str, Entry] = {}
        self.refused: tuple[RefusedFile, ...] = ()
        self.matcher = Matcher()
        """Of all solutions that there are, whether they may act or not."""
        self._followers = list[Callable[[], None]]()

    def follow(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after solutions were loaded anew."""
        self._followers.append(changed)

    def load(self) -> None:
        """Read both folders; a file that is wrong is refused alone."""
        entries, refused = dict[str, Entry](), list[RefusedFile]()
        for folder, is_shipped in ((self._shipped, True), (self._own, False)):
            for path in sorted(folder.glob("*.toml")):
                try:
                    content = path.read_text("utf-8")
                    solution = msgspec.convert(tomllib.loads(content), Solution)
                except (OSError, ValueError, msgspec.ValidationError) as error:
                    refused.append(RefusedFile(path=str(path), line=0, reason=str(error)))
                    continue
                entries[solution.id] = Entry(solution=solution, content=content, is_shipped=is_shipped, path=str(path))
        self.entries, self.refused = entries, tuple(refused)
        self.matcher = Matcher(entry.solution for entry in entries.values())
        for changed in self._followers:
            changed()
