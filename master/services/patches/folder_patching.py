"""Patching of a folder whose program does not speak the protocol, or does not run: by a helper that is kept to it.

What is in the folder was written by a node, and is not believed: the helper may open the folder and the bundles, as a
node may, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

import nodekit
from master.configuration.settings import Settings
from master.services.core.errors import ServiceError
from master.services.patches.receiving import bundle_path
from master.supervision import landlock
from master.supervision.isolation import isolation_of, landlock_problem
from master.wording import visible

TIMEOUT_S = 60.0
_MOST_OUTPUT = 1 << 20
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from nodekit.releases.__main__ import main; sys.exit(main())"


class FolderNotPatched(ServiceError):
    """A folder could not be changed; it is as it was."""

    code: ClassVar[str] = "folder_not_patched"


class _Release(msgspec.Struct):
    number: int
    patch_id: str
    parent: int = 0


class _Answer(msgspec.Struct):
    release: int = 0
    current: int = 0
    message: str = ""
    releases: list[_Release] = []


class FolderPatching:
    """Change the releases of folders.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    timeout_s
        After this long the helper is ended; the next start settles what it left.
    """

    def __init__(self, settings: Callable[[], Settings], *, timeout_s: float = TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    async def put(
        self, folder: Path, *, patch_id: str, sha256: str, packages: Sequence[Path] = (), at_start: bool = True
    ) -> tuple[int, int]:
        """Put a patch in force; returns the release that was in force, and the one that it made.

        Parameters
        ----------
        at_start
            Whether its trial begins with the next start of the program.

        Raises
        ------
        FolderNotPatched
        """
        found = await self._run("list", folder)
        before, known = found.current, _in_force(found)
        if known is not None and known.patch_id == patch_id:
            return known.parent, known.number
        bundle = bundle_path(self._settings().patches_dir, sha256)
        wanted = ["--bundle", str(bundle), "--sha256", sha256, "--patch-id", patch_id]
        for package in packages:
            wanted += ["--packages", str(package)]
        release = (await self._run("stage", folder, *wanted)).release
        begins = ("--at-start",) if at_start else ()
        await self._run("switch", folder, "--release", str(release), *begins)
        return before, release

    async def is_in_force(self, folder: Path, patch_id: str) -> bool:
        """Tell whether a patch is what is in force in a folder.

        Raises
        ------
        FolderNotPatched
        """
        known = _in_force(await self._run("list", folder))
        return known is not None and known.patch_id == patch_id

    async def back(self, folder: Path, patch_id: str) -> int:
        """Put the release before a patch in force again, if that is what is in force; returns what is now.

        Raises
        ------
        FolderNotPatched
        """
        found = await self._run("list", folder)
        known = _in_force(found)
        if known is None or known.patch_id != patch_id:
            return found.current
        return (await self._run("back", folder)).current

    async def mark_good(self, folder: Path) -> int:
        """Call the release in force good; returns its number.

        Raises
        ------
        FolderNotPatched
        """
        return (await self._run("good", folder)).current

    async def restore(self, folder: Path, release: int) -> int:
        """Put a release that is kept in force; returns which is in force now.

        Raises
        ------
        FolderNotPatched
        """
        return (await self._run("restore", folder, "--release", str(release))).current

    async def _run(self, command: str, folder: Path, *arguments: str) -> _Answer:
        process = await asyncio.create_subprocess_exec(
            *await asyncio.to_thread(self._command, command, folder),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                output, complaint = await process.communicate()
        except TimeoutError:
            raise FolderNotPatched(f"{folder.name}: it took longer than {self._timeout_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        try:
            answer = msgspec.json.decode(output[:_MOST_OUTPUT], type=_Answer)
        except msgspec.MsgspecError:
            answer = _Answer(message=complaint.decode("utf-8", "replace").strip().rpartition("\n")[2])
        if process.returncode:
            raise FolderNotPatched(visible(answer.message)[:400] or f"the helper ended with {process.returncode}")
        return answer

    def _command(self, command: str, folder: Path) -> tuple[str, ...]:
        """Return the helper's command, kept to the folder where the kernel can do that. Blocks."""
        settings = self._settings()
        root = str(Path(nodekit.__path__[0]).parent)
        helper = (sys.executable, "-I", "-c", _CODE, root, command, str(folder))
        if landlock_problem():
            return helper
        allowed = isolation_of(folder, sys.executable, private=settings.private_paths, readable=[settings.patches_dir])
        rules = msgspec.json.encode((allowed.readable, allowed.writable)).decode()
        return (sys.executable, "-I", "-S", landlock.__file__, rules, *helper)


def _in_force(found: _Answer) -> _Release | None:
    return next((release for release in found.releases if found.current and release.number == found.current), None)
