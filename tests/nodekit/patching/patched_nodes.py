"""A real node that is given patches, and what it says of them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from handshake.messages import PatchOrder, PatchStatus
from handshake.patch_bundle import RawBundle, pack
from handshake.patch_document import PatchDocument, PatchedFile, RemovedFile
from handshake.redaction import Secret
from handshake.signing import Message
from master.ledger.rows.records import Node
from master.services.trust.source import Source
from tests.services.repair.actions.conftest import LivingHouse

COG = """\
from discord.ext import commands

from helpers import between

class Ranks(commands.Cog):
    @commands.Cog.listener()
    async def on_message(self, message):
        with open("heard.txt", "a") as heard:
            heard.write(f"{{message.id}}\\n")

async def setup(bot):
    with open("log.txt", "a") as log:
        log.write(f"cog {{VERSION}} with level {{between.LEVEL}}\\n")
    await bot.add_cog(Ranks())

VERSION = {version}
"""
FILES = {"cogs/ranks.py": COG.format(version=1), "helpers/levels.py": "LEVEL = 1\n"}
BETWEEN = {"helpers/between.py": "from helpers.levels import LEVEL\n"}
"""What no patch changes, and has to be loaded anew with what it imports."""


def bundle_of(
    folder: Path,
    files: Mapping[str, str],
    *,
    reload: Sequence[str] = (),
    removed: Sequence[str] = (),
    requirements: Sequence[str] = (),
    name: str = "ranks",
) -> bytes:
    """Return a bundle of changes to a folder as it is; nobody verifies its signature in a node."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for path, text in files.items():
            opened.writestr(path, text)
    content = archive.getvalue()
    document = PatchDocument(
        name=name,
        version=2,
        created=0,
        expires=2**39,
        files=tuple(
            PatchedFile(
                path=path,
                sha256=hashlib.sha256(text.encode()).hexdigest(),
                length=len(text.encode()),
                base=_digest(folder / path),
            )
            for path, text in files.items()
        ),
        removed=tuple(RemovedFile(path=path, base=_digest(folder / path) or "") for path in removed),
        requirements=tuple(requirements),
        reload=tuple(reload),
        archive_sha256=hashlib.sha256(content).hexdigest(),
        archive_bytes=len(content),
    )
    return pack(RawBundle(msgspec.json.encode(document), b"signature", content))


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


@dataclass
class PatchedNode:
    """A node, and the statuses that it told."""

    living: LivingHouse
    node: Node
    statuses: list[PatchStatus] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        # The master's own handler knows of no patch that it has not given out.
        self.living.house.services.reception._handlers[PatchStatus] = self._take

    async def _take(self, node: Node, body: PatchStatus, message: Message, source: Source) -> None:
        async with self.told:
            assert node.id == self.node.id
            self.statuses.append(body)
            self.times.append(time.monotonic())
            self.told.notify_all()

    @property
    def folder(self) -> Path:
        return self.living.folder(self.node)

    @property
    def words(self) -> list[str]:
        return [status.status for status in self.statuses]

    @property
    def log(self) -> list[str]:
        path = self.folder / "log.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def heard(self) -> list[int]:
        """Ids of the messages that the cog was told of, in their order."""
        path = self.folder / "heard.txt"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def token(self) -> Secret[str]:
        return await self.living.house.services.tools.launcher.token_of(self.node)

    def publish(self, bundle: bytes) -> str:
        """Put a bundle where nodes find it; returns its digest."""
        digest = hashlib.sha256(bundle).hexdigest()
        self.living.settings.patches_dir.mkdir(mode=0o700, exist_ok=True)
        (self.living.settings.patches_dir / f"{digest}.fleetpatch").write_bytes(bundle)
        return digest

    async def order(self, sha256: str, *, patch_id: str = "P1", good_after_s: float = 0.0, kind: str = "patch") -> str:
        patch = PatchOrder(patch_id=patch_id, sha256=sha256, good_after_s=good_after_s)
        return await self.living.house.services.tools.orders.send(self.node, kind, patch=patch)  # type: ignore[arg-type]

    async def until(self, status: str, *, count: int = 1) -> PatchStatus:
        """Wait until the node has told a status that often."""
        async with asyncio.timeout(20), self.told:
            await self.told.wait_for(lambda: self.words.count(status) >= count)
        return [one for one in self.statuses if one.status == status][count - 1]
