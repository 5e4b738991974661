"""Which nodes get a patch: by what it is for, by what the operator chose, and by what their folders are."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec
from sqlalchemy import Connection

from handshake.files import read_regular
from handshake.patch_document import MAX_UNPACKED_BYTES, PatchDocument
from master.ledger.database import Ledger
from master.ledger.rows import patch_nodes, patches
from master.ledger.rows.records import Node
from master.services.core.directory import NodeDirectory

_LOOKED_THROUGH = 1_000
"""Patches among which those that one depends on are looked for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Nodes that a patch is for."""

    nodes: tuple[Node, ...]
    skipped: tuple[tuple[Node, str], ...]
    """With the reason, in one line."""


class Targets:
    """Choose nodes.

    Parameters
    ----------
    folder_of
        Returns a node's folder.
    is_watched
        Tells whether a node is restarted when its files change.
    """

    def __init__(
        self,
        ledger: Ledger,
        directory: NodeDirectory,
        folder_of: Callable[[Node], Path],
        is_watched: Callable[[Node], bool] = lambda _node: False,
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._folder_of = folder_of
        self._is_watched = is_watched

    async def choose(
        self, document: PatchDocument, chosen: Collection[str] = (), *, besides: Collection[str] = ()
    ) -> Choice:
        """Return the nodes that a patch is for.

        Parameters
        ----------
        chosen
            Ids of the nodes that the operator wants; empty: all.
        besides
            Ids of those that are not looked at, since they were before.
        """
        wanted, skipped = list[Node](), list[tuple[Node, str]]()
        for node in self._directory:
            if node.id in besides or (chosen and node.id not in chosen):
                continue
            if not fits(node, document):
                if chosen:
                    skipped.append((node, f"the patch is not for it: {_kinds(document)}"))
            elif node.host:
                skipped.append((node, f"it is on another box, {node.host}"))
            elif self._is_watched(node):
                skipped.append((node, "it is being developed: with WATCH a change of its files restarts it"))
            else:
                wanted.append(node)
        without = await self._without(document.depends_on, wanted)
        coming = await self._coming()
        found = await asyncio.to_thread(
            lambda: [difference(self._folder_of(node), document, coming.get(node.id, {})) for node in wanted]
        )
        kept = []
        for node, differs in zip(wanted, found, strict=True):
            if node.id in without:
                skipped.append((node, f"it does not have {without[node.id]}, which the patch needs"))
            elif differs:
                skipped.append((node, differs))
            else:
                kept.append(node)
        return Choice(tuple(kept), tuple(skipped))

    async def _coming(self) -> dict[str, dict[str, str | None]]:
        """Return what patches that nodes are still to get will make of their files: digest by path, by node."""

        def read(connection: Connection) -> dict[str, dict[str, str | None]]:
            found = dict[str, dict[str, str | None]]()
            for patch in patches.with_nodes_left(connection):
                if patch.state != "done":
                    continue
                after = files_after(msgspec.json.decode(patch.document, type=PatchDocument))
                for row in patch_nodes.of_patch(connection, patch.id):
                    if row.state == "absent":
                        found.setdefault(row.node_id, {}).update(after)
            return found

        return await self._ledger.read(read)

    async def _without(self, names: Sequence[str], nodes: Iterable[Node]) -> dict[str, str]:
        """Return the patch that each node lacks of those that it must have."""
        if not names:
            return {}

        def held(connection: Connection) -> set[tuple[str, str]]:
            known = {patch.id: patch.name for patch in patches.recent(connection, limit=_LOOKED_THROUGH)}
            needed = [patch_id for patch_id, name in known.items() if name in names]
            rows = patch_nodes.at_a_glance(connection, needed)
            return {(row.node_id, known[row.patch_id]) for row in rows if row.state in patch_nodes.HELD}

        found = await self._ledger.read(held)
        lacking = {node.id: [name for name in names if (node.id, name) not in found] for node in nodes}
        return {node_id: missing[0] for node_id, missing in lacking.items() if missing}


def fits(node: Node, document: PatchDocument) -> bool:
    """Tell whether a patch is for nodes of this kind."""
    targets = document.targets
    return (
        (not targets.templates or node.template_version in targets.templates)
        and (not targets.tags or not set(targets.tags).isdisjoint(node.tags))
        and (not targets.names or node.name.casefold() in {name.casefold() for name in targets.names})
    )


def _kinds(document: PatchDocument) -> str:
    targets = document.targets
    told = [
        f"{kind} {', '.join(values[:3])}{', ...' if len(values) > 3 else ''}"
        for kind, values in (("template", targets.templates), ("tag", targets.tags), ("node", targets.names))
        if values
    ]
    return " and ".join(told)


def files_after(document: PatchDocument) -> dict[str, str | None]:
    """Return what a patch makes of the files that it touches: digest by path; None: it is taken away."""
    after: dict[str, str | None] = {file.path: None for file in document.removed}
    return after | {file.path: file.sha256 for file in document.files}


def difference(folder: Path, document: PatchDocument, coming: Mapping[str, str | None] = MappingProxyType({})) -> str:
    """Return why a patch does not fit a folder, in one line; empty when it does. Blocks.

    Parameters
    ----------
    coming
        Digests of files as they will be by the time that the folder is patched.
    """
    if not folder.is_dir():
        return "its folder is gone"
    before = {file.path: file.base for file in document.files}
    before |= {file.path: file.base for file in document.removed}
    after: dict[str, str | None] = {file.path: file.sha256 for file in document.files}
    found = {path: coming[path] if path in coming else _digest(folder / path) for path in before}
    if all(found[path] == after.get(path) for path in found):
        return "it is already as the patch would make it"
    for path, digest in found.items():
        if digest != before[path]:
            if digest is None:
                return f"{path} is not there, and the patch was made for a bot that has it"
            if before[path] is None:
                return f"{path} is there already, and the patch brings a new one"
            return f"{path} was changed: it is not the file that the patch was made for"
    return ""


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_regular(path, MAX_UNPACKED_BYTES + 1)).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"unreadable: {error.strerror}"
