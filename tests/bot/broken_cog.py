"""A cog that cannot be loaded."""

from __future__ import annotations


async def setup(_bot: object) -> None:
    """Fail as a cog with a defect does."""
    raise AttributeError("no such thing")
