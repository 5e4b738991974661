"""The template is patched as nodes are, so that new clones are current; its folder is the operator's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import master
from master.configuration.settings import Settings
from master.ledger.rows.records import Patch
from master.services.patches.folder_patching import FolderNotPatched, FolderPatching
from master.services.patches.progress import progress_of
from master.services.patches.showing import document_of
from master.services.patches.targets import difference

PATCHED, PENDING = "patched", "is patched next"
_VERSION = "VERSION"
_PROGRAM = Path(master.__file__).resolve().parents[1]
"""What is installed, or checked out, and not the operator's."""


def needs_template(patch: Patch) -> bool:
    """Tell whether the template is still to be patched, or to be taken back."""
    template = progress_of(patch).template
    return (patch.state == "done" and template == PENDING) or (
        patch.state in ("rolled_back", "failed") and template in (PATCHED, PENDING)
    )


class TemplatePatching:
    """Patch the template.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    """

    def __init__(self, folders: FolderPatching, settings: Callable[[], Settings]) -> None:
        self._folders = folders
        self._settings = settings
        self._turn = asyncio.Lock()
        """What comes later is compared with what the one before has made of it."""

    async def apply(self, patch: Patch) -> str:
        """Patch the template, if the patch is for what is cloned from it; returns what came of it, in words."""
        async with self._turn:
            return await self._apply(patch)

    async def _apply(self, patch: Patch) -> str:
        document, folder = document_of(patch), self._settings().identity.template_path
        if folder.resolve().is_relative_to(_PROGRAM):
            return "left as it is: it came with Fleetmaster, and an update would undo it; TEMPLATE_PATH names a copy"
        targets = document.targets
        if targets.names or targets.tags or progress_of(patch).chosen:
            return "left as it is: the patch is for some nodes only"
        version = await asyncio.to_thread(_version_of, folder / _VERSION)
        if targets.templates and version not in targets.templates:
            return f"left as it is: the patch is for the template {', '.join(targets.templates[:3])}"
        differs = await asyncio.to_thread(difference, folder, document)
        if differs:
            return f"left as it is: {differs}"
        try:
            await self._folders.put(folder, patch_id=patch.id, sha256=patch.bundle_hash.hex())
            await self._folders.mark_good(folder, patch.id)
        except FolderNotPatched as error:
            return f"left as it is: {error.message}"
        return PATCHED

    async def take_back(self, patch: Patch) -> str:
        """Take a patch of the template back; returns what came of it, in words."""
        if progress_of(patch).template != PATCHED:
            return progress_of(patch).template
        try:
            async with self._turn:
                await self._folders.back(self._settings().identity.template_path, patch.id)
        except FolderNotPatched as error:
            return f"still patched: {error.message}"
        return "rolled back"


def _version_of(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
