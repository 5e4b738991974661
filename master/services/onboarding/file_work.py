"""Files that follow a change in the ledger: noted before it is committed, carried out after it.

A crash in between leaves a note, by which the next master finishes the work, or drops it if nothing was committed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from functools import partial
from pathlib import Path

import msgspec

from handshake.files import read_regular
from master.durable import replace_file
from master.ledger.database import Ledger
from master.ledger.rows import nodes
from master.ledger.rows.records import Node
from master.services.core.errors import FilesFailed
from master.services.onboarding.manifests import change_manifest, forget_manifest

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20
PARTIAL_SUFFIX = ".partial"
"""Ends the hidden name of an archive that is not whole yet."""


class FileWork(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with a node's files once its change is committed."""

    node_id: str
    expects: tuple[str, str]
    """A field of the node and its value, as text: how the ledger has it once the change is committed."""
    remove: tuple[str, ...] = ()
    """Files and folders."""
    move: tuple[tuple[str, str], ...] = ()
    """From where to where; what is in the way stays beside it, as ``NAME.earlier``."""
    forget_manifest_in: str = ""
    """A folder that stays, without the node's manifest."""
    rename_manifest_in: str = ""
    """A folder whose manifest gets the node's new name: the value that is expected."""
    undo_manifest_in: str = ""
    """A folder whose manifest goes if the change was not committed."""

    def is_committed(self, node: Node | None) -> bool:
        """Tell whether the ledger has the change."""
        field, value = self.expects
        return node is not None and str(getattr(node, field)) == value

    def hide(self) -> list[str]:
        """Rename what is to be removed, so that its names are free at once; returns what went wrong. Blocks."""
        problems = []
        for path, hidden in self._removals():
            try:
                if path.exists() or path.is_symlink():
                    _delete(hidden)
                    path.rename(hidden)
            except OSError as error:
                problems.append(f"{path} could not be removed: {error.strerror or error}")
        return problems

    def carry_out(self) -> list[str]:
        """Do it, whatever of it was done before; returns what went wrong. Blocks."""
        problems = self.hide()
        for _, hidden in self._removals():
            try:
                _delete(hidden)
            except OSError as error:
                problems.append(f"{hidden} could not be removed: {error.strerror or error}")
        for source, target in self.move:
            try:
                _move(Path(source), Path(target))
            except OSError as error:
                problems.append(f"{source} could not be renamed: {error.strerror or error}")
        try:
            if self.forget_manifest_in:
                forget_manifest(Path(self.forget_manifest_in), self.node_id)
            if self.rename_manifest_in:
                change_manifest(Path(self.rename_manifest_in), self.node_id, name=self.expects[1])
        except OSError as error:
            problems.append(f"node.json could not be changed: {error.strerror or error}")
        return problems

    def undo(self) -> None:
        """Take back what was prepared for a change that was not committed. Blocks.

        Raises
        ------
        OSError
        """
        if self.undo_manifest_in:
            forget_manifest(Path(self.undo_manifest_in), self.node_id)

    def _removals(self) -> list[tuple[Path, Path]]:
        paths = map(Path, self.remove)
        return [(path, path.with_name(f".removing-{number}-{self.node_id}")) for number, path in enumerate(paths)]


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    if target.exists():
        target.replace(target.with_name(f"{target.name}.earlier"))
    source.rename(target)


class FileWorks:
    """The notes of one state folder.

    Parameters
    ----------
    folder
        The folder of the notes, a file for each node; created at the first.
    archives
        The folder of archives: parts of one that a crash left there are removed.
    """

    def __init__(self, folder: Path, archives: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._archives = archives
        self._ledger = ledger

    async def note(self, work: FileWork) -> None:
        """Write work down, before its change is committed.

        Raises
        ------
        FilesFailed
        """
        try:
            await asyncio.to_thread(self._write, work)
        except OSError as error:
            raise FilesFailed(
                f"{self._folder} cannot be written: {error.strerror or error}", hint="check the disk's room"
            ) from error

    def _write(self, work: FileWork) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(self._folder / work.node_id, msgspec.json.encode(work))

    async def finish(self, work: FileWork) -> tuple[str, ...]:
        """Carry committed work out, and drop its note; returns what went wrong, for the operator to mend."""
        problems = await asyncio.to_thread(work.carry_out)
        for problem in problems:
            log.warning("a node's files were left", extra={"node": work.node_id, "why": problem})
        await asyncio.to_thread(self._drop, work.node_id)
        return tuple(problems)

    async def drop(self, work: FileWork) -> None:
        """Take back what was prepared: the change was not committed."""
        await asyncio.to_thread(self._undo, work)

    def _undo(self, work: FileWork) -> None:
        try:
            work.undo()
        except OSError as error:
            log.warning("a node's files were left", extra={"node": work.node_id, "why": error.strerror})
        self._drop(work.node_id)

    def _drop(self, node_id: str) -> None:
        try:
            (self._folder / node_id).unlink(missing_ok=True)
        except OSError as error:
            log.warning("a note of changed files was left", extra={"node": node_id, "why": error.strerror})

    async def recover(self) -> None:
        """Finish or drop what an earlier master did not come to.

        Raises
        ------
        LedgerError
        """
        for work in await asyncio.to_thread(self._read_all):
            node_id = work.node_id
            node = await self._ledger.read(partial(nodes.get, node_id=node_id))
            if work.is_committed(node):
                await self.finish(work)
            else:
                await self.drop(work)
            log.warning("the change of a node was finished", extra={"node": node_id})
        await asyncio.to_thread(self._remove_partial)

    def _read_all(self) -> list[FileWork]:
        found = []
        for path in sorted(self._folder.glob("[!.]*")):
            try:
                found.append(msgspec.json.decode(read_regular(path, _MAX_BYTES), type=FileWork))
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("a note of changed files cannot be read", extra={"path": str(path), "why": str(error)})
        return found

    def _remove_partial(self) -> None:
        for path in self._archives.glob(f".*{PARTIAL_SUFFIX}"):
            try:
                path.unlink()
            except OSError as error:
                log.warning("a part of an archive was left", extra={"path": str(path), "why": error.strerror})
