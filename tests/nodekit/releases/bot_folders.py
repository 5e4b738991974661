"""A bot's folder, patches for it, and what is seen in it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from handshake.patch_bundle import RawBundle, pack
from handshake.patch_document import PatchDocument, PatchedFile, RemovedFile

BOT = {
    "bot.py": b"import cogs.ranks\n",
    "cogs/ranks.py": b"RANK = 1\n",
    "cogs/old.py": b"OLD = True\n",
    "lib/texts/words.py": b"WORDS = ['a']\n",
    "run.sh": b"#!/bin/sh\nexec python3 bot.py\n",
    "data/users.json": b"{}\n",
}
Tree = dict[str, tuple[str, int, bytes]]


def make_bot(folder: Path, files: Mapping[str, bytes] = BOT) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        (folder / path).write_bytes(content)
        (folder / path).chmod(0o755 if path.endswith(".sh") else 0o640)
    return folder


def tree_of(folder: Path) -> Tree:
    """Return all that a bot sees: kind, permissions and content, by path, without the releases themselves."""
    found: Tree = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not (root == str(folder) and name == ".releases")]
        for name in folders + files:
            path = Path(root, name)
            mode = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path.relative_to(folder))] = (stat.filemode(mode)[0], stat.S_IMODE(mode), content)
    return found


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def patch_of(
    files: Mapping[str, bytes],
    *,
    base: Mapping[str, bytes] = BOT,
    removed: tuple[str, ...] = (),
    executable: tuple[str, ...] = (),
    reload: tuple[str, ...] = (),
    version: int = 1,
    name: str = "ranks",
) -> PatchDocument:
    return PatchDocument(
        name=name,
        version=version,
        created=1,
        expires=2**32,
        files=tuple(
            PatchedFile(
                path=path,
                sha256=digest(content),
                length=len(content),
                base=digest(base[path]) if path in base else None,
                executable=path in executable,
            )
            for path, content in files.items()
        ),
        removed=tuple(RemovedFile(path=path, base=digest(base[path])) for path in removed),
        reload=reload,
        archive_sha256=digest(archive_of(files)),
        archive_bytes=len(archive_of(files)),
    )


def archive_of(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return packed.getvalue()


def bundle_of(document: PatchDocument, files: Mapping[str, bytes]) -> bytes:
    return pack(RawBundle(msgspec.json.encode(document), b"unsigned", archive_of(files)))


EVERYTHING = {
    "cogs/ranks.py": b"RANK = 2\n",
    "cogs/levels.py": b"LEVEL = 1\n",
    "lib/new/deep/inside.py": b"INSIDE = 1\n",
    "run.sh": b"#!/bin/sh\nexec python3 -X dev bot.py\n",
}
"""A change of each kind, with :data:`EVERYTHING_REMOVED`: replaced, added, in new folders, and executable."""
EVERYTHING_REMOVED = ("cogs/old.py", "lib/texts/words.py")
"""The second one is the last in its folder."""


def everything(**more: object) -> PatchDocument:
    return patch_of(EVERYTHING, removed=EVERYTHING_REMOVED, executable=("run.sh",), **more)  # type: ignore[arg-type]
