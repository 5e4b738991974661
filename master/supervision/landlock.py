"""Landlock (landlock(7)): a process gives up, for itself and for all that it starts, the files that it does not need.

Standard library only, and nothing of ours: it is also run as a script, ``python -I -S landlock.py RULES COMMAND...``,
which restricts itself and then becomes the program of a node that is not forked from the zygote.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import stat
import sys
from collections.abc import Sequence

# linux/landlock.h. The three calls have the same numbers on every architecture that CPython is built for, but Alpha.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_ABI = 1
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
# Without MAKE_CHAR and MAKE_BLOCK: with a device of its own making, a node of root's could read the raw disk.
_WRITE = (
    (_READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM)
    | _REFER
    | _TRUNCATE
)
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
_DAC_OVERRIDE, _NET_BIND_SERVICE = 1 << 1, 1 << 10
_KEPT_CAPABILITIES = _DAC_OVERRIDE | _NET_BIND_SERVICE
"""Of a node of root's: its folder may be another user's, and it may listen on port 80. CAP_PERFMON alone would let it
read the environment of every process, whatever Landlock says (Linux 6.15).
"""
EXIT_NOT_ISOLATED = 71
"""Exit code of a node that could not be isolated, and so was not run."""
LATER = "LATER_"
"""Begins the variables of a program that :func:`main` becomes: they must not act before."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Capabilities(ctypes.Structure):
    # capset(2): header, then effective, permitted and inheritable ones, twice 32 bits.
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int), ("sets", ctypes.c_uint32 * 6))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


@functools.cache
def abi() -> int:
    """Return the version of the kernel's Landlock; 0 without one.

    Version 3 (Linux 6.2) adds truncating, 5 (6.10) ioctl on devices, 6 (6.12) signals and abstract Unix sockets.
    """
    return max(int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_ABI))), 0)


def last_errno() -> int:
    """Return the error number of the last call."""
    return ctypes.get_errno()


def warm_up() -> None:
    """Go through the motions without restricting anything: a fork then has copied the pages that this writes to."""
    handled = _handled_by(abi())
    if handled:
        attributes = _Ruleset(handled, 0, 0)
        ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(8), ctypes.c_uint32(0))
        _allow(ruleset, "/", _READ)
        os.close(ruleset)
        _capabilities()


def restrict(readable: Sequence[str], writable: Sequence[str]) -> None:
    """Restrict this process, and all that it starts, for good: no other file is opened, made, removed or run.

    Files that are open already stay so. A path that does not exist is skipped. Signals and abstract sockets reach
    only what this process starts, where the kernel has that (version 6).

    Parameters
    ----------
    readable
        Folders and files that may be read and run.
    writable
        Folders and files that may be read, run and changed.

    Raises
    ------
    OSError
        The kernel refused; the process is not restricted.
    """
    version = abi()
    handled = _handled_by(version)
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = _Ruleset(handled, 0, scoped)
    # A kernel refuses what is longer than it knows, unless the rest is zero.
    size = 24 if version >= 6 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for paths, rights in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _drop_capabilities()
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
            raise _last_error()
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _drop_capabilities() -> None:
    """Drop what root may do beyond other users, for good: ``no_new_privs`` keeps it from coming back."""
    header = _capabilities()
    effective, permitted = (header.sets[at] & _KEPT_CAPABILITIES for at in (0, 1))
    header.sets[:] = (effective, permitted, 0, 0, 0, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref(header, _Capabilities.sets.offset)) != 0:
        raise _last_error()


def _capabilities() -> _Capabilities:
    """Return what this process has."""
    header = _Capabilities(_CAPABILITY_VERSION, 0)
    if _libc.capget(ctypes.byref(header), ctypes.byref(header, _Capabilities.sets.offset)) != 0:
        raise _last_error()
    return header


def _handled_by(version: int) -> int:
    """Return the rights that are refused where no rule allows them: all that the kernel knows; 0 without Landlock."""
    if not version:
        return 0
    handled = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version >= since:
            handled |= right
    return handled


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # Not there: there is nothing to allow.
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        rule = _Beneath(rights, descriptor)
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    found = int(_libc.syscall(number, *arguments))
    if found < 0:
        raise _last_error()
    return found


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def main() -> None:
    """Restrict this process, then become the program; its variables lose :data:`LATER`."""
    rules, *command = sys.argv[1:]
    readable, writable = json.loads(rules)
    environment = {name.removeprefix(LATER): value for name, value in os.environ.items()}
    try:
        restrict(readable, writable)
        os.execve(command[0], command, environment)  # noqa: S606 - the node's own program
    except OSError as error:
        print(f"[fleet] not run, it could not be isolated: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NOT_ISOLATED)


if __name__ == "__main__":
    main()
