"""What a node used in the last minutes and hours, in rings of fixed size: memory does not grow with time."""

from __future__ import annotations

from array import array

FINE_S, FINE_SLOTS = 1.0, 300
COARSE_S, COARSE_SLOTS = 60.0, 1440
SLOWEST_READING_S = 9.0
"""While nobody looks a reading of a node that rests stands for nine slots: CPU is its mean over them."""
_PAUSE_S = 1.5 * SLOWEST_READING_S
"""Without a reading for this long it did not run."""


class Ring:
    """The last figures of two series, one pair a slot of time.

    Parameters
    ----------
    slot_s
        Length of a slot in seconds.
    slots
        How many are kept.
    """

    def __init__(self, slot_s: float, slots: int) -> None:
        self.slot_s = slot_s
        self._cpu = array("f", bytes(4 * slots))
        self._rss = array("f", bytes(4 * slots))
        self._slots = slots
        self._at = 0
        """Number of the slot that was written last; 0 before the first."""
        self._filled = 0

    def put(self, now: float, cpu_percent: float, rss_mb: float, *, goes_on: bool = False) -> None:
        """Take a reading.

        Parameters
        ----------
        now
            Monotonic seconds.
        goes_on
            It covers the slots since the last reading too; otherwise the node did not run in them, and they are zero.
        """
        slot = int(now / self.slot_s) + 1
        index = slot % self._slots
        if slot == self._at:
            # Another reading of the same slot: the highest is what an operator asks for.
            if cpu_percent > self._cpu[index]:
                self._cpu[index] = cpu_percent
            if rss_mb > self._rss[index]:
                self._rss[index] = rss_mb
            return
        if slot != self._at + 1 and self._at:
            self._fill(slot, *((cpu_percent, rss_mb) if goes_on else (0.0, 0.0)))
        self._filled = min(self._filled + 1, self._slots)
        self._at = slot
        self._cpu[index], self._rss[index] = cpu_percent, rss_mb

    def _fill(self, slot: int, cpu_percent: float, rss_mb: float) -> None:
        missed = min(slot - self._at - 1, self._slots)
        for number in range(slot - missed, slot):
            self._cpu[number % self._slots], self._rss[number % self._slots] = cpu_percent, rss_mb
        self._filled = min(self._filled + missed, self._slots)

    def read(self) -> tuple[list[float], list[float]]:
        """Return CPU (percent of a core) and memory (RSS in MiB), oldest first."""
        numbers = [number % self._slots for number in range(self._at - self._filled + 1, self._at + 1)]
        return [round(self._cpu[n], 2) for n in numbers], [round(self._rss[n], 2) for n in numbers]


class NodeHistory:
    """The rings of one node: seconds for five minutes, minutes for a day."""

    def __init__(self) -> None:
        self._fine = Ring(FINE_S, FINE_SLOTS)
        self._coarse = Ring(COARSE_S, COARSE_SLOTS)
        self._at = self._rested_until = float("-inf")
        self._rss_mb = 0.0

    @property
    def fine(self) -> Ring:
        """The seconds."""
        self._catch_up()
        return self._fine

    @property
    def coarse(self) -> Ring:
        """The minutes."""
        self._catch_up()
        return self._coarse

    def put(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
        """Take a reading of a process that ran since the last one."""
        self._catch_up()
        goes_on = now - self._at < _PAUSE_S
        self._rss_mb = rss_bytes / 2**20
        self._write(now, cpu_percent, goes_on=goes_on)

    def rest(self, now: float, rss_bytes: int) -> None:
        """Note that the process used nothing since the last reading; written down once it matters."""
        if now - max(self._at, self._rested_until) < _PAUSE_S:
            self._rested_until = now
        else:
            # Another process than the one that was read last: what is between them is nobody's.
            self.put(now, 0.0, rss_bytes)

    def _catch_up(self) -> None:
        if self._rested_until > self._at:
            self._write(self._rested_until, 0.0, goes_on=True)

    def _write(self, now: float, cpu_percent: float, *, goes_on: bool) -> None:
        self._fine.put(now, cpu_percent, self._rss_mb, goes_on=goes_on)
        self._coarse.put(now, cpu_percent, self._rss_mb, goes_on=goes_on)
        self._at = now
