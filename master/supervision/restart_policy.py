"""Restart policy: at once, after a backoff, or slowly from quarantine. Pure: it has no clock."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from master.configuration.settings import SupervisionSettings


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do after an exit."""

    delay_s: float
    quarantined: bool
    reason: str


DAILY_EXITS = 100
"""More exits in a day without a healthy period mean quarantine, even when they are far apart: at the longest backoff, a
bot that dies every 75 s would still use up Discord's 1,000 IDENTIFYs a day."""
_DAY_S = 86_400.0


class RestartPolicy:
    """The restart policy of one node.

    The first restart is immediate. Then the delay grows exponentially, with jitter, up to a cap; it is reset once the
    node was ready for a healthy period. Too many exits in a window mean quarantine: slow retries without end. A node
    that had been ready for a while, or was killed while ready, is not in a crash loop: it restarts at once, but counts
    towards the daily limit.

    Parameters
    ----------
    settings
        Delays, factor, cap, jitter, window.
    rng
        Source of the jitter; must not be shared with forked processes.
    """

    def __init__(self, settings: SupervisionSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._failures = 0
        self._exits: deque[float] = deque()
        self._exits_today: deque[float] = deque(maxlen=DAILY_EXITS + 1)
        self.quarantined = False

    def after_exit(
        self, now: float, *, ready_for_s: float | None, out_of_memory: bool = False, killed: bool = False
    ) -> Decision:
        """Decide after an exit.

        Parameters
        ----------
        now
            Monotonic seconds.
        ready_for_s
            How long the node had been ready; None when it never was.
        out_of_memory
            It hit a memory limit, which it will hit again: without a healthy period this counts as a failure.
        killed
            Somebody sent SIGKILL to a ready node: not a failure of the node, however briefly it was ready.
        """
        settings = self._settings
        if ready_for_s is not None and ready_for_s >= settings.healthy_after_s:
            self.release()
        steady_after_s = settings.healthy_after_s if out_of_memory else settings.steady_after_s
        steady = ready_for_s is not None and (ready_for_s >= steady_after_s or (killed and not out_of_memory))
        self._exits_today.append(now)
        if not steady:
            self._exits.append(now)
            self._failures += 1
        while self._exits and now - self._exits[0] > settings.quarantine_window_s:
            self._exits.popleft()
        while now - self._exits_today[0] > _DAY_S:
            self._exits_today.popleft()
        if self.quarantined or self._is_excessive():
            self.quarantined = True
            return Decision(self._jittered(settings.quarantine_retry_s), True, self._reason())
        if steady or self._failures == 1:
            return Decision(0.0, False, "it had been ready" if steady else "first restart")
        exponent = min(self._failures - 2, 60)
        delay = min(settings.backoff_initial_s * settings.backoff_factor**exponent, settings.backoff_cap_s)
        return Decision(self._jittered(delay), False, f"restart {self._failures} in a row")

    def update_settings(self, settings: SupervisionSettings) -> None:
        """Decide by other figures from the next exit on; past exits still count."""
        self._settings = settings

    def release(self) -> None:
        """Reset the policy: the node is healthy, or the operator released it."""
        self._failures = 0
        self._exits.clear()
        self._exits_today.clear()
        self.quarantined = False

    def forgive(self, since: float) -> bool:
        """Forget the exits after ``since``: Discord was away, and that was not the node's failure.

        Returns
        -------
        bool
            Whether there were any.
        """
        forgiven = [at for at in self._exits_today if at >= since]
        if not forgiven:
            return False
        for exits in (self._exits, self._exits_today):
            while exits and exits[-1] >= since:
                exits.pop()
        self._failures = len(self._exits)
        self.quarantined = self.quarantined and self._is_excessive()
        return True

    def _is_excessive(self) -> bool:
        return len(self._exits) > self._settings.quarantine_exits or len(self._exits_today) > DAILY_EXITS

    def _reason(self) -> str:
        if len(self._exits_today) > DAILY_EXITS:
            return f"more than {DAILY_EXITS} exits in a day"
        return f"{len(self._exits)} exits within {self._settings.quarantine_window_s:g} s"

    def _jittered(self, delay_s: float) -> float:
        spread = self._settings.backoff_jitter
        return delay_s * self._rng.uniform(1 - spread, 1 + spread)
