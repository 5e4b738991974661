"""Resource history of a node in ring buffers of fixed size."""

from __future__ import annotations

from array import array

FINE_S, FINE_SLOTS = 1.0, 300
COARSE_S, COARSE_SLOTS = 60.0, 1440
MAX_SAMPLE_INTERVAL_S = 9.0
"""Unwatched, resting nodes are sampled this rarely: one reading fills nine slots, with the mean CPU over them."""
_PAUSE_S = 1.5 * MAX_SAMPLE_INTERVAL_S
"""Without a reading for this long it did not run."""


class Ring:
    """A ring buffer of two series, with one pair of values for each time slot.

    Parameters
    ----------
    slot_s
        Length of a slot in seconds.
    slots
        Number of slots kept.
    """

    def __init__(self, slot_s: float, slots: int) -> None:
        self.slot_s = slot_s
        self._cpu = array("f", bytes(4 * slots))
        self._rss = array("f", bytes(4 * slots))
        self._slots = slots
        self._at = 0
        """Number of the last slot written; 0 before the first."""
        self._filled = 0

    def put(self, now: float, cpu_percent: float, rss_mb: float, *, continuous: bool = False) -> None:
        """Add a reading.

        Parameters
        ----------
        now
            Monotonic seconds.
        continuous
            The reading also covers the slots since the last one. Otherwise the node did not run, and they are zero.
        """
        slot = int(now / self.slot_s) + 1
        index = slot % self._slots
        if slot == self._at:
            # A second reading in the same slot: keep the peak, which is what operators look for.
            if cpu_percent > self._cpu[index]:
                self._cpu[index] = cpu_percent
            if rss_mb > self._rss[index]:
                self._rss[index] = rss_mb
            return
        if slot != self._at + 1 and self._at:
            self._fill(slot, *((cpu_percent, rss_mb) if continuous else (0.0, 0.0)))
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
    """The history of one node: seconds for five minutes, minutes for a day."""

    def __init__(self) -> None:
        self._fine = Ring(FINE_S, FINE_SLOTS)
        self._coarse = Ring(COARSE_S, COARSE_SLOTS)
        self._at = self._idle_until = float("-inf")
        self._rss_mb = 0.0

    @property
    def fine(self) -> Ring:
        """The ring of seconds."""
        self._flush_idle()
        return self._fine

    @property
    def coarse(self) -> Ring:
        """The ring of minutes."""
        self._flush_idle()
        return self._coarse

    def put(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
        """Add a reading of a process that ran since the last one."""
        self._flush_idle()
        continuous = now - self._at < _PAUSE_S
        self._rss_mb = rss_bytes / 2**20
        self._write(now, cpu_percent, continuous=continuous)

    def put_idle(self, now: float, rss_bytes: int) -> None:
        """Record that the process was idle since the last reading; the slots are written lazily."""
        if now - max(self._at, self._idle_until) < _PAUSE_S:
            self._idle_until = now
        else:
            # A different process than the last one read: the slots between them stay zero.
            self.put(now, 0.0, rss_bytes)

    def _flush_idle(self) -> None:
        if self._idle_until > self._at:
            self._write(self._idle_until, 0.0, continuous=True)

    def _write(self, now: float, cpu_percent: float, *, continuous: bool) -> None:
        self._fine.put(now, cpu_percent, self._rss_mb, continuous=continuous)
        self._coarse.put(now, cpu_percent, self._rss_mb, continuous=continuous)
        self._at = now
