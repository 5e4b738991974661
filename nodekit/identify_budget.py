"""The IDENTIFY budget: IDENTIFYs of a token in the last day, on disk, so that it survives any crash.

Discord allows 1,000 per token and day, and resets the token of a bot that sends more
(https://discord.com/developers/docs/events/gateway#session-start-limit-object). RESUME does not count.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

from handshake.errors import HandshakeError
from handshake.files import open_regular

IDENTIFY_FD_VARIABLE = "FLEET_IDENTIFY_FD"
DAILY_IDENTIFIES = 800
"""Budget of a node: four fifths of Discord's limit, so that a person can still start the bot by hand."""
DAY_S = 86_400.0
_STAMP = struct.Struct(">Q")
_MAX_BYTES = 64 * 1024


class IdentifyBudgetSpent(HandshakeError):
    """The token has been used for too many IDENTIFYs today.

    Parameters
    ----------
    retry_in_s
        Seconds until the oldest of them is a day old.
    """

    def __init__(self, retry_in_s: float) -> None:
        super().__init__(
            f"{DAILY_IDENTIFIES} IDENTIFYs in a day: Discord would reset the token at 1,000; "
            f"the next one is allowed in {retry_in_s / 60:.0f} min"
        )
        self.retry_in_s = retry_in_s


class IdentifyBudget:
    """The IDENTIFYs of one token: a file of eight-byte stamps (milliseconds, Unix), oldest first.

    Parameters
    ----------
    descriptor
        Open for reading and writing; closed by :meth:`close`.
    """

    def __init__(
        self, descriptor: int, *, limit: int = DAILY_IDENTIFIES, clock: Callable[[], float] = time.time
    ) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._clock = clock

    def stamps(self) -> list[float]:
        """Return the times of the last day's IDENTIFYs in Unix seconds; future times count as now."""
        payload = os.pread(self._descriptor, _MAX_BYTES, 0)
        whole = payload[: len(payload) - len(payload) % _STAMP.size]
        now = self._clock()
        found = [min(stamp / 1000, now) for (stamp,) in _STAMP.iter_unpack(whole)]
        return [at for at in found if now - at < DAY_S]

    def check(self) -> int:
        """Return the number of IDENTIFYs left.

        Raises
        ------
        IdentifyBudgetSpent
            There are none left.
        """
        spent = sorted(self.stamps())
        if len(spent) >= self._limit:
            raise IdentifyBudgetSpent(max(spent[len(spent) - self._limit] + DAY_S - self._clock(), 1.0))
        return self._limit - len(spent)

    def spend(self) -> None:
        """Record an IDENTIFY before it is sent, so that it counts even if the process dies now.

        Raises
        ------
        IdentifyBudgetSpent
            It must not be sent.
        """
        self.check()
        kept = [int(at * 1000) for at in [*self.stamps(), self._clock()]]
        payload = b"".join(map(_STAMP.pack, kept))
        os.pwrite(self._descriptor, payload, 0)
        os.ftruncate(self._descriptor, len(payload))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def open_budget(path: Path) -> IdentifyBudget:
    """Open a budget file; creates it if missing.

    Raises
    ------
    OSError
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return IdentifyBudget(open_regular(path, os.O_RDWR | os.O_CREAT))


def inherited_budget(environment: MutableMapping[str, str]) -> IdentifyBudget | None:
    """Return the budget whose descriptor ``environment`` names; None when it names none."""
    number = environment.pop(IDENTIFY_FD_VARIABLE, None)
    return IdentifyBudget(int(number)) if number is not None and number.isdecimal() else None
