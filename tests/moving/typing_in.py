"""The command line as an operator types it, and what a node prints."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from master.demonstration.stage import Stage


def fleet(
    *arguments: str, home: Path, user_home: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    names = {key: value for key, value in os.environ.items() if not key.startswith(("FLEET_", "PM2_"))}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "master.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        stdin=subprocess.DEVNULL,
        env={**names, "FLEET_HOME": str(home), "COLUMNS": "80", "HOME": str(user_home or home), **variables},
        check=False,
    )


async def typed(*arguments: str, home: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(fleet, *arguments, home=home, **more)


async def said_by(stage: Stage, name: str, text: str) -> None:
    """Wait until a node has printed a text."""
    async with asyncio.timeout(30):
        while not any(  # noqa: ASYNC110 - a file has no event
            text in path.read_text("utf-8", "replace") for path in (stage.home / "state" / "logs").rglob(f"{name}.*log")
        ):
            await asyncio.sleep(0.02)
