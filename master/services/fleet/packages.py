"""Packages that are installed for one node, by the master's own pip, in a folder that the node cannot change.

Nothing of the node is run for it, nor of the package: wheels alone, in the one version that the operator allows,
without what they depend on. A node finds them behind its own libraries.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from handshake.files import read_regular
from master.configuration.settings import NodeSettings, Settings
from master.ledger.rows.records import Node
from master.services.core.errors import ServiceError
from master.services.fleet.program import interpreter_of
from master.wording import visible

TIMEOUT_S = 180.0
NICENESS = 10
LEAST_FREE_BYTES = 64 * 1024 * 1024
"""With less on the disk nothing is installed: the ledger needs it more."""
_TOLD_LINES, _MAX_OUTPUT = 3, 8_192
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_UNFINISHED = ".new-"
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(3\.\d{1,2})\b", re.MULTILINE | re.ASCII)
_MAX_CFG_BYTES = 16 * 1024


class NotInstalled(ServiceError):
    """A package was not installed; nothing of it is left."""

    code: ClassVar[str] = "package_not_installed"


def installed_packages(folder: Path, node_id: str) -> list[str]:
    """Return the folders of the packages that were installed for a node. Blocks."""
    try:
        names = sorted(os.listdir(folder / node_id))
    except OSError:
        return []
    return [str(folder / node_id / name) for name in names if not name.startswith(_UNFINISHED)]


class PackageInstaller:
    """Install packages for nodes, one at a time in the fleet: pip is no light work for a small box.

    Parameters
    ----------
    settings
        Returns the settings that are in effect.
    environment
        The master's own: pip is given what names its index and proxies, and no secret of the fleet.
    timeout_s
        After this long pip is ended.
    """

    def __init__(
        self, settings: Callable[[], Settings], environment: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()

    def requirement_of(self, module: str) -> str:
        """Return what the operator allows for a missing module; empty if it is nothing."""
        allowed = self._settings().healing.packages
        return allowed.get(module) or allowed.get(module.partition(".")[0], "")

    async def install(self, node: Node, folder: Path, own: NodeSettings, module: str) -> str:
        """Install what the operator allows for a module; returns the package and its version.

        Parameters
        ----------
        folder
            The node's own.

        Raises
        ------
        NotInstalled
            It is not allowed, is there already, or pip could not install it.
        """
        requirement = self.requirement_of(module)
        if not requirement:
            raise NotInstalled(f'HEALING["PACKAGES"] names nothing for the module {module}')
        pinned = requirement.partition(" ")[0]
        if not await self._install(node, folder, own, module):
            raise NotInstalled(f"{pinned} is installed for {node.name} already, and did not help")
        return pinned

    def allows(self, required: str) -> bool:
        """Tell whether the operator's list has a package in exactly this version."""
        return self._module_of(required) is not None

    def _module_of(self, required: str) -> str | None:
        allowed = self._settings().healing.packages
        return next((name for name, line in allowed.items() if line.partition(" ")[0] == required), None)

    async def provide(self, node: Node, folder: Path, own: NodeSettings, required: str) -> None:
        """Install a package that a patch requires, unless it is installed for the node already.

        Parameters
        ----------
        required
            In the one version, as ``aiosqlite==0.21.0``: the operator's list has to have it, with its hashes. A patch's
            author decides about code, not about what is fetched from an index.

        Raises
        ------
        NotInstalled
            It is not allowed, or pip could not install it.
        """
        module = self._module_of(required)
        if module is None:
            raise NotInstalled(f'the patch requires {visible(required)}, which HEALING["PACKAGES"] does not have')
        await self._install(node, folder, own, module)

    async def _install(self, node: Node, folder: Path, own: NodeSettings, module: str) -> bool:
        """Install what is allowed for a module; False if it is there already."""
        requirement = self.requirement_of(module)
        pinned = requirement.partition(" ")[0]
        python = await asyncio.to_thread(_python_of, node, folder, own)
        root = self._settings().packages_dir / node.id
        async with self._turn:
            if (root / pinned).exists():
                return False
            with self._beside(root) as target:
                await self._run_pip(requirement, python, target)
                await asyncio.to_thread(_publish, target, root / pinned, module)
        return True

    @contextlib.contextmanager
    def _beside(self, root: Path) -> Iterator[Path]:
        """Make a folder for what is not finished; it is gone afterwards, and so is what another master left."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(root).free < LEAST_FREE_BYTES:
                raise NotInstalled(f"the disk is full: less than {LEAST_FREE_BYTES >> 20} MB are left at {root}")
            for left in root.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            target = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
        except OSError as error:
            raise NotInstalled(f"{root}: {error.strerror}") from error
        try:
            yield target
        finally:
            shutil.rmtree(target, ignore_errors=True)

    async def _run_pip(self, requirement: str, python: str, target: Path) -> None:
        listed = target.with_name(f"{target.name}.txt")
        listed.write_text(requirement + "\n", "utf-8")
        command = [sys.executable, "-I", "-m", "pip", "install", "--no-input", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off", "--target", str(target)]
        if python != _own_version():
            command += ["--python-version", python, "--no-compile"]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--requirement",
                str(listed),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=target,
                env=self._environment_of_pip(),
                start_new_session=True,
            )
            code, output = await self._wait(process)
        finally:
            listed.unlink(missing_ok=True)
        if code:
            raise NotInstalled(f"pip ended with exit code {code}: {_told(output)}")

    async def _wait(self, process: asyncio.subprocess.Process) -> tuple[int, str]:
        """Wait for pip, and end it with all that it has started if it takes too long, or if the caller is cancelled."""
        output = bytearray()
        try:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            async with asyncio.timeout(self._timeout_s):
                while process.stdout is not None and (read := await process.stdout.read(_MAX_OUTPUT)):
                    output += read
                    del output[:-_MAX_OUTPUT]
                code = await process.wait()
        except TimeoutError:
            raise NotInstalled(
                f"pip took longer than {self._timeout_s:g} s: {_told(output.decode(errors='replace'))}"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        return code, output.decode("utf-8", "replace")

    def _environment_of_pip(self) -> dict[str, str]:
        known = self._environment
        return {
            name: value for name, value in known.items() if name in (*_INHERITED, *_PROXIES) or name.startswith("PIP_")
        }


def _publish(target: Path, place: Path, module: str) -> None:
    """Have the node find what was installed, all of it or nothing. Blocks."""
    top = module.partition(".")[0]
    if not (target / top).is_dir() and not any(target.glob(f"{top}.*")):
        raise NotInstalled(f'{place.name} has no module {top}: HEALING["PACKAGES"] names another package for it')
    try:
        target.chmod(0o755)
        os.rename(target, place)
    except OSError as error:
        raise NotInstalled(f"{place}: {error.strerror}") from error


def _python_of(node: Node, folder: Path, own: NodeSettings) -> str:
    """Return the version of the Python that runs a node, without running it. Blocks.

    Raises
    ------
    NotInstalled
        It is no Python program, or nobody knows which Python it is.
    """
    if own.command or own.interpreter or not node.entry.endswith((".py", ".pyw")):
        raise NotInstalled(f"{node.name} is not run by its entry file's own Python: install the package by hand")
    interpreter = interpreter_of(folder)
    if interpreter == sys.executable:
        return _own_version()
    try:
        said = read_regular(Path(interpreter).parent.parent / "pyvenv.cfg", _MAX_CFG_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise NotInstalled(f"the virtual environment of {node.name} has no pyvenv.cfg: {error.strerror}") from error
    found = _VERSION.search(said)
    if found is None:
        raise NotInstalled(f"the pyvenv.cfg of {node.name} names no version of Python 3")
    return found[1]


def _own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _told(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return "the disk is full"
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return 'what the index has is not what HEALING["PACKAGES"] says: another sha256'
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return visible("; ".join((errors or lines)[-_TOLD_LINES:]))[:400] or "no output"
