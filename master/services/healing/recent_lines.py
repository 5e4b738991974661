"""The last lines that nodes wrote: what a new pattern is timed on."""

from __future__ import annotations

from collections.abc import Iterable

from master.services.core.exit_meaning import without_stamp
from master.services.healing.matching import MAX_LINE_BYTES
from master.supervision.logs import NodeLogs

MOST_LINES = 1_000
_LEAST_OF_A_NODE = 10
_BYTES_OF_A_NODE = 256 * 1024


def recent_lines(logs: NodeLogs, names: Iterable[str]) -> list[str]:
    """Return the last lines of standard error of nodes, as many of each; without their times. Blocks.

    Parameters
    ----------
    names
        Of the nodes.
    """
    nodes = list(names)
    found = list[str]()
    for name in nodes:
        count = max(MOST_LINES // len(nodes), _LEAST_OF_A_NODE)
        found += logs.tail(name, lines=count, max_bytes=_BYTES_OF_A_NODE)
        if len(found) >= MOST_LINES:
            break
    return [without_stamp(line)[:MAX_LINE_BYTES] for line in found[:MOST_LINES]]
