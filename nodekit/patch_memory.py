"""What a node remembers of the patch that it was last given, beside its releases: its successor goes on with it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from handshake.files import open_regular, read_regular
from handshake.messages import PatchOrder
from nodekit.releases.records import FOLDER

log = logging.getLogger("node")

NAME = "order.json"
_MAX_BYTES = 64 * 1024


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """An order, and what is needed to end it."""

    order: PatchOrder = PatchOrder(patch_id="")
    reload: tuple[str, ...] = ()
    """The cogs that are loaded anew; empty: the node restarts."""
    failed_before: tuple[str, ...] = ()
    """Cogs that had failed before the patch: it is not to blame for those."""


class PatchMemory:
    """The note of one node, in its folder of releases."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER / NAME
        self._known: Remembered | None = None

    def remember(self, remembered: Remembered) -> None:
        """Replace the note; on a full disk it holds for this process alone."""
        self._known = remembered
        beside = self._path.with_name(f"{NAME}.new")
        try:
            beside.unlink(missing_ok=True)
            with os.fdopen(open_regular(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as stream:
                stream.write(msgspec.json.encode(remembered))
            beside.replace(self._path)
        except OSError as error:
            log.warning("the order about a patch is not kept for the next process: %s", error.strerror)

    def remember_order(self, order: PatchOrder) -> None:
        """Replace the order of the note, if it is about the same patch."""
        known = self.recall()
        same = known if known.order.patch_id == order.patch_id else Remembered()
        self.remember(msgspec.structs.replace(same, order=order))

    def recall(self) -> Remembered:
        """Return the note; an empty one if there is none."""
        if self._known is None:
            try:
                self._known = msgspec.json.decode(read_regular(self._path, _MAX_BYTES), type=Remembered)
            except (OSError, msgspec.MsgspecError):
                self._known = Remembered()
        return self._known

    def recall_of(self, patch_id: str) -> Remembered | None:
        """Return the note if it is about this patch."""
        known = self.recall()
        return known if known.order.patch_id == patch_id else None
