"""The bot's own code puts links, pipes and devices into its folder: nothing outside is written, read or waited for."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from master.supervision.isolation import landlock_problem
from nodekit.releases import Outcome, ReleaseError, Releases, UnsafeFolder
from tests.nodekit.releases.bot_folders import BOT, EVERYTHING, Tree, everything, make_bot, patch_of, tree_of

SECRET = b"only outside\n"


@pytest.fixture
def outside(memory: Path) -> Path:
    """A folder that the bot may not reach, and that the patch would fit."""
    return make_bot(memory / "outside", BOT | {"1/release.json": b"{}", "secret": SECRET})


@pytest.fixture
def folder(memory: Path) -> Path:
    return make_bot(memory / "atlas")


Trick = Callable[[Path, Path], object]


def link_the_releases(folder: Path, outside: Path) -> None:
    shutil.rmtree(folder / ".releases", ignore_errors=True)
    (folder / ".releases").symlink_to(outside)


def link_a_folder(folder: Path, outside: Path) -> None:
    shutil.rmtree(folder / "cogs")
    (folder / "cogs").symlink_to(outside / "cogs")


def link_a_file(folder: Path, outside: Path) -> None:
    (folder / "cogs/ranks.py").unlink()
    (folder / "cogs/ranks.py").symlink_to(outside / "cogs/ranks.py")


def pipe_for_a_file(folder: Path, _outside: Path) -> None:
    (folder / "cogs/ranks.py").unlink()
    os.mkfifo(folder / "cogs/ranks.py")


def pipe_for_a_folder(folder: Path, _outside: Path) -> None:
    shutil.rmtree(folder / "cogs")
    os.mkfifo(folder / "cogs")


def socket_for_a_file(folder: Path, _outside: Path) -> None:
    (folder / "cogs/ranks.py").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        descriptor = os.open(folder / "cogs", os.O_RDONLY)
        try:
            # By the descriptor: the path is longer than an address may be.
            listening.bind(f"/proc/self/fd/{descriptor}/ranks.py")
        finally:
            os.close(descriptor)


def folder_for_a_file(folder: Path, _outside: Path) -> None:
    (folder / "cogs/ranks.py").unlink()
    (folder / "cogs/ranks.py").mkdir()


def endless_file(folder: Path, _outside: Path) -> None:
    os.truncate(folder / "cogs/ranks.py", 1 << 40)


def _in_releases(name: str, make: Callable[[Path, Path], object]) -> Trick:
    def trick(folder: Path, outside: Path) -> None:
        path = folder / ".releases" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path, outside)

    return trick


TRICKS: dict[str, Trick] = {
    "the releases are a link": link_the_releases,
    "a folder is a link": link_a_folder,
    "a file is a link": link_a_file,
    "a file is a pipe": pipe_for_a_file,
    "a folder is a pipe": pipe_for_a_folder,
    "a file is a socket": socket_for_a_file,
    "a file is a folder": folder_for_a_file,
    "a file has no end": endless_file,
} | {
    f"{name} is {what}": _in_releases(name, make)
    for name in ("current", "journal", "lock", "staging", "1", "1/new", "1/old", "1/release.json", "2", "spare")
    for what, make in {
        "a link to a folder": lambda path, outside: path.symlink_to(outside),
        "a link to a file": lambda path, outside: path.symlink_to(outside / "secret"),
        "a pipe": lambda path, _outside: os.mkfifo(path),
    }.items()
}


def attempt(releases: Releases) -> list[str]:
    """Try all that can be done; returns what was refused, in words."""
    said = list[str]()
    for act in (
        releases.settle,
        lambda: releases.stage(everything(), EVERYTHING, patch_id="P"),
        lambda: releases.switch(1),
        releases.list,
        lambda: releases.edited(1),
        releases.back,
        lambda: releases.restore(0),
        releases.mark_good,
        releases.packages,
        releases.settle,
    ):
        try:
            act()
        except ReleaseError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("when", ["before", "staged", "in force"])
@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
def test_nothing_outside_is_touched_or_told(folder: Path, outside: Path, trick: Trick, when: str) -> None:
    releases = Releases(folder)
    if when != "before":
        releases.stage(everything(), EVERYTHING, patch_id="P")
    if when == "in force":
        releases.switch(1)
    trick(folder, outside)
    before, times = tree_of(outside), stamps(outside)
    said = attempt(releases)
    assert tree_of(outside) == before
    assert stamps(outside) == times
    assert not any(SECRET.decode().strip() in text for text in said)
    assert not leaked(folder)


def stamps(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return whether anything was linked, changed or replaced: inode, links and time of the last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_nlink, status.st_ctime_ns)
    return found


def leaked(folder: Path) -> list[str]:
    """Return files in the releases that hold what is outside alone."""
    found = [] if (folder / ".releases").is_symlink() else list((folder / ".releases").rglob("*"))
    return [str(path) for path in found if path.is_file() and not path.is_symlink() and SECRET in path.read_bytes()]


def test_a_legitimate_layout_with_links_is_refused_with_what_to_do(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "cogs").rename(folder / "src/cogs")
    (folder / "cogs").symlink_to("src/cogs")
    before = tree_of(folder)
    with pytest.raises(UnsafeFolder) as error:
        Releases(folder).stage(everything(), EVERYTHING, patch_id="P")
    assert str(error.value) == (
        "cogs is a link: a patch changes files in real folders only, by the path that they have"
    )
    assert tree_of(folder) == before
    files = {"src/cogs/ranks.py": b"RANK = 2\n"}
    base = BOT | {"src/cogs/ranks.py": BOT["cogs/ranks.py"]}
    releases = Releases(folder)
    releases.switch(releases.stage(patch_of(files, base=base), files, patch_id="P"))
    assert (folder / "cogs/ranks.py").read_bytes() == b"RANK = 2\n"


def test_a_node_folder_that_the_operator_linked_is_patched(folder: Path, memory: Path) -> None:
    (memory / "bots").symlink_to(folder)
    releases = Releases(memory / "bots")
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id="P"))
    assert (folder / "cogs/ranks.py").read_bytes() == EVERYTHING["cogs/ranks.py"]


def test_a_hard_link_is_replaced_and_never_written_through(folder: Path, outside: Path) -> None:
    (folder / "cogs/ranks.py").unlink()
    os.link(outside / "cogs/ranks.py", folder / "cogs/ranks.py")
    releases = Releases(folder)
    releases.switch(releases.stage(everything(), EVERYTHING, patch_id="P"))
    assert (outside / "cogs/ranks.py").read_bytes() == BOT["cogs/ranks.py"]
    (folder / "cogs/levels.py").unlink()
    os.link(outside / "secret", folder / "cogs/levels.py")
    mode = (outside / "secret").stat().st_mode
    releases.back()
    assert (outside / "secret").read_bytes() == SECRET
    assert (outside / "secret").stat().st_mode == mode


@pytest.mark.parametrize(
    "trick",
    [link_a_file, pipe_for_a_file, socket_for_a_file, folder_for_a_file, endless_file],
    ids=lambda t: t.__name__,
)
def test_going_back_puts_aside_what_is_no_plain_file(folder: Path, outside: Path, trick: Trick) -> None:
    before: Tree = tree_of(folder)
    releases = Releases(folder)
    releases.switch(releases.stage(everything(reload=("ranks",)), EVERYTHING, patch_id="P"))
    trick(folder, outside)
    assert releases.settle().outcome is Outcome.ROLLED_BACK
    (folder / "cogs/ranks.py.edited-1").rename(folder.parent / "aside")
    assert tree_of(folder) == before


@pytest.mark.parametrize("path", ["../x.py", "/tmp/x.py", "a/../../x.py", ".env", ".releases/current", "node.json"])  # noqa: S108
def test_a_record_that_leads_elsewhere_is_damaged(folder: Path, path: str) -> None:
    releases = Releases(folder)
    releases.switch(releases.stage(everything(reload=("ranks",)), EVERYTHING, patch_id="P"))
    manifest = folder / ".releases/1/release.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"cogs/ranks.py"', b'"%s"' % path.encode()))
    before = tree_of(folder.parent)
    with pytest.raises(ReleaseError, match="is damaged"):
        releases.settle()
    assert tree_of(folder.parent) == before


def test_another_holder_of_the_lock_is_waited_for_and_not_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = Releases(folder)
    releases.stage(everything(), EVERYTHING, patch_id="P")
    monkeypatch.setattr("nodekit.releases.releases.LOCKED_WITHIN_S", 0.2)
    with (folder / ".releases/lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ReleaseError, match="another process is changing this folder"):
            releases.switch(1)
    releases.switch(1)


_UNDER_LANDLOCK = """
import sys
from pathlib import Path
from master.supervision import landlock
from nodekit.releases import Releases
from tests.nodekit.releases.bot_folders import EVERYTHING, everything
landlock.abi = lambda: int(sys.argv[2])
landlock.restrict(["/usr", "/lib"], [sys.argv[1]])
releases = Releases(Path(sys.argv[1]))
number = releases.stage(everything(), EVERYTHING, patch_id="P")
releases.switch(number)
(releases.folder / "cogs/ranks.py").write_bytes(b"EDITED")
releases.back()
releases.switch(number)
releases.mark_good()
"""


@pytest.mark.parametrize("version", [1, 3])
def test_an_isolated_node_patches_itself(memory: Path, folder: Path, version: int) -> None:
    """Landlock's first version, that of Linux 5.15, lets nobody rename a file from one folder to another."""
    if landlock_problem():
        pytest.skip(landlock_problem())
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _UNDER_LANDLOCK, str(folder), str(version)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert (folder / "cogs/ranks.py").read_bytes() == EVERYTHING["cogs/ranks.py"]
    assert Releases(folder).edited(1) == ("cogs/ranks.py",)
