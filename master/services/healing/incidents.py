"""Incidents: a node's crashes from the first until it has been well for a while, so that each is told once."""

from __future__ import annotations

from dataclasses import dataclass, field

WELL_AFTER_S = 10.0
"""A node that crashed is told to be well again when it has been ready for this long."""
CALM_S = 900.0
"""A crash within this time of the one before it belongs to the same incident."""
_TOLD_AGAIN_AT = frozenset({3, 10, 30, 100, 300, 1000})
"""Numbers of equal crashes at which an incident is told again."""
CAPACITY = 1_000


@dataclass(slots=True, kw_only=True)
class Incident:
    """What went wrong with one node; times are monotonic seconds."""

    node_id: str
    name: str
    began_s: float
    last_s: float
    """When there was trouble last."""
    crashes: int = 0
    down_s: float
    """When it went down last."""
    ready_s: float | None = None
    """Since when it is ready again; None while it is not."""
    is_open: bool = False
    """Whether it was told that it is down, and not yet that it is well."""
    causes: dict[str, int] = field(default_factory=dict)
    """What was told, with the number of crashes since."""

    def count(self, cause: str, now_s: float) -> int:
        """Count a trouble; returns how often its cause was seen if that is to be told, and 0 if not."""
        self.last_s = now_s
        number = self.causes[cause] = self.causes.get(cause, 0) + 1
        return number if number == 1 or number in _TOLD_AGAIN_AT else 0

    def note_down(self, now_s: float) -> None:
        """Note that its process ended."""
        self.crashes += 1
        self.down_s, self.ready_s = now_s, None

    def well_in_s(self, now_s: float) -> float | None:
        """Return the seconds until it can be told to be well; None if nobody waits for that, or it is not ready."""
        if not self.is_open or self.ready_s is None:
            return None
        return max(self.ready_s + WELL_AFTER_S - now_s, 0.0)


class Incidents:
    """The incidents of all nodes; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._found: dict[str, Incident] = {}

    def of(self, node_id: str, name: str, now_s: float) -> Incident:
        """Return a node's incident; a new one if it was calm since the last."""
        found = self._found.get(node_id)
        if found is None or now_s - found.last_s > CALM_S:
            found = self._found[node_id] = Incident(
                node_id=node_id, name=name, began_s=now_s, down_s=now_s, last_s=now_s
            )
            while len(self._found) > CAPACITY:
                del self._found[next(iter(self._found))]
        return found

    def get(self, node_id: str) -> Incident | None:
        """Return a node's incident, if there is one."""
        return self._found.get(node_id)

    def close(self, node_id: str) -> None:
        """Forget a node's incident: an operator took over."""
        self._found.pop(node_id, None)

    def well(self, now_s: float, *, within_s: float = 0.0) -> list[Incident]:
        """Return the incidents that can be told to be well now, or so soon that they can wait for no other message."""
        waiting = ((incident, incident.well_in_s(now_s)) for incident in self._found.values())
        return [incident for incident, left_s in waiting if left_s is not None and left_s <= within_s]

    def next_well_in_s(self, now_s: float) -> float | None:
        """Return the seconds until the next can be told to be well; None if there is none."""
        left = (incident.well_in_s(now_s) for incident in self._found.values())
        return min((seconds for seconds in left if seconds is not None), default=None)
