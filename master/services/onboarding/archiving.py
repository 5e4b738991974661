"""Archives of removed nodes. The functions block; call them in a worker thread."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from master.durable import open_private, sync_folder
from master.services.core.errors import FilesFailed
from master.services.onboarding.file_work import PARTIAL_SUFFIX


def write_archive(target: Path, members: Mapping[str, Path]) -> None:
    """Write files and folders into a new archive (tar.gz), readable by its owner only; it is there whole or not at all.

    Parameters
    ----------
    members
        Files and folders by their names in it. Those that are not there are left out.

    Raises
    ------
    FilesFailed
    """
    partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.unlink(missing_ok=True)
        try:
            with open(partial, "xb", opener=open_private) as stream:
                with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as archive:
                    for name, path in members.items():
                        if path.exists():
                            archive.add(path, arcname=name, filter=_without_caches)
                stream.flush()
                os.fsync(stream.fileno())
            partial.rename(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)
    except (OSError, tarfile.TarError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = getattr(error, "filename", None) or target
        raise FilesFailed(
            f"the archive could not be written: {where}: {why}",
            hint="the node is still there, stopped; check the disk's room, or choose --keep-folder",
        ) from error


def _without_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.name.rpartition("/")[2] == "__pycache__" else member
