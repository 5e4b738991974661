"""The face of this room: everything that an operator can have done about patches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from msgspec.structs import replace
from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import patch_nodes, patches
from master.ledger.rows.records import Patch
from master.services.core.directory import NodeDirectory
from master.services.core.patch_views import PatchDetails, PatchesView, PatchView
from master.services.patches.book import PatchBook
from master.services.patches.errors import PatchNotFound
from master.services.patches.receiving import Receiving
from master.services.patches.rollout import RollOuts
from master.services.patches.showing import details, patch_view, releases
from master.services.patches.silent_trials import SilentTrials

_LOOKED_THROUGH = 1_000
"""Patches among which a name or the beginning of an id is looked for."""


class Patches:
    """Accept patches, show them, and steer their roll-out.

    Parameters
    ----------
    key_names
        Returns the names of authors' keys by their ids.
    trials
        None: no program is patched in its folder.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        directory: NodeDirectory,
        book: PatchBook,
        receiving: Receiving,
        rollouts: RollOuts,
        key_names: Callable[[Connection], Mapping[str, str]],
        trials: SilentTrials | None = None,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._book = book
        self._receiving = receiving
        self._rollouts = rollouts
        self._key_names = key_names
        self._trials = trials

    async def run(self) -> None:
        """Carry out roll-outs until cancelled, those that an earlier master began first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rollouts.run(), name="roll-outs")
            if self._trials is not None:
                group.create_task(self._trials.run(), name="trials")

    # What there is

    async def list(self, limit: int) -> PatchesView:
        """Return the newest patches, and which of them each node has."""
        await self._shown_as_it_is()

        def read(connection: Connection) -> PatchesView:
            found = patches.recent(connection, limit=limit)
            rows = patch_nodes.at_a_glance(connection, [patch.id for patch in found])
            keys = self._key_names(connection)
            return PatchesView(
                patches=tuple(
                    patch_view(patch, [row for row in rows if row.patch_id == patch.id], keys) for patch in found
                ),
                nodes=releases(names, {patch.id: patch for patch in found}, rows),
            )

        names = {node.id: node.name for node in self._directory}
        return await self._ledger.read(read)

    async def show(self, word: str) -> PatchDetails:
        """Return all that is known of one patch.

        Raises
        ------
        PatchNotFound
        """
        patch_id = await self.find(word)
        await self._shown_as_it_is()

        def read(connection: Connection) -> PatchDetails | None:
            patch = patches.get(connection, patch_id)
            if patch is None:
                return None
            rows = patch_nodes.of_patch(connection, patch_id)
            return details(patch, rows, self._key_names(connection), self._directory.name_of)

        found = await self._ledger.read(read)
        if found is None:
            raise _not_found(word)
        return replace(found, nodes=self._rollouts.with_times(patch_id, found.nodes))

    async def find(self, word: str) -> str:
        """Return the id of a patch by its id or how that begins, ``ranks 4``, or ``ranks`` for the newest of the name.

        Raises
        ------
        PatchNotFound
        """
        known = await self._ledger.read(lambda connection: patches.recent(connection, limit=_LOOKED_THROUGH))
        wanted = word.strip()
        name, _, version = wanted.partition(" ")
        for patch in known:
            if patch.id == wanted.upper() or (patch.name == name and version in ("", str(patch.version))):
                return patch.id
        begun = [patch.id for patch in known if len(wanted) >= _LEAST_OF_ID and patch.id.startswith(wanted.upper())]
        if len(begun) != 1:
            raise _not_found(word, several=len(begun) > 1)
        return begun[0]

    # Steering

    async def receive(self, path: str, *, actor: str) -> PatchView:
        """Accept the bundle in a file; one that is known already is that patch.

        Raises
        ------
        PatchRefused, FilesFailed, LedgerError
        """
        patch, is_new = await self._receiving.receive(path, actor=actor)
        if is_new:
            self._rollouts.announce(patch, actor)
        return await self._view(patch.id)

    async def deploy(
        self,
        word: str,
        *,
        actor: str,
        canary: int | None = None,
        soak_s: float | None = None,
        urgent: bool = False,
        nodes: tuple[str, ...] = (),
    ) -> PatchView:
        """Roll a patch out, once all who must have approved it; whoever wants it rolled out approves it.

        Raises
        ------
        PatchNotFound, PatchNotNow, PatchRefused, NoSuchNode
        """
        patch_id = await self.find(word)
        chosen = tuple(self._directory.find(name).id for name in nodes)
        await self._rollouts.deploy(patch_id, actor=actor, canary=canary, soak_s=soak_s, urgent=urgent, chosen=chosen)
        return await self._view(patch_id)

    async def approve(self, word: str, *, actor: str) -> PatchView:
        """Count an operator's approval, once; a roll-out that waits for the last one begins.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.approve(patch_id, actor=actor)
        return await self._view(patch_id)

    async def pause(self, word: str, *, actor: str, why: str = "") -> PatchView:
        """Order no further node; those under way end what they began.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.pause(patch_id, actor=actor, why=why)
        return await self._view(patch_id)

    async def resume(self, word: str, *, actor: str) -> PatchView:
        """Go on with a roll-out that is paused, or that asks.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.resume(patch_id, actor=actor)
        return await self._view(patch_id)

    async def abort(self, word: str, *, actor: str, why: str = "") -> PatchView:
        """End a roll-out where it is: nodes keep what they have.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.abort(patch_id, actor=actor, why=why)
        return await self._view(patch_id)

    async def retry(self, word: str, *, actor: str) -> PatchView:
        """Take up a roll-out that was aborted or failed, from where it was.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.retry(patch_id, actor=actor)
        return await self._view(patch_id)

    async def rollback(self, word: str, *, actor: str, why: str = "") -> PatchView:
        """Have every node that has a patch go back; it is quarantined.

        Raises
        ------
        PatchNotFound, PatchNotNow
        """
        patch_id = await self.find(word)
        await self._rollouts.rollback(patch_id, actor=actor, why=why)
        return await self._view(patch_id)

    async def set_message(self, patch_id: str, channel_id: int, message_id: int) -> None:
        """Note the message of PATCH_CHANNEL that shows a patch, to which nodes react.

        Raises
        ------
        PatchNotFound
        """
        await self._rollouts.change(
            patch_id, lambda patch: replace(patch, message_channel_id=channel_id, message_id=message_id)
        )
        self._rollouts.tell_message(patch_id)

    async def find_by_message(self, message_id: int) -> Patch | None:
        """Return the patch that a message shows; None if it shows none."""
        known = await self._ledger.read(lambda connection: patches.recent(connection, limit=_LOOKED_THROUGH))
        return next((patch for patch in known if patch.message_id == message_id), None)

    async def _view(self, patch_id: str) -> PatchView:
        await self._shown_as_it_is()

        def read(connection: Connection) -> PatchView | None:
            patch = patches.get(connection, patch_id)
            rows = patch_nodes.of_patch(connection, patch_id)
            return None if patch is None else patch_view(patch, rows, self._key_names(connection))

        found = await self._ledger.read(read)
        if found is None:
            raise _not_found(patch_id)
        return found

    async def _shown_as_it_is(self) -> None:
        """Write what is not on record yet; where the ledger is away or slow, what it has is shown."""
        if self._ledger.away is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WRITTEN_WITHIN_S):
                    await self._book.flush()


_LEAST_OF_ID = 4
_WRITTEN_WITHIN_S = 3.0


def _not_found(word: str, *, several: bool = False) -> PatchNotFound:
    hint = "`fleet patch status` lists them"
    if several:
        return PatchNotFound(f"several patches begin with {word[:40]!r}", hint=hint)
    return PatchNotFound(f"there is no patch {word[:60]!r}", hint=hint)
