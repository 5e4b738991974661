"""Whether nodes can reach the master: while its socket is gone, their silence is no fault of theirs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Hearing:
    """The state of the nodes' socket, which all runners share.

    Parameters
    ----------
    is_deaf
        Whether no node can connect.
    returned_at
        When they last could again, in monotonic seconds: patience with them begins anew.
    """

    is_deaf: bool = False
    returned_at: float = 0.0
