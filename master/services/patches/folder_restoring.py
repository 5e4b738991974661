"""Restore a release of a node's folder: by a helper that is kept to it, since nodes wrote what is in there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

import nodekit
from master.configuration.settings import Settings
from master.services.patches.errors import PatchError
from master.supervision import landlock
from master.supervision.isolation import isolation_of, landlock_problem
from master.wording import visible

TIMEOUT_S = 60.0
_MOST_OUTPUT = 1 << 20
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from nodekit.releases.__main__ import main; sys.exit(main())"


class _Answer(msgspec.Struct):
    current: int = 0
    message: str = ""


class FolderRestoring:
    """Put earlier releases of folders in force."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    async def restore(self, folder: Path, release: int) -> int:
        """Put a release that is kept in force; returns which is in force now.

        Raises
        ------
        PatchError
            It is not kept any more, or files of it were edited; the folder is as it was.
        """
        process = await asyncio.create_subprocess_exec(
            *await asyncio.to_thread(self._command, folder),
            "--release",
            str(release),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, complaint = await process.communicate()
        except TimeoutError:
            raise PatchError(f"{folder.name}: it took longer than {TIMEOUT_S:g} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        try:
            answer = msgspec.json.decode(output[:_MOST_OUTPUT], type=_Answer)
        except msgspec.MsgspecError:
            answer = _Answer(message=complaint.decode("utf-8", "replace").strip().rpartition("\n")[2])
        if process.returncode:
            raise PatchError(visible(answer.message)[:400] or f"the helper ended with {process.returncode}")
        return answer.current

    def _command(self, folder: Path) -> tuple[str, ...]:
        """Return the helper's command, kept to the folder where the kernel can do that. Blocks."""
        root = str(Path(nodekit.__path__[0]).parent)
        helper = (sys.executable, "-I", "-c", _CODE, root, "restore", str(folder))
        if landlock_problem():
            return helper
        allowed = isolation_of(folder, sys.executable, private=self._settings().private_paths)
        rules = msgspec.json.encode((allowed.readable, allowed.writable)).decode()
        return (sys.executable, "-I", "-S", landlock.__file__, rules, *helper)
