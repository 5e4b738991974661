"""What a disk may hold after the power was cut: whatever was not synced is there, or is not, each by itself.

A folder is recorded before each step that changes it. Names in a folder that were changed since the folder was synced
may be as at any time since then, and so may the content of a file: that is more than a journalling file system loses.
"""

from __future__ import annotations

import os
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path

from nodekit.releases import Releases
from tests.nodekit.releases.cuts import Cuts

_ENDLESS = 64 * 1024
"""From this size on a file is room that is only reserved."""


@dataclass
class Moment:
    """A folder at one time, by the numbers of its inodes."""

    folders: dict[int, tuple[int, dict[str, int]]] = field(default_factory=dict)
    """Permissions, and names."""
    files: dict[int, tuple[int, bytes]] = field(default_factory=dict)


class Recorder:
    """Records a folder before each change of it, and what is certain by then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = list[int]()
        self.root = folder.stat().st_ino
        self.moments = [self._look()]
        self.certain: list[dict[int, int]] = [{}]
        """For each moment: since which one an inode is on disk for certain."""
        self._begun: int | None = None

    def __call__(self, action: str, path: str) -> None:
        self._end_step()
        if action in ("sync", "sync folder"):
            self._begun = self._inode_of(action, path)

    def end(self) -> None:
        self._end_step()
        for descriptor in self._held:
            os.close(descriptor)

    def _end_step(self) -> None:
        """Record how the step before ended."""
        certain = dict(self.certain[-1])
        self.moments.append(self._look())
        if self._begun is not None:
            certain[self._begun] = len(self.moments) - 1
            self._begun = None
        self.certain.append(certain)

    def _inode_of(self, action: str, path: str) -> int:
        if action == "sync folder":
            return (self._folder / path).stat().st_ino
        return next(found for found in self._folder.rglob(path)).stat().st_ino

    def _look(self) -> Moment:
        moment = Moment()
        for root, folders, files in os.walk(self._folder):
            here = os.stat(root)
            names = {name: os.lstat(os.path.join(root, name)).st_ino for name in folders + files}
            moment.folders[here.st_ino] = (stat.S_IMODE(here.st_mode), names)
            self._hold(root)
            for name in files:
                path = os.path.join(root, name)
                size = os.stat(path).st_size
                content = Path(path).read_bytes() if size < _ENDLESS else b""
                moment.files[names[name]] = (stat.S_IMODE(os.stat(path).st_mode), content)
                self._hold(path)
        return moment

    def _hold(self, path: str) -> None:
        """Keep an inode, so that its number is given to no other."""
        descriptor = os.open(path, os.O_RDONLY)
        if any(os.path.sameopenfile(descriptor, held) for held in self._held):
            os.close(descriptor)
        else:
            self._held.append(descriptor)


class PowerCut:
    """Puts together what a disk may hold after a cut.

    Parameters
    ----------
    at
        The moment of the cut.
    """

    def __init__(self, recorded: Recorder, at: int, rng: random.Random) -> None:
        self._recorded, self._at, self._rng = recorded, at, rng

    def write(self, target: Path) -> None:
        self._write_folder(self._recorded.root, target)

    def _some_moment(self, inode: int) -> Moment:
        since = self._recorded.certain[self._at].get(inode, 0)
        return self._recorded.moments[self._rng.randint(since, self._at)]

    def _content(self, inode: int) -> tuple[int, bytes]:
        """Return some content of a file since it was synced; one that was removed keeps its last."""
        since = self._recorded.certain[self._at].get(inode, 0)
        until = self._rng.randint(since, self._at)
        versions = [moment.files[inode] for moment in self._recorded.moments[: until + 1] if inode in moment.files]
        return versions[-1] if versions else (0o600, b"")

    def _write_folder(self, inode: int, target: Path) -> None:
        target.mkdir()
        seen = [
            moment.folders[inode][0] for moment in self._recorded.moments[: self._at + 1] if inode in moment.folders
        ]
        target.chmod(seen[-1])
        since = self._recorded.certain[self._at].get(inode, 0)
        moments = self._recorded.moments[since : self._at + 1]
        for name in sorted({name for moment in moments for name in moment.folders.get(inode, (0, {}))[1]}):
            entry = self._some_moment(inode).folders.get(inode, (0, {}))[1].get(name)
            if entry is None:
                continue
            if any(entry in moment.folders for moment in self._recorded.moments):
                self._write_folder(entry, target / name)
            else:
                mode, content = self._content(entry)
                (target / name).write_bytes(content)
                (target / name).chmod(mode)


class PowerCuts(Cuts):
    """Cuts the power during one scene.

    Parameters
    ----------
    root
        For the folders.
    """

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, name)
        folder = self.copy("recorded")
        self._recorder = Recorder(folder)
        self._scene.act(Releases(folder, on_step=self._recorder))
        self._recorder.end()

    def cut_somewhere(self, rng: random.Random) -> None:
        """Cut the power at a random moment, with a random outcome, and check what the next start makes of it."""
        at = rng.randrange(len(self._recorder.moments))
        folder = self.copy("cut")
        self.remove(folder)
        PowerCut(self._recorder, at, rng).write(folder)
        self.kills += 1
        self._check(folder, f"{self._name}, power cut at {at} of {len(self._recorder.moments) - 1}")
