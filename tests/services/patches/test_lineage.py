"""How a node came to be what it is: noted as it happens, signed, shown, and put back."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from handshake.patch_document import PatchDocument, PatchedFile
from master.errors import FleetError
from master.ledger.identifiers import new_ulid
from master.ledger.rows import generations, patch_nodes, patches
from master.ledger.rows.records import Patch, PatchNode, PatchNodeState
from master.ledger.schema.tables import generations as table
from master.operations import lineage as operations
from master.operations.parameters import LineageRestoreParams, NodeParams
from master.services.core.lineage_views import LineageView
from master.services.onboarding.saga import CloneRequest
from master.services.patches.code_files import read_code
from master.services.patches.errors import PatchNotFound, PatchNotNow
from nodekit.releases import Releases
from tests.services.conftest import OPERATOR, House

ONE = b"x = 1\n"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Patched:
    """A node that is patched as nodes are: a release in its folder, and what the master knows of it."""

    def __init__(self, house: House) -> None:
        self.house, self.services = house, house.services
        self.folder = house.base / "atlas"

    async def clone(self) -> None:
        await self.house.clone(OPERATOR, CloneRequest(name="atlas", token=self.house.token("atlas"), start=False))
        await self.services.lineage_keeper.catch_up()
        self.node = self.services.directory.find("atlas")

    async def patch(self, version: int, content: bytes, base: bytes = ONE) -> str:
        """Put another content of cogs/one.py in force; returns the patch's id."""
        files = {"cogs/one.py": content}
        document = PatchDocument(
            name="ranks",
            version=version,
            created=1,
            expires=2,
            note="Ranks that count\nand more",
            depends_on=("roles",),
            files=(PatchedFile(path="cogs/one.py", sha256=digest(content), length=len(content), base=digest(base)),),
            reload=("one",),
            archive_sha256="0" * 64,
            archive_bytes=0,
        )
        clock = self.services.clock
        patch = Patch(
            id=new_ulid(clock),
            name="ranks",
            channel="main",
            version=version,
            key_id="SHA256:k",
            author="ada",
            received_at=clock.now(),
            received_from="cli:root",
            bundle_hash=digest(content + bytes([version])).encode()[:32],
            bundle_bytes=0,
            document=msgspec.json.encode(document).decode(),
            state="rolling",
            rollout_plan="{}",
            changed_at=clock.now(),
            changed_by="cli:root",
        )
        release = await asyncio.to_thread(self._put, document, files, patch.id)
        await self.services.ledger.write(lambda connection: patches.insert(connection, patch))
        await self.note(patch.id, "applied", release)
        await self.note(patch.id, "good", release)
        return patch.id

    def _put(self, document: PatchDocument, files: dict[str, bytes], patch_id: str) -> int:
        releases = Releases(self.folder)
        number = releases.stage(document, files, patch_id=patch_id)
        releases.switch(number)
        releases.mark_good()
        return number

    async def note(self, patch_id: str, state: PatchNodeState, release: int) -> None:
        row = PatchNode(
            patch_id=patch_id,
            node_id=self.node.id,
            wave=0,
            state=state,
            changed_at=self.services.clock.now(),
            release_after=release,
        )
        await self.services.ledger.write(lambda connection: patch_nodes.save(connection, [row]))
        await self.services.lineage_keeper.note_patched(self.node.id, patch_id, state)

    async def show(self) -> LineageView:
        return await self.house.operations.run(operations.lineage, OPERATOR, NodeParams(name="atlas"))

    async def causes(self) -> list[tuple[str, str]]:
        return [(one.cause, one.what) for one in (await self.show()).generations]


@pytest.fixture
async def patched(house: House) -> Patched:
    made = Patched(house)
    await made.clone()
    return made


async def test_a_clone_a_patch_an_edit_and_a_rollback_are_told_in_order(patched: Patched) -> None:
    await patched.patch(3, b"x = 3\n")
    (patched.folder / "bot.py").write_text("print('by hand')\n")
    (patched.folder / "data.db").write_text("no code")
    last = await patched.patch(4, b"x = 4\n", base=b"x = 3\n")
    await asyncio.to_thread(Releases(patched.folder).back)
    await patched.note(last, "rolled_back", 1)
    shown = await patched.show()
    assert [(one.generation, one.cause, one.what, one.release) for one in shown.generations] == [
        (1, "cloned", "template 9.9", 0),
        (2, "patched", "ranks 3", 1),
        (3, "edited", "ranks 3", 1),
        (4, "patched", "ranks 4", 2),
        (5, "rolled_back", "ranks 4", 1),
    ]
    assert [one.changed for one in shown.generations] == [
        (),
        ("~cogs/one.py",),
        ("~bot.py",),
        ("~cogs/one.py",),
        ("~cogs/one.py",),
    ]
    assert shown.ancestors == ("template 9.9 (generation 1)",)
    assert {one.signature for one in shown.generations} == {"holds"}
    assert shown.generations[1].depends_on == ("roles",)
    assert shown.generations[1].detail == "Ranks that count"
    assert shown.generations[0].permissions["isolated"] == "yes"
    assert not shown.missing


