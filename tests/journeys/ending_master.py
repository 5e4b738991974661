"""A master, unchanged, with a task among its own that will not end: as a defect would be one."""

from __future__ import annotations

import asyncio
import sys

import master.ending
from master.__main__ import main
from master.services.upkeep.box import BoxWatch


async def never_ends(_box: BoxWatch) -> None:
    """Ignore what one is asked."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


if __name__ == "__main__":
    BoxWatch.run = never_ends  # type: ignore[method-assign, assignment]
    master.ending.HURRIED_STEP_S = 0.3
    sys.exit(main())
