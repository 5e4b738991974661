"""Roll-outs: what operators may do to them, and who carries them out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from master.ledger.rows.records import Patch
from master.services.core.patch_views import PatchNodeView
from master.services.patches.book import PatchBook
from master.services.patches.errors import PatchNotFound, PatchNotNow
from master.supervision.clock import Clock


class RollOuts:
    """Carry out roll-outs, and let operators steer them."""

    def __init__(self, *, book: PatchBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock

    async def run(self) -> None:
        """Carry out roll-outs until cancelled."""
        await asyncio.Event().wait()

    def announce(self, patch: Patch, actor: str) -> None:
        """Tell that a patch was received."""
        self._book.keep(patch, ())

    async def change(self, patch_id: str, change: Callable[[Patch], Patch]) -> None:
        """Change what is known of a patch, and nothing of its state.

        Raises
        ------
        PatchNotFound
        """
        patch = await self._book.load(patch_id)
        if patch is None:
            raise PatchNotFound(f"there is no patch {patch_id}")
        self._book.put(change(patch))
        await self._book.flush()

    def with_times(self, patch_id: str, nodes: tuple[PatchNodeView, ...]) -> tuple[PatchNodeView, ...]:
        """Return the nodes of a patch with how long each took, as far as this master saw it."""
        return tuple(replace(view, ms=None) for view in nodes)

    async def deploy(
        self,
        patch_id: str,
        *,
        actor: str,
        canary: int | None,
        soak_s: float | None,
        urgent: bool,
        chosen: tuple[str, ...],
    ) -> None:
        """Roll a patch out."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def approve(self, patch_id: str, *, actor: str) -> None:
        """Count an approval."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def pause(self, patch_id: str, *, actor: str, why: str) -> None:
        """Order no further node."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def resume(self, patch_id: str, *, actor: str) -> None:
        """Go on."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def abort(self, patch_id: str, *, actor: str, why: str) -> None:
        """End a roll-out where it is."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def retry(self, patch_id: str, *, actor: str) -> None:
        """Take a roll-out up again."""
        raise PatchNotNow("roll-outs come with the next commit")

    async def rollback(self, patch_id: str, *, actor: str, why: str) -> None:
        """Have every node go back."""
        raise PatchNotNow("roll-outs come with the next commit")
