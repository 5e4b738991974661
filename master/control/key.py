"""The key of the control socket: whoever steers the fleet can read the state folder, and an isolated node cannot.

The kernel keeps an isolated node from opening files, but not from connecting to a socket that its user may use.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from pathlib import Path

from handshake.files import read_regular
from handshake.rare_log import RareLog
from master.durable import replace_file

log = logging.getLogger(__name__)
_cannot_write = RareLog(log, "the control key cannot be written")

KEY_NAME = "control.key"
_MAX_BYTES = 256


class ControlKey:
    """The key of a running master: another one at each start, unless the disk is full.

    Parameters
    ----------
    folder
        Of the control socket.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEY_NAME
        self._key = secrets.token_urlsafe(32)
        if not self._write():
            # The operator of a full disk has to be let in: with the last master's key, if that is a whole one.
            last = known_key(folder)
            self._key = last if len(last) == len(self._key) else self._key

    def _write(self) -> bool:
        try:
            replace_file(self._path, self._key.encode())
        except OSError as error:
            _cannot_write(path=str(self._path), why=error.strerror)
            return False
        return True

    def admits(self, shown: str, pid: int = 0) -> bool:
        """Tell whether a caller may steer: it knows the key. If the file is gone, it is made again for the next one.

        On a full disk without that file nobody can know the key: then a caller is let in that is no isolated node.

        Parameters
        ----------
        pid
            The caller, as the kernel names it; 0: unknown.
        """
        if hmac.compare_digest(shown.encode(), self._key.encode()):
            return True
        if known_key(self._path.parent) != self._key and not self._write():
            return pid > 0 and not _is_restricted(pid)
        return False


def known_key(folder: Path) -> str:
    """Return the key of the master whose control socket is in ``folder``; empty if this process cannot read it."""
    try:
        return read_regular(folder / KEY_NAME, _MAX_BYTES).decode("ascii", "replace")
    except OSError:
        return ""


def _is_restricted(pid: int) -> bool:
    """Tell whether a process can gain no privileges (proc_pid_status(5)): each isolated node is like that, for good."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return True
    return "\nNoNewPrivs:\t0\n" not in status
