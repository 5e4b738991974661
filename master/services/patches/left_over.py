"""What a roll-out that is done leaves open, in words: nodes that are still on trial, and nodes that do not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from master.ledger.rows.records import PatchNode

_NAMED = 5
_ON_TRIAL = ("applied", "healthy")


def left_over(rows: Iterable[PatchNode], name_of: Callable[[str], str]) -> str:
    """Return which nodes have not called a patch good, and how many get it with their next start; empty for none."""
    rows = list(rows)
    on_trial = sorted((name_of(row.node_id) for row in rows if row.state in _ON_TRIAL), key=str.casefold)
    absent = sum(row.state == "absent" for row in rows)
    told = []
    if on_trial:
        more = f" and {len(on_trial) - _NAMED} more" if len(on_trial) > _NAMED else ""
        told.append(f"still on trial: {', '.join(on_trial[:_NAMED])}{more}")
    if absent:
        told.append(
            "1 that does not run gets it before it starts"
            if absent == 1
            else f"{absent} that do not run get it before they start"
        )
    return "; ".join(told)[:400]
