"""What an isolated node may open: its folder, what runs it with its libraries, the system's programs; nothing else.

The kernel enforces it (:mod:`master.supervision.landlock`); docs/security.md says what that gives and what not.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import handshake
import nodekit
from master.supervision import landlock

_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/etc", "/proc", "/sys"),
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/var/cache/fontconfig"),
    *("/dev/urandom", "/dev/random"),
)
_SYSTEM_WRITABLE = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/tty"),
    # Locks and shared memory of multiprocessing; there is no other place for them.
    "/dev/shm",  # noqa: S108 - granted, not used
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_MANAGERS = {
    ".nvm": "NVM_DIR",
    ".pyenv": "PYENV_ROOT",
    ".volta": "VOLTA_HOME",
    ".asdf": "ASDF_DATA_DIR",
    ".nodenv": "NODENV_ROOT",
    ".rbenv": "RBENV_ROOT",
    ".bun": "BUN_INSTALL",
    ".deno": "DENO_INSTALL",
}
"""Folders of version managers, by name, and the variable that leads to each."""
_MODULES, _LEVELS_OF_MODULES = "node_modules", 3
_MAX_LEFTOVERS = 1_000
"""Temporary files that a start removes: a node that left millions of them delays no start for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What one node may open; everything else is refused.

    Parameters
    ----------
    readable
        Folders and files that it may read and run.
    writable
        Folders and files that it may read, run and change.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]


@functools.cache
def landlock_problem() -> str:
    """Return why nodes cannot be isolated on this machine; empty when they can."""
    if landlock.abi():
        return ""
    number = landlock.last_errno()
    if number == errno.EOPNOTSUPP:
        return "Landlock is switched off in this kernel"
    return "kernel without Landlock" if number == errno.ENOSYS else f"Landlock refused: {os.strerror(number)}"


def describe_isolation() -> str:
    """Return what isolates nodes on this machine, in words for the operator."""
    problem = landlock_problem()
    return f"none: {problem}" if problem else f"landlock ABI {landlock.abi()}"


def isolation_of(
    folder: Path,
    interpreter: str,
    *,
    private: Sequence[Path],
    helpers: Sequence[str] = (),
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
) -> Isolation:
    """Return what a node may open. Blocks.

    Parameters
    ----------
    folder
        The node's own folder.
    interpreter
        The program that runs it.
    private
        The fleet's home, state and bots: closed but for what is named here, even below a folder that is open.
    helpers
        Programs that it runs in turn.
    readable, writable
        What the operator opens to this node.
    """
    closed = tuple(Path(os.path.realpath(path)) for path in private)
    own = []
    if interpreter != sys.executable:
        programs = [interpreter, *helpers]
        its_own = tuple(Path(os.path.realpath(path)) for path in (folder, *writable))
        own = [path for program in programs for path in _installation_of(program, its_own, closed)]
        own += _shared_modules(folder, closed)
    return Isolation(
        readable=(*_for_every_node(closed), *map(str, own), *map(str, readable)),
        writable=(str(folder), *map(str, writable), *_SYSTEM_WRITABLE),
    )


@functools.cache
def _for_every_node(closed: tuple[Path, ...]) -> tuple[str, ...]:
    """Return what every node may read: the system, Python, the libraries. On the restart path, so found once."""
    opened = _apart_from(closed, [*map(Path, _SYSTEM), *_resolver(), *_certificates(), Path(sys.base_prefix)])
    # Named one by one: they may stand below the fleet's home, where a checkout with its environment does.
    code = [Path(package.__path__[0]) for package in (handshake, nodekit)]
    # Without the first: of a program that is run with ``-m`` it is the folder where somebody stood.
    code += [path for path in map(Path, sys.path[1:]) if path.is_absolute() and path.exists()]
    # Of Python itself too: where the home is a user's, pyenv and uv keep it below.
    roots = dict.fromkeys((sys.prefix, sys.base_prefix))
    code += [Path(root, name) for root in roots for name in ("bin", "lib", "pyvenv.cfg")]
    found = [*opened, *(path for path in code if not _holds_one_of(path, closed))]
    return tuple(map(str, _without_covered(found)))


def _without_covered(paths: Sequence[Path]) -> list[Path]:
    """Return what exists, without what lies below another: each rule is ten microseconds of every start."""
    real = dict.fromkeys(Path(os.path.realpath(path)) for path in paths if path.exists())
    return [path for path in real if not any(path != other and path.is_relative_to(other) for other in real)]


def _holds_one_of(path: Path, closed: Sequence[Path]) -> bool:
    """Tell whether opening ``path`` would open one of the closed folders with it."""
    real = Path(os.path.realpath(path))
    return any(shut.is_relative_to(real) for shut in closed)


