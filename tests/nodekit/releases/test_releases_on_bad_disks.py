"""A disk that is full, read-only or closed: nothing is half-written, and the error says what is wrong."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodekit.releases import NoRoom, Outcome, ReleaseError, Releases
from tests.nodekit.releases.bot_folders import BOT, EVERYTHING, everything, make_bot, patch_of, tree_of
from tests.nodekit.releases.cuts import SCENES, Cuts, tuple_of


class Fault:
    """Fails from one step on, once or for good.

    Parameters
    ----------
    number
        Of the error.
    """

    def __init__(self, at: int, number: int, *, lasts: bool) -> None:
        self._left, self.number, self._lasts = at, number, lasts
        self.struck = False

    def __call__(self, action: str, path: str) -> None:
        if self.number == errno.ENOSPC and action not in ("create", "write", "mkdir", "reserve", "sync"):
            return  # Removing and renaming need no room.
        self._left -= 1
        if self._left == 0 or (self._lasts and self._left < 0):
            self.struck = True
            raise OSError(self.number, os.strerror(self.number), path)


FAULTS = [(errno.ENOSPC, False), (errno.EACCES, False), (errno.EROFS, True), (errno.ENOSPC, True)]
WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EACCES: "that is not permitted",
    errno.EROFS: "the disk is read-only",
}


@pytest.mark.parametrize(("number", "lasts"), FAULTS, ids=lambda value: str(value))
@pytest.mark.slow
def test_a_fault_at_each_step_leaves_a_folder_old_or_new(memory: Path, number: int, lasts: bool) -> None:
    faults = 0
    for at, name in enumerate(SCENES):
        cuts = Cuts(memory / str(at), name)
        step = 1
        while strike(cuts, SCENES[name].act, Fault(step, number, lasts=lasts)):
            step += 1
        faults += step - 1
    assert faults > 100
    print(f"{faults} faults of {errno.errorcode[number]}")


def strike(cuts: Cuts, act: Callable[[Releases], object], fault: Fault) -> bool:
    """Let a change fail; returns whether it came that far."""
    folder = cuts.copy("struck")
    said = ""
    try:
        act(Releases(folder, on_step=fault))
    except ReleaseError as error:
        said = str(error)
    if not fault.struck:
        return False
    if not said:
        # The room that was reserved for it was enough.
        assert cuts.name_of(folder) == "after"
        return True
    assert WORDS[fault.number] in said
    if "half changed" not in said:
        assert cuts.name_of(folder) in cuts.may_be, said
    settled = Releases(folder)
    settled.settle()
    assert cuts.name_of(folder) in cuts.may_end_in, said
    return True


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(  # noqa: S603
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "fleet-test", str(folder)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


def fill(disk: Path, leaving: int = 0) -> None:
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        size = 1 << 16
        while size:
            try:
                ballast.write(b"x" * size)
            except OSError:
                size //= 2
    if leaving:
        os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - leaving)


def test_on_a_full_disk_nothing_is_staged_and_nothing_stays(small_disk: Path) -> None:
    folder = make_bot(small_disk / "atlas")
    before = tree_of(folder)
    big = {"big.bin": b"b" * 200_000}
    for leaving in (0, 4_096, 16_384, 65_536, 131_072):
        fill(small_disk, leaving)
        with pytest.raises(NoRoom, match="the disk is full"):
            Releases(folder).stage(patch_of(big), big, patch_id="P")
        assert tree_of(folder) == before
        assert not list(folder.glob(".releases/[0-9s]*"))
    (small_disk / "ballast").unlink()
    assert Releases(folder).stage(patch_of(big), big, patch_id="P") == 1


def test_a_bad_release_that_filled_the_disk_is_rolled_back(small_disk: Path) -> None:
    folder = make_bot(small_disk / "atlas", BOT | {"cogs/ranks.py": b"RANK = 1\n" * 5_000})
    before = tree_of(folder)
    document = patch_of(EVERYTHING, base=BOT | {"cogs/ranks.py": b"RANK = 1\n" * 5_000}, removed=("cogs/old.py",))
    releases = Releases(folder)
    releases.switch(releases.stage(document, EVERYTHING, patch_id="P"))
    releases.settle()
    fill(small_disk)
    assert releases.settle().outcome is Outcome.ROLLED_BACK
    assert tree_of(folder) == before


def test_a_switch_that_finds_no_room_is_undone(small_disk: Path) -> None:
    folder = make_bot(small_disk / "atlas")
    before = tree_of(folder)
    big = EVERYTHING | {f"big{at}.bin": b"b" * 50_000 for at in range(4)}
    releases = Releases(folder)
    number = releases.stage(patch_of(big, removed=("cogs/old.py",)), big, patch_id="P")
    fill(small_disk, leaving=131_072)
    with pytest.raises(NoRoom, match="the disk is full"):
        releases.switch(number)
    assert tree_of(folder) == before
    assert releases.current() == 0
    assert releases.settle().outcome is Outcome.NOTHING


def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    folder = make_bot(small_disk / "atlas")
    releases = Releases(folder)
    number = releases.stage(everything(), EVERYTHING, patch_id="P")
    before = tuple_of(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: S603, S607
    for act in (lambda: releases.switch(number), lambda: releases.stage(everything(), EVERYTHING, patch_id="Q")):
        with pytest.raises(ReleaseError, match="the disk is read-only"):
            act()
    assert tuple_of(folder) == before
    assert len(releases.list()) == 2
