"""Limits of wrong licence codes: of one person, and of all together."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from master.events import AlertLevel
from master.services.core.alerts import Alerts
from master.services.trust.licence_rules import TooManyGuesses
from master.supervision.clock import Clock
from master.wording import duration

WINDOW_S = 600.0
MOST_OF_ONE = 5
"""Wrong codes of one person in the window; people mistype a code once or twice."""
MOST_OF_ALL = 100
"""Wrong codes of all in the window; from then on each person has one."""
MOST_PEOPLE = 10_000


def flag_guesses(alerts: Alerts, who: int, count: int) -> None:
    """Raise the alert for wrong codes of one person, or of many (0)."""
    by = f"<@{who}>" if who else "Several people"
    alerts.raise_alert(
        AlertLevel.WARNING,
        "Licence codes are guessed",
        key=f"licence guesses:{who}",
        text=f"{by} tried {count} wrong codes in {duration(WINDOW_S)}. Further ones are not looked at until that is "
        "over. A code cannot be guessed; somebody may have a list of codes of another shop, or types one again "
        "and again.",
        is_security=True,
    )


class Guesses:
    """Count wrong codes; who tried too many is refused before the next one is looked at.

    Parameters
    ----------
    on_flag
        Called once in a window, with who guesses (0: many) and how many codes were wrong.
    """

    def __init__(self, clock: Clock, on_flag: Callable[[int, int], None] = lambda _who, _count: None) -> None:
        self._clock = clock
        self._on_flag = on_flag
        self._of_person: OrderedDict[int, deque[float]] = OrderedDict()
        self._of_all: deque[float] = deque(maxlen=MOST_OF_ALL)
        self._flagged: dict[int, float] = {}
        self.refused = 0
        """Attempts that were not looked at."""

    def check(self, user_id: int) -> None:
        """Check that a person may try a code.

        Raises
        ------
        TooManyGuesses
        """
        now = self._clock.monotonic()
        mine = self._recent(self._of_person.get(user_id), now)
        most = 1 if len(self._recent(self._of_all, now)) >= MOST_OF_ALL else MOST_OF_ONE
        if len(mine) < most:
            return
        self.refused += 1
        self._flag(user_id, len(mine), now)
        wait = duration(max(WINDOW_S - (now - mine[0]), 1.0))
        raise TooManyGuesses(f"too many wrong codes were tried: wait {wait}", hint="copy the code, do not type it")

    def note_wrong(self, user_id: int) -> None:
        """Count a wrong code."""
        now = self._clock.monotonic()
        mine = self._of_person.setdefault(user_id, deque(maxlen=MOST_OF_ONE))
        mine.append(now)
        self._of_person.move_to_end(user_id)
        if len(self._of_person) > MOST_PEOPLE:
            self._of_person.popitem(last=False)
        self._of_all.append(now)
        if len(self._recent(self._of_all, now)) >= MOST_OF_ALL:
            self._flag(0, MOST_OF_ALL, now)

    def _recent(self, times: deque[float] | None, now: float) -> deque[float]:
        if times is None:
            return deque()
        while times and now - times[0] >= WINDOW_S:
            times.popleft()
        return times

    def _flag(self, who: int, count: int, now: float) -> None:
        """Tell of a person, or of many, once in a window; of people one by one only until many are told of."""
        self._flagged = {known: at for known, at in self._flagged.items() if now - at < WINDOW_S}
        if who in self._flagged or 0 in self._flagged:
            return
        self._flagged[who] = now
        self._on_flag(who, count)
