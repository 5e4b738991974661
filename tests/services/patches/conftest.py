"""A house whose services accept and roll out patches, and an author whom it trusts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from handshake.patch_document import PatchedFile
from master.configuration.settings import PatchSettings, Settings
from master.ledger.rows import patch_keys
from sandbox import Sandbox
from tests.services.conftest import House, open_house
from tests.services.patches.authors import Author, document_of, zipped

OLD, NEW = b"x = 1\n", b"x = 2\n"


@dataclass
class Bench:
    """A house, and an author who makes patches of ``cogs/one.py`` for its bots."""

    house: House
    author: Author
    folder: Path
    version: int = 0

    def bundle(self, new: bytes = NEW, *, old: bytes | None = OLD, **fields: Any) -> str:
        """Write a signed bundle to a file, and return its path."""
        self.version += 1
        now = int(time.time())
        file = PatchedFile(
            path="cogs/one.py",
            sha256=hashlib.sha256(new).hexdigest(),
            length=len(new),
            base=None if old is None else hashlib.sha256(old).hexdigest(),
        )
        given = {"version": self.version, "created": now - 60, "expires": now + 3600, "reload": ()}
        files = {"cogs/one.py": new}
        archive = zipped(files)
        document = replace(document_of(files, archive, **{**given, **fields}), files=(file,))
        content = self.author.sign(msgspec.json.encode(document), archive)
        path = self.folder / f"{self.version}.fleetpatch"
        path.write_bytes(content)
        return str(path)


@pytest.fixture
def patch_settings(house_settings: Settings) -> Settings:
    return replace(
        house_settings,
        patches=PatchSettings(canary=1, waves=(50, 100), soak_s=0.0, answer_within_s=30.0),
    )


@pytest.fixture
async def bench(patch_settings: Settings, sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Bench]:
    author = Author()
    async with open_house(patch_settings, sandbox) as house:
        await house.services.ledger.write(lambda connection: patch_keys.insert(connection, author.key()))
        yield Bench(house, author, tmp_path)
