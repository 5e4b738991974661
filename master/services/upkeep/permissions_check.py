"""The part of ``fleet doctor`` that looks at owners and modes, and at what isolates the nodes; read-only."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from master.configuration.settings import ENV_NAME, Settings
from master.services.core.findings import Finding
from master.supervision.isolation import describe_isolation, landlock_problem

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_permissions(home: Path, state_dir: Path, bots: Path | None) -> list[Finding]:
    """Report each path that another user of this machine could read or change; one good line if there is none.

    Parameters
    ----------
    bots
        BOTS_BASE_PATH; None when the config cannot be read.
    """
    looks = _Looks(_owner_of(state_dir))
    found = [*looks.at_secrets(home, state_dir), *looks.at_code(home, bots), *looks.at_the_way_to(home)]
    return found or [Finding("permissions", "ok", "nobody else can read the secrets, or change the config")]


def check_user() -> Finding:
    """Report whether the fleet runs as root: its nodes then do, too."""
    if os.geteuid() == 0:
        fix = "make a user for the fleet, chown its home to it, and run it as that user"
        return Finding("user", "warn", "root: what a node may do here, it may do to the whole machine", fix)
    return Finding("user", "ok", name_of_user(os.geteuid()))


def check_isolation(settings: Settings, running: str = "") -> Finding:
    """Report what keeps nodes from the files of the fleet.

    Parameters
    ----------
    running
        What the running master says of its nodes, who may be older than the settings; empty if none runs.
    """
    if running.startswith("landlock") and ", not " in running:
        fix = "`fleet restart NAME`, where the settings isolate it; else see ISOLATED in NODES"
        return Finding("isolation", "warn", f"{running}: those can read .env and the ledger", fix)
    if running.startswith("landlock"):
        return Finding("isolation", "ok", running)
    if running.startswith("off") and settings.supervision.isolated:
        problem = "off in the running master, not in config.py: nodes can read .env and the ledger"
        return Finding("isolation", "warn", problem, "`fleet reload`, then `fleet restart --all --rolling`")
    if landlock_problem():
        fix = "Linux 5.13 or later with landlock in its LSMs (lsm= on the kernel's command line); docs/security.md"
        return Finding("isolation", "warn", f"{describe_isolation()}: nodes can read .env and the ledger", fix)
    bare = [name for name, own in settings.nodes.items() if own.isolated is False]
    if not settings.supervision.isolated:
        return Finding("isolation", "warn", "off: nodes can read .env and the ledger", "SUPERVISION['ISOLATED'] = True")
    if bare:
        return Finding("isolation", "warn", f"{describe_isolation()}, but not for {', '.join(bare)}", "see NODES")
    return Finding("isolation", "ok", describe_isolation())


class _Looks:
    """Looks at single paths.

    Parameters
    ----------
    owner
        The user of the fleet: everything belongs to it, or to root.
    """

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._group = _private_group_of(owner)

    def at_secrets(self, home: Path, state_dir: Path) -> Iterator[Finding]:
        """Look at what nobody else may even read."""
        yield from self._closed(home / ENV_NAME, "600")
        for name in ("ledger.db", "control.key", "memory.bin", "control.sock", "nodes.sock"):
            yield from self._closed(state_dir / name, "600")
        for name in ("backups", "sessions", "spool", "tmp"):
            yield from self._closed(state_dir / name, "700")

    def at_code(self, home: Path, bots: Path | None) -> Iterator[Finding]:
        """Look at what the master or its nodes execute: nobody else may change it."""
        yield from self._unchangeable(home / "config.py")
        if bots is None:
            return
        yield from self._unchangeable(bots)
        try:
            folders = sorted(entry for entry in bots.iterdir() if entry.is_dir())
        except OSError:
            return
        for folder in folders:
            yield from self._unchangeable(folder, owned=False)

    def at_the_way_to(self, home: Path) -> Iterator[Finding]:
        """Look at the folders that lead to the home: who can rename one, can put another fleet in its place."""
        for folder in (home, *home.parents):
            status = _status(folder)
            # In a folder with the sticky bit, /tmp, only the owner of an entry can rename it.
            if status is not None and not (folder != home and status.st_mode & stat.S_ISVTX):
                yield from self._unchangeable(folder)

    def _closed(self, path: Path, mode: str) -> Iterator[Finding]:
        status = _status(path)
        if status is None:
            return
        yield from self._owned(path, status)
        if status.st_mode & _OTHERS:
            verb = "change" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else "read"
            yield _red(f"others can {verb} {path} ({_mode(status)})", f"chmod {mode} {path}")

    def _unchangeable(self, path: Path, *, owned: bool = True) -> Iterator[Finding]:
        status = _status(path)
        if status is None:
            return
        if owned:
            yield from self._owned(path, status)
        # Where each user has a group of his own, new folders are writable for it, and that is nobody else.
        others = stat.S_IWOTH if status.st_gid == self._group else stat.S_IWGRP | stat.S_IWOTH
        if status.st_mode & others:
            yield _red(f"others can change {path} ({_mode(status)})", f"chmod go-w {path}")

    def _owned(self, path: Path, status: os.stat_result) -> Iterator[Finding]:
        if status.st_uid not in (0, self._owner):
            owner = name_of_user(self._owner)
            fix = f"chown {_chown_name(self._owner)} {shlex.quote(str(path))}"
            yield _red(f"{path} belongs to {name_of_user(status.st_uid)}, not to {owner}", fix)


def _red(problem: str, fix: str) -> Finding:
    return Finding("permissions", "fail", problem, fix)


def _owner_of(state_dir: Path) -> int:
    """Return the user of the fleet; root may look at another's."""
    status = _status(state_dir)
    return os.geteuid() if status is None else status.st_uid


def _private_group_of(user_id: int) -> int | None:
    """Return the group that nobody but this user is in; None if there is none."""
    try:
        user = pwd.getpwuid(user_id)
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return None
    alone = group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return group.gr_gid if alone else None


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a path; None if there is none, or it cannot be looked at."""
    try:
        return path.stat()
    except OSError:
        return None


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _chown_name(user_id: int) -> str:
    """Return what chown(1) takes for a user: its name, or the number of one without a name."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def name_of_user(user_id: int) -> str:
    """Return a user's name, or the number of one without a name, as in a container."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"