async def test_what_was_missed_is_noted_by_the_next_master_once(patched: Patched) -> None:
    await patched.patch(3, b"x = 3\n")
    await patched.services.ledger.write(
        lambda connection: connection.execute(table.delete().where(table.c.generation == 2, table.c.kind == "node"))
    )
    for _ in range(2):
        await patched.services.lineage_keeper.catch_up()
        assert await patched.causes() == [("cloned", "template 9.9"), ("patched", "ranks 3")]


async def test_a_row_that_was_changed_or_removed_is_told(patched: Patched) -> None:
    await patched.patch(3, b"x = 3\n")
    await patched.patch(4, b"x = 4\n", base=b"x = 3\n")
    ledger = patched.services.ledger
    found = await ledger.read(lambda connection: generations.of_subject(connection, "node", patched.node.id))
    forged = found[0].manifest.replace("ranks 4", "ranks 9")
    await ledger.write(
        lambda connection: connection.execute(table.update().where(table.c.id == found[0].id).values(manifest=forged))
    )
    await ledger.write(
        lambda connection: connection.execute(table.update().where(table.c.id == found[2].id).values(cause="patched"))
    )
    await ledger.write(lambda connection: connection.execute(table.delete().where(table.c.id == found[1].id)))
    shown = await patched.show()
    assert [(one.generation, one.signature) for one in shown.generations] == [
        (1, "does not hold"),
        (3, "does not hold"),
    ]
    assert "manifest changed" in shown.generations[1].trouble
    assert "row differs" in shown.generations[0].trouble
    assert shown.missing == (2,)
    with pytest.raises(PatchNotFound, match="not trusted"):
        await patched.services.lineage.find("atlas", 3)


async def test_an_earlier_generation_is_put_back(patched: Patched) -> None:
    await patched.patch(3, b"x = 3\n")
    await patched.patch(4, b"x = 4\n", base=b"x = 3\n")
    restore = LineageRestoreParams(name="atlas", generation=2)
    done = await patched.house.operations.run(operations.restore, OPERATOR, restore)
    assert (done.restored, done.generation, done.release, done.restarted, done.differs) == (2, 4, 1, False, ())
    assert (patched.folder / "cogs" / "one.py").read_bytes() == b"x = 3\n"
    first = await patched.house.operations.run(operations.restore, OPERATOR, structs.replace(restore, generation=1))
    assert (first.release, (patched.folder / "cogs" / "one.py").read_bytes()) == (0, ONE)
    shown = await patched.show()
    assert [(one.cause, one.what, one.actor) for one in shown.generations[-2:]] == [
        ("restored", "generation 2", OPERATOR.label),
        ("restored", "generation 1", OPERATOR.label),
    ]
    with pytest.raises(PatchNotFound, match="no generation 9"):
        await patched.house.operations.run(operations.restore, OPERATOR, structs.replace(restore, generation=9))


async def test_nothing_is_put_back_while_a_patch_is_rolled_out_on_the_node(patched: Patched) -> None:
    patch_id = await patched.patch(3, b"x = 3\n")
    await patched.note(patch_id, "applied", 1)
    with pytest.raises(PatchNotNow, match="being rolled out"):
        await patched.services.restoring.restore("atlas", 1, actor="cli:root")


async def test_a_release_that_is_not_kept_is_not_put_back(patched: Patched) -> None:
    with pytest.raises(FleetError, match="no patch was ever applied"):
        await patched.services.restoring.restore("atlas", 1, actor="cli:root")
    assert await patched.causes() == [("cloned", "template 9.9")]


def test_code_is_read_without_following_what_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "cogs").mkdir()
    (tmp_path / "cogs" / "one.py").write_bytes(ONE)
    (tmp_path / "link.py").symlink_to("/etc/passwd")
    (tmp_path / "linked").symlink_to("/usr/lib/python3")
    (tmp_path / ".releases").mkdir()
    (tmp_path / ".releases" / "old.py").write_bytes(ONE)
    (tmp_path / "huge.py").write_bytes(b"#" * (3 << 20))

    os.mkfifo(tmp_path / "pipe.py")
    found = read_code(tmp_path)
    assert found.files == {"cogs/one.py": digest(ONE)}
    assert found.left_out == 1
