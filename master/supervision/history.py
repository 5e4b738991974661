"""What a node used in the last minutes and hours, in rings of fixed size: memory does not grow with time."""

from __future__ import annotations

from array import array

FINE_S, FINE_SLOTS = 1.0, 300
COARSE_S, COARSE_SLOTS = 60.0, 1440


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

    def put(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
        """Take a reading; slots without one, while the node did not run, are zero.

        Parameters
        ----------
        now
            Monotonic seconds.
        """
        slot = int(now / self.slot_s) + 1
        missed = min(slot - self._at - 1, self._slots) if self._at else 0
        for number in range(slot - missed, slot):
            self._cpu[number % self._slots] = self._rss[number % self._slots] = 0.0
        if slot > self._at:
            self._filled = min(self._filled + missed + 1, self._slots)
            self._at = slot
            self._cpu[slot % self._slots], self._rss[slot % self._slots] = cpu_percent, rss_bytes / 2**20
        else:
            # Another reading of the same slot: the highest is what an operator asks for.
            index = slot % self._slots
            self._cpu[index] = max(self._cpu[index], cpu_percent)
            self._rss[index] = max(self._rss[index], rss_bytes / 2**20)

    def read(self) -> tuple[list[float], list[float]]:
        """Give CPU (percent of a core) and memory (RSS in MiB), oldest first."""
        numbers = [number % self._slots for number in range(self._at - self._filled + 1, self._at + 1)]
        return [round(self._cpu[n], 2) for n in numbers], [round(self._rss[n], 2) for n in numbers]


class NodeHistory:
    """The rings of one node: seconds for five minutes, minutes for a day."""

    def __init__(self) -> None:
        self.fine = Ring(FINE_S, FINE_SLOTS)
        self.coarse = Ring(COARSE_S, COARSE_SLOTS)

    def put(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
        """Take a reading."""
        self.fine.put(now, cpu_percent, rss_bytes)
        self.coarse.put(now, cpu_percent, rss_bytes)
