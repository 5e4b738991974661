"""Kills a process at each step that changes the disk, and lets the next one settle; a program, so that it may fork.

``python -m tests.nodekit.releases.cuts FOLDER`` prints what was tried, and what was neither old nor new.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodekit.releases import Outcome, ReleaseError, Releases, ReleaseState
from tests.nodekit.releases.bot_folders import BOT, EVERYTHING, Tree, everything, make_bot, patch_of, tree_of

_GOES_ON_EVERY = 5


@dataclass(frozen=True)
class Scene:
    """A change of a folder that is cut off."""

    prepare: Callable[[Releases], None]
    act: Callable[[Releases], object]
    may_end_in: tuple[str, ...] = ("before", "after")


def _staged(releases: Releases, *, reload: bool = False) -> None:
    releases.stage(everything(reload=("ranks",) if reload else ()), EVERYTHING, patch_id="P")


def _on_trial(releases: Releases) -> None:
    _staged(releases, reload=True)
    releases.switch(1)


def _edited(releases: Releases) -> None:
    _on_trial(releases)
    folder = releases.folder
    (folder / "cogs/levels.py").write_bytes(b"EDITED = 1\n")
    (folder / "cogs/ranks.py").unlink()


def _four(releases: Releases) -> None:
    """Apply four patches, the last of which waits to be called good."""
    base = dict(BOT)
    for at in range(1, 5):
        files = {"cogs/ranks.py": b"RANK = %d0\n" % at, f"extra/{at}/only.py": b"%d" % at}
        removed = (f"extra/{at - 1}/only.py",) if at > 1 else ()
        releases.switch(releases.stage(patch_of(files, base=base, removed=removed), files, patch_id=f"P{at}"))
        base |= files
        if at < 4:
            releases.mark_good()


def _four_good(releases: Releases) -> None:
    _four(releases)
    releases.mark_good()


SCENES = {
    "stage": Scene(lambda _: None, _staged),
    "switch, with the next start": Scene(_staged, lambda releases: releases.switch(1)),
    "switch, reloading": Scene(
        lambda releases: _staged(releases, reload=True), lambda releases: releases.switch(1), ("before",)
    ),
    "back": Scene(_on_trial, lambda releases: releases.back(), ("after",)),
    "back over edits": Scene(_edited, lambda releases: releases.back(), ("after",)),
    "settle": Scene(_on_trial, lambda releases: releases.settle(), ("after",)),
    "good": Scene(_four, lambda releases: releases.mark_good()),
    "restore": Scene(_four_good, lambda releases: releases.restore(0), ("before", "after", "between")),
}
"""``may_end_in`` says how the folder may be once it is settled: a trial that had begun goes back."""


def kill_at(folder: Path, act: Callable[[Releases], object], step: int) -> bool:
    """Kill a child at a step of what it does; returns whether it came that far."""
    pid = os.fork()
    if not pid:
        count = 0

        def on_step(_action: str, _path: str) -> None:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            act(Releases(folder, on_step=on_step))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


class Cuts:
    """Cuts one scene at each of its steps."""

    def __init__(self, root: Path, name: str) -> None:
        self._scene, self._name = SCENES[name], name
        self._root = root
        self._prepared = make_bot(root / "prepared")
        self._scene.prepare(Releases(self._prepared))
        after = self.copy("after")
        self._scene.act(Releases(after))
        self._known = {tuple_of(self._prepared): "before"}
        self._known[tuple_of(after)] = "after"
        if "between" in self._scene.may_end_in:
            self._add_between()
        self.may_end_in = self._scene.may_end_in
        self.may_be = {"before", "after", *self.may_end_in}
        self.kills = 0
        self.wrong = list[str]()

    def _add_between(self) -> None:
        walked = self.copy("walked")
        while Releases(walked).current():
            Releases(walked).back()
            self._known.setdefault(tuple_of(walked), "between")

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove a folder, if it is there."""
        shutil.rmtree(folder, ignore_errors=True)

    def copy(self, name: str) -> Path:
        """Copy the folder as it is before the change."""
        target = self._root / name
        self.remove(target)
        return Path(shutil.copytree(self._prepared, target, symlinks=True))

    def name_of(self, folder: Path) -> str:
        """Return as what the folder is known as it is now."""
        return self._known.get(tuple_of(folder), "neither old nor new")

    def run(self, *, settle_every: int) -> None:
        step = 1
        while self._cut(step, 0):
            inner = 1
            while settle_every and step % settle_every == 0 and self._cut(step, inner):
                inner += 1
            step += 1

    def _cut(self, step: int, inner: int) -> bool:
        """Cut at a step, and the settling that follows at another one, if any; returns whether it came that far."""
        folder = self.copy("cut")
        if not kill_at(folder, self._scene.act, step):
            return False
        if inner and not kill_at(folder, lambda releases: releases.settle(), inner):
            return False
        self.kills += 1 + bool(inner)
        self._check(folder, f"{self._name}, killed at {step}" + (f", settling at {inner}" if inner else ""))
        return True

    def _check(self, folder: Path, where: str) -> None:
        releases = Releases(folder)
        try:
            releases.settle()
            found = self.name_of(folder)
            if found not in self.may_end_in:
                self.wrong.append(f"{where}: {found}")
            if releases.list()[-1].state is ReleaseState.TRIAL:
                releases.mark_good()
            if releases.settle().outcome is not Outcome.NOTHING:
                self.wrong.append(f"{where}: the second settling did something")
            if self.name_of(folder) != found:
                self.wrong.append(f"{where}: it changed once more")
            if self.kills % _GOES_ON_EVERY == 0:
                self._scene_goes_on(releases, where)
        except ReleaseError as error:
            self.wrong.append(f"{where}: {error}")

    def _scene_goes_on(self, releases: Releases, where: str) -> None:
        """Stage and switch once more: nothing that was left behind is in the way."""
        folder, path = releases.folder, "goes/on.py"
        number = releases.stage(patch_of({path: b"ON"}), {path: b"ON"}, patch_id="on")
        releases.switch(number, begins=False)
        releases.mark_good()
        if (
            (folder / path).read_bytes() != b"ON"
            or list(folder.rglob(".fleet-*"))
            or (folder / ".releases/staging").exists()
        ):
            self.wrong.append(f"{where}: it does not go on, or something is left behind")


def tuple_of(folder: Path) -> tuple[int, tuple[tuple[str, tuple[str, int, bytes]], ...]]:
    """Return all that is seen of a folder, with the release that it says is in force."""
    tree: Tree = tree_of(folder)
    return Releases(folder).current(), tuple(sorted(tree.items()))


def main() -> None:
    root, settle_every = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    report = {}
    for at, name in enumerate(SCENES):
        cuts = Cuts(root / str(at), name)
        cuts.run(settle_every=settle_every)
        report[name] = {"kills": cuts.kills, "wrong": cuts.wrong}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