def _apart_from(closed: Sequence[Path], opened: Sequence[Path]) -> Iterator[Path]:
    """Yield what may be opened: a folder that has a closed one below it is replaced by what else is in it.

    A rule opens all that is below it, and no other rule can close a part of it again.
    """
    for path in opened:
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(shut) for shut in closed):
            continue
        if not _holds_one_of(real, closed):
            yield real
            continue
        try:
            entries = sorted(real.iterdir())
        except OSError:
            continue
        # A link is followed where it is met by itself, not as a part of this folder.
        yield from _apart_from(closed, [entry for entry in entries if not entry.is_symlink()])


def _resolver() -> list[Path]:
    """Return the file that /etc/resolv.conf is a link to: /run has one, and WSL another place for it."""
    return [Path(os.path.realpath("/etc/resolv.conf"))]


def _certificates() -> list[Path]:
    return [Path(os.environ[name]) for name in _CERTIFICATES if name in os.environ]


def _installation_of(program: str, its_own: Sequence[Path], closed: Sequence[Path]) -> list[Path]:
    """Return what a program needs beside the system's: itself, its libraries, the version manager it came with.

    A node can make its own ``.venv`` or ``node_modules`` point anywhere, and what it can write may hold its PATH, too:
    of what it could have made itself, a folder is opened only where it looks like a Python installation. A whole folder
    that may be somebody's (``~/.local``) never is.

    Parameters
    ----------
    its_own
        What the node can write, with links followed.
    """
    named, real = Path(program), Path(os.path.realpath(program))
    found = []
    if not _leads_through(named, its_own):
        found.append(real)
        for path in (path for path in (named, real) if not _leads_through(path, its_own)):
            root, manager = path.parent.parent, _manager_of(path)
            if manager is not None:
                found.append(manager)
            elif path.parent.name == "bin":
                # Of node: bin/npx leads to lib/node_modules, and runs the node that is in bin.
                parts = (root / name for name in ("bin", "lib", "libexec"))
                found += [part for part in parts if not _leads_into(part, root, closed)]
    environment, base = named.parent.parent, real.parent.parent
    if next(base.glob("lib/python3*/os.py"), None) is not None:
        found.append(base)
    if (environment / "pyvenv.cfg").is_file():
        found.append(Path(os.path.realpath(environment)))
    return [path for path in found if path.exists() and not _holds_one_of(path, closed)]


def _leads_through(path: Path, places: Sequence[Path]) -> bool:
    """Tell whether a path is in one of these places, or comes by it: there may be a link that somebody made."""
    steps = [Path(os.path.realpath(step)) for step in (path, *path.parents)]
    return any(step.is_relative_to(place) for step in steps for place in places)


def _leads_into(part: Path, root: Path, closed: Sequence[Path]) -> bool:
    """Tell whether a part of an installation is a link to what is closed."""
    real = Path(os.path.realpath(part))
    return not real.is_relative_to(os.path.realpath(root)) and any(real.is_relative_to(shut) for shut in closed)


def _manager_of(program: Path) -> Path | None:
    """Return the folder of the version manager (nvm, pyenv, volta, ...) that a program belongs to."""
    return next((folder for folder in program.parents if folder.name in _MANAGERS), None)


def manager_environment(program: str) -> dict[str, str]:
    """Return where a version manager's programs look for it, since an isolated node has another HOME."""
    manager = _manager_of(Path(program))
    variable = "" if manager is None else _MANAGERS[manager.name]
    return {variable: str(manager)} if variable else {}


def _shared_modules(folder: Path, closed: Sequence[Path]) -> list[Path]:
    """Return the folders of Node.js packages that a program's own folder does not hold: linked, or above it."""
    above = [parent / _MODULES for parent in folder.parents[:_LEVELS_OF_MODULES]]
    real = (Path(os.path.realpath(path)) for path in (folder / _MODULES, *above) if path.is_dir())
    return [path for path in real if path.name == _MODULES and not _holds_one_of(path, closed)]


def private_folder(folder: Path) -> Path:
    """Create a folder that is one node's alone, below another that is nobody else's; what is in it stays. Blocks.

    Raises
    ------
    OSError
    """
    for one in (folder.parent, folder):  # With ``parents``, ``mode`` would hold for the last alone.
        one.mkdir(exist_ok=True, mode=0o700)
    return folder


def temporary_folder(folder: Path) -> Path:
    """Create a node's own folder for temporary files, empty; nodes do not share /tmp. Blocks.

    Raises
    ------
    OSError
    """
    private_folder(folder)
    with os.scandir(folder) as entries:
        for _, entry in zip(range(_MAX_LEFTOVERS), entries, strict=False):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
    return folder
