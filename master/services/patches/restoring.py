"""Back to any generation of a node whose release is still kept in its folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from master.ledger.database import Ledger
from master.ledger.rows import patch_nodes
from master.ledger.rows.records import Node
from master.services.core.directory import NodeDirectory
from master.services.core.lineage_views import RestoredView
from master.services.fleet.launching import Launcher
from master.services.patches.code_files import read_code
from master.services.patches.errors import PatchNotNow
from master.services.patches.lineage import Lineage, differences
from master.services.patches.lineage_keeping import LineageKeeper
from master.services.patches.manifest import read_manifest
from master.supervision.supervisor import Supervisor

_UNDER_WAY = ("ordered", "received", "staged", "applied", "healthy", "rolling_back")


class FolderReleases(Protocol):
    """The releases in nodes' folders, which the master does not open itself."""

    async def restore(self, folder: Path, release: int) -> int:
        """Put a release that is kept in force; returns which is in force now."""


class Restoring:
    """Restore what a node was."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        directory: NodeDirectory,
        supervisor: Supervisor,
        launcher: Launcher,
        lineage: Lineage,
        keeper: LineageKeeper,
        folders: FolderReleases,
    ) -> None:
        self._ledger, self._directory = ledger, directory
        self._supervisor, self._launcher = supervisor, launcher
        self._lineage, self._keeper, self._folders = lineage, keeper, folders

    async def restore(self, name: str, number: int, *, actor: str) -> RestoredView:
        """Put the release of a generation in force again, and restart the node if it runs.

        Raises
        ------
        NoSuchNode, PatchNotFound
        PatchNotNow
            A patch is being rolled out on the node.
        FleetError
            The release is not kept any more, or the folder could not be changed; it is as it was.
        """
        node = self._directory.find(name)
        wanted = await self._lineage.find(node.id, number)
        await self._require_calm(node)
        folder, manifest = self._launcher.folder_of(node), read_manifest(wanted)
        release = await self._folders.restore(folder, manifest.release)
        # Before the restart: whoever watches its trial finds there that it was restored.
        made = await self._keeper.note_restored(node, wanted, release, actor)
        restarted = self._supervisor.view(node.id).pid is not None
        if restarted:
            await self._supervisor.restart(node.id)
        code = await asyncio.to_thread(read_code, folder)
        return RestoredView(
            node=node.name,
            generation=made.generation,
            restored=number,
            release=release,
            restarted=restarted,
            differs=differences(manifest.files, code.files),
        )

    async def _require_calm(self, node: Node) -> None:
        rows = await self._ledger.read(lambda connection: patch_nodes.of_node(connection, node.id))
        if any(row.state in _UNDER_WAY for row in rows):
            raise PatchNotNow(
                f"a patch is being rolled out on {node.name}",
                hint="wait until it is good, or roll it back: `fleet patch status`",
            )
