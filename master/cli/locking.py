"""The lock: every package that ``./fleet`` installs, with its version and hashes; ``./fleet lock`` and its check.

The files are pip's own format (``pip install --require-hashes``), so installing needs nothing but pip. Making them
needs uv, checking them only what is installed already.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from master.errors import ExitCode, FleetError

FOLDER = "locks"
NAMES: dict[str, tuple[str, ...]] = {
    "run": (),
    "sqlserver": ("sqlserver",),
    "announce": ("announce",),
    "mail": ("mail",),
    "dev": ("dev",),
}
"""The lock files, and the extras of pyproject.toml that each adds to what every installation needs."""
TIMEOUT_S = 600.0
_INPUTS = "# inputs: sha256:"
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\]+?))?(?: \\)?")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


class LockError(FleetError):
    """The lock cannot be made."""

    code: ClassVar[str] = "lock_error"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock."""

    name: str
    version: str
    marker: str
    hashes: int


def make_lock(root: Path, *, upgrade: bool = False) -> None:
    """Write the lock files anew, for every Python and processor that pyproject.toml allows.

    Parameters
    ----------
    upgrade
        Take the newest versions that pyproject.toml allows; without it a version is kept as long as it fits.

    Raises
    ------
    LockError
        uv is missing, or finds no versions that fit together.
    """
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    project = _project(root)
    header = f"{_INPUTS}{digest_of(project)}\n"
    with tempfile.TemporaryDirectory(prefix="fleet-lock-") as scratch:
        together, build = Path(scratch, "all.txt"), Path(scratch, "build.in")
        build.write_text("\n".join(project["build-system"]["requires"]) + "\n")
        if not upgrade:
            together.write_text("".join(path.read_text("utf-8") for path in sorted(folder.glob("*.txt"))))
        # One version for all files, whichever of them are installed together.
        _compile(root, [build], together, ("sqlserver", "mail", "announce", "dev"))
        for name, extras in NAMES.items():
            made = Path(scratch, f"{name}.txt")
            _compile(root, [build, "-c", together], made, extras)
            (folder / made.name).write_text(header + made.read_text("utf-8"), "utf-8")


def _compile(root: Path, inputs: list[str | Path], target: Path, extras: tuple[str, ...]) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise LockError("uv is not installed", hint=f"{sys.executable} -m pip install uv")
    command = [uv, "pip", "compile", "--universal", "--generate-hashes", "--quiet", "--python-version", "3.11"]
    command += ["--custom-compile-command", "./fleet lock", "--no-annotate", "--output-file", str(target)]
    command += [part for extra in extras for part in ("--extra", extra)]
    command += ["pyproject.toml", *map(str, inputs)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    if done.returncode:
        raise LockError("uv could not make the lock", hint=done.stderr.strip()[-1_000:])


def _project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def digest_of(project: dict[str, Any]) -> str:
    """Return the hash of those parts of pyproject.toml that the lock is made from."""
    about = project["project"]
    inputs = {
        "build": project["build-system"]["requires"],
        "python": about["requires-python"],
        "run": about.get("dependencies", []),
        "extras": about.get("optional-dependencies", {}),
    }
    return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()


def pins_of(root: Path) -> dict[str, str]:
    """Return the version of each package that any of the lock files names."""
    texts = (path.read_text("utf-8") for path in sorted((root / FOLDER).glob("*.txt")))
    return {pin.name: pin.version for text in texts for pin in read_pins(text)}


def changes(before: dict[str, str], after: dict[str, str]) -> str:
    """Return what a new lock changes, in words; empty if nothing."""
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return ", ".join(f"{name} {before.get(name, 'new')} -> {after.get(name, 'gone')}" for name in names)


def problems(root: Path) -> list[str]:
    """Return what is wrong with the lock, or out of date; asks no registry.

    An edited pyproject.toml is found by its hash in the files, an edited lock by what its packages say they need.
    """
    project = _project(root)
    found = []
    for name, extras in NAMES.items():
        path = root / FOLDER / f"{name}.txt"
        if not path.is_file():
            found.append(f"{FOLDER}/{name}.txt is missing")
            continue
        text = path.read_text("utf-8")
        if f"{_INPUTS}{digest_of(project)}" not in text.splitlines()[:1]:
            found.append(f"{FOLDER}/{name}.txt was made from another pyproject.toml")
        found += [f"{FOLDER}/{name}.txt: {problem}" for problem in _problems_in(text, _wanted(project, extras))]
    return found


def _wanted(project: dict[str, Any], extras: tuple[str, ...]) -> list[str]:
    about = project["project"]
    optional = about.get("optional-dependencies", {})
    wanted = [*project["build-system"]["requires"], *about.get("dependencies", [])]
    return wanted + [line for extra in extras for line in optional[extra]]


def _problems_in(text: str, wanted: list[str]) -> Iterator[str]:
    """Yield what a lock file lacks of ``wanted`` and of what its own packages need, as far as those are installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    try:
        pins = {canonicalize_name(pin.name): pin for pin in read_pins(text)}
    except LockError as error:
        yield error.message
        return
    for pin in pins.values():
        if not pin.hashes:
            yield f"{pin.name} has no hash"
    needs = [("pyproject.toml", Requirement(line), "") for line in wanted]
    seen: set[tuple[str, str]] = set()
    while needs:
        who, needed, extra = needs.pop()
        if needed.marker is not None and not needed.marker.evaluate({"extra": extra}):
            continue
        pinned = pins.get(canonicalize_name(needed.name))
        if pinned is None:
            yield f"{who} needs {needed}, which is not locked"
        elif not needed.specifier.contains(pinned.version, prereleases=True):
            yield f"{who} needs {needed}, locked is {pinned.version}"
        else:
            for own in {"", *needed.extras}:
                if (pinned.name, own) not in seen:
                    seen.add((pinned.name, own))
                    needs += [(pinned.name, Requirement(line), own) for line in _needs_of(pinned)]


def _needs_of(pin: Pin) -> list[str]:
    """Return what the installed package says it needs; empty if another version or none is installed."""
    from importlib import metadata

    try:
        found = metadata.distribution(pin.name)
    except metadata.PackageNotFoundError:
        return []
    return found.requires or [] if found.version == pin.version else []


def read_pins(text: str) -> list[Pin]:
    """Return the packages of a lock file.

    Raises
    ------
    LockError
        A line is neither a package with its version, nor a hash, nor a comment: no place to install from, no option.
    """
    pins: list[Pin] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if _HASH.fullmatch(line) and pins:
            pins[-1] = Pin(pins[-1].name, pins[-1].version, pins[-1].marker, pins[-1].hashes + 1)
        elif found := _PIN.fullmatch(line):
            pins.append(Pin(found[1], found[2], (found[3] or "").strip(), 0))
        else:
            raise LockError(f"a line is no package with its version: {line[:80]!r}", hint="./fleet lock")
    return pins
