"""The master's descriptors: as many as it may have, and how many of them its sockets may take."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass

log = logging.getLogger(__name__)

WANTED = 65_536
"""Some ten for each node, two sockets full of connections, and the ledger: far more than any box of ours needs."""
ENOUGH = 1_024
MAX_NODE_CONNECTIONS, MAX_CONTROL_CONNECTIONS = 1_024, 64
MIN_NODE_CONNECTIONS, MIN_CONTROL_CONNECTIONS = 8, 4


@dataclass(frozen=True, slots=True)
class DescriptorShares:
    """The largest numbers of connections on both sockets."""

    limit: int
    nodes: int
    control: int


def share_descriptors() -> DescriptorShares:
    """Raise the soft limit of this process as far as it may, and return what the sockets may take of it.

    Nodes have limits of their own (``OPEN_FILES_LIMIT``).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:
            log.warning("the limit of descriptors could not be raised", extra={"limit": soft, "why": str(error)})
    limit = WANTED if soft == resource.RLIM_INFINITY else soft
    if limit < ENOUGH:
        log.warning(
            "few descriptors: nodes beyond some tens cannot be started",
            extra={
                "limit": limit,
                "hint": f"raise the hard limit: ulimit -Hn {ENOUGH * 4}, or LimitNOFILE= of its unit",
            },
        )
    return DescriptorShares(
        limit=limit,
        nodes=max(MIN_NODE_CONNECTIONS, min(MAX_NODE_CONNECTIONS, limit // 4)),
        control=max(MIN_CONTROL_CONNECTIONS, min(MAX_CONTROL_CONNECTIONS, limit // 8)),
    )
