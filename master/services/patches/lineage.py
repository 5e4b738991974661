"""How nodes came to be what they are, read from the ledger; each manifest is verified whenever it is shown."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from master.ledger.database import Ledger
from master.ledger.rows import generations, nodes
from master.ledger.rows.records import Generation
from master.services.core.errors import NoSuchNode
from master.services.core.lineage_views import GenerationView, LineageView
from master.services.patches.errors import PatchNotFound
from master.services.patches.manifest import Manifest, ManifestSigner, read_manifest

_MOST_ANCESTORS = 20


class Lineage:
    """Show how a node came to be what it is."""

    def __init__(self, ledger: Ledger, signer: ManifestSigner) -> None:
        self._ledger, self._signer = ledger, signer

    async def show(self, name: str) -> LineageView:
        """Return the generations of a node, the oldest first.

        Raises
        ------
        NoSuchNode, LedgerError
        """
        return await self._ledger.read(lambda connection: self._read(connection, name))

    async def find(self, name: str, number: int) -> Generation:
        """Return one generation of a node, whose signature holds.

        Raises
        ------
        NoSuchNode, PatchNotFound, LedgerError
        """

        def read(connection: Connection) -> list[Generation]:
            return generations.of_subject(connection, "node", _id_of(connection, name))

        known = await self._ledger.read(read)
        found = next((one for one in known if one.generation == number), None)
        hint = f"`fleet lineage {name}` lists them"
        if found is None:
            raise PatchNotFound(f"{name} has no generation {number}", hint=hint)
        trouble = self._signer.trouble(found)
        if trouble:
            raise PatchNotFound(f"generation {number} of {name} is not trusted: {trouble}", hint=hint)
        return found

    def _read(self, connection: Connection, name: str) -> LineageView:
        node_id = _id_of(connection, name)
        found = list(reversed(generations.of_subject(connection, "node", node_id)))
        numbers = {one.generation for one in found}
        return LineageView(
            node=nodes.names(connection)[node_id],
            node_id=node_id,
            generations=tuple(self._views(found)),
            ancestors=tuple(self._ancestors(connection, found[0])) if found else (),
            missing=tuple(sorted(set(range(min(numbers), max(numbers))) - numbers)) if numbers else (),
        )

    def _views(self, found: list[Generation]) -> Iterator[GenerationView]:
        before: Manifest | None = None
        for one in found:
            manifest, trouble = read_manifest(one), self._signer.trouble(one)
            yield GenerationView(
                id=one.id,
                generation=one.generation,
                at=one.at.timestamp(),
                cause=one.cause,
                what=manifest.version,
                actor=one.actor,
                detail=one.detail,
                release=manifest.release,
                files=len(manifest.files) + manifest.left_out,
                changed=differences({} if before is None else before.files, manifest.files) if before else (),
                depends_on=manifest.depends_on,
                permissions=manifest.permissions,
                signature="does not hold" if trouble else "holds",
                trouble=trouble,
            )
            before = manifest

    def _ancestors(self, connection: Connection, first: Generation) -> Iterator[str]:
        names = nodes.names(connection)
        parent = generations.get(connection, first.parent) if first.parent else None
        for _ in range(_MOST_ANCESTORS):
            if parent is None:
                return
            manifest = read_manifest(parent)
            who = names.get(parent.subject, manifest.name) if parent.kind == "node" else parent.subject
            holds = "" if not self._signer.trouble(parent) else ", whose signature does not hold"
            version = f" {manifest.version}" if manifest.version else ""
            yield f"{who}{version} (generation {parent.generation}{holds})"
            parent = generations.get(connection, parent.parent) if parent.parent else None


def differences(before: dict[str, str], now: dict[str, str]) -> tuple[str, ...]:
    """Return which files differ: ``+new.py``, ``-gone.py``, ``~changed.py``."""
    paths = sorted({*before, *now})
    return tuple(
        f"{'+' if path not in before else '-' if path not in now else '~'}{path}"
        for path in paths
        if before.get(path) != now.get(path)
    )


def _id_of(connection: Connection, name: str) -> str:
    node = nodes.find_by_name(connection, name)
    if node is None:
        raise NoSuchNode(f"there is no node called {name[:60]!r}", hint="`fleet status` lists them")
    return node.id
