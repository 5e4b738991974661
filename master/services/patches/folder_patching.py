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
from typing import ClassVar, TypeVar

import msgspec

import nodekit
from master.configuration.settings import Settings
from master.services.core.errors import ServiceError
from master.services.patches.receiving import bundle_path
from master.supervision import landlock
from master.supervision.isolation import isolation_of, landlock_problem
from master.wording import visible
from nodekit.releases.records import ReleaseState, Settled

T = TypeVar("T")
TIMEOUT_S = 60.0
_MOST_OUTPUT = 2 << 20
"""Of a helper. How many releases it finds is a node's word, and 100 of 10,000 files are 200 MB."""
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from nodekit.releases.__main__ import main; sys.exit(main())"


class FolderNotPatched(ServiceError):
    """A folder could not be changed; it is as it was."""

    code: ClassVar[str] = "folder_not_patched"


class FolderRelease(msgspec.Struct):
    """A release that is kept in a folder."""

    number: int
    patch_id: str
    parent: int = 0
    state: str = ""
    began: bool = False

    @property
    def is_tried(self) -> bool:
        """Whether the program was started with it, and nobody has called it good yet."""
        return self.state == ReleaseState.TRIAL and self.began


class _Answer(msgspec.Struct):
    release: int = 0
    current: int = 0
    releases: list[FolderRelease] = []


class _Complaint(msgspec.Struct):
    message: str = ""


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
            if _is_below(found, patch_id):
                raise FolderNotPatched("another patch was put on top of it: that one goes back first")
            return found.current
        return (await self._run("back", folder)).current

    async def in_force(self, folder: Path) -> FolderRelease | None:
        """Return the release in force; None for a folder as it was before any patch.

        Raises
        ------
        FolderNotPatched
        """
        return _in_force(await self._run("list", folder))

    async def mark_good(self, folder: Path, patch_id: str) -> int:
        """Call the release in force good, which has to be that of a patch; returns its number.

        Raises
        ------
        FolderNotPatched
        """
        known = await self.in_force(folder)
        if known is None or known.patch_id != patch_id:
            raise FolderNotPatched(f"{folder.name}: the patch is not in force")
        return (await self._run("good", folder)).current

    async def settle(self, folder: Path) -> Settled:
        """Make a folder wholly old or wholly new before its program starts; returns what was done.

        Raises
        ------
        FolderNotPatched
        """
        return await self._ask("settle", folder, (), Settled)

    async def restore(self, folder: Path, release: int) -> int:
        """Put a release that is kept in force; returns which is in force now.

        Raises
        ------
        FolderNotPatched
        """
        return (await self._run("restore", folder, "--release", str(release))).current

    async def _run(self, command: str, folder: Path, *arguments: str) -> _Answer:
        return await self._ask(command, folder, arguments, _Answer)

    async def _ask(self, command: str, folder: Path, arguments: Sequence[str], kind: type[T]) -> T:
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
                output, complaint = await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
                await process.wait()
        except TimeoutError:
            raise FolderNotPatched(f"{folder.name}: it took longer than {self._timeout_s:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        if len(output) > _MOST_OUTPUT:
            raise FolderNotPatched(
                f"{folder.name}: what is written in its .releases is too much to be true",
                hint="the node's own code has written there: look at it, and remove the folder .releases",
            )
        if process.returncode:
            why = visible(_complaint(output, complaint))[:400]
            raise FolderNotPatched(why or f"the helper ended with {process.returncode}")
        try:
            return msgspec.json.decode(output[:_MOST_OUTPUT], type=kind)
        except msgspec.MsgspecError as error:
            raise FolderNotPatched(f"{folder.name}: the helper's answer cannot be read: {error}") from error

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


async def _read(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> bytes:
    """Read all that a process writes, or a byte too much: then it is ended."""
    output = bytearray()
    while stream is not None and len(output) <= _MOST_OUTPUT and (chunk := await stream.read(1 << 16)):
        output += chunk
    if len(output) > _MOST_OUTPUT:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return bytes(output)


def _is_below(found: _Answer, patch_id: str) -> bool:
    """Tell whether the release in force was made on one that has a patch."""
    releases = {release.number: release for release in found.releases}
    number = found.current
    while number and number in releases and releases[number].parent < number:
        number = releases[number].parent
        if number in releases and releases[number].patch_id == patch_id:
            return True
    return False


def _complaint(output: bytes, errors: bytes) -> str:
    """Return what went wrong: as the helper says it, or the last line of its traceback."""
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(output[:_MOST_OUTPUT], type=_Complaint).message
    return errors.decode("utf-8", "replace").strip().rpartition("\n")[2]


def _in_force(found: _Answer) -> FolderRelease | None:
    return next((release for release in found.releases if found.current and release.number == found.current), None)
