"""Files of environment variables, as ENV_FILE names them: checked, written, and read again at each start."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dotenv import dotenv_values

from handshake.files import open_regular
from master.durable import replace_file
from master.errors import ExitCode
from master.services.core.errors import FilesFailed, ServiceError
from master.supervision.errors import FileMissing, SpawnFailed

log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OURS = "FLEET_"
"""What the fleet tells a node itself begins with this."""
_NEEDS_QUOTES = re.compile(r"\A['\"\s]|\s#|\A#|\s\Z|[\r\n]|\A\Z")


class EnvironmentRefused(ServiceError):
    """A variable's name or value is not valid."""

    code: ClassVar[str] = "environment_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFile:
    """What a file of variables says."""

    values: dict[str, str] = field(repr=False)
    open_to_others: bool
    """Whether other users of this box may read it."""


def check_environment(values: Mapping[str, str]) -> None:
    """Check the names and values of variables for a node.

    Raises
    ------
    EnvironmentRefused
        It names the variable, and never its value.
    """
    for name, value in values.items():
        if _NAME.fullmatch(name) is None:
            raise EnvironmentRefused(
                f"{name[:60]!r} is no name of a variable", hint="letters, digits and underscores, as in LOG_LEVEL"
            )
        if name.startswith(_OURS):
            raise EnvironmentRefused(f"{name[:60]} is the fleet's own", hint=f"choose a name without {_OURS}")
        if "\0" in value:
            raise EnvironmentRefused(f"the value of {name[:60]} holds a NUL", hint="no program could read it")


def new_environment_path(folder: Path, name: str) -> Path:
    """Return the path of a new file for a node's variables, beside what other nodes left there. Blocks."""
    path, number = folder / f"{name}.env", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.env"
    return path


def write_environment(path: Path, values: Mapping[str, str], *, node_id: str = "") -> None:
    """Write variables to a file that its owner alone can read; its folder is created if missing. Blocks.

    Parameters
    ----------
    node_id
        Of the node that it is written for: the file says so, see :func:`was_written_for`.

    Raises
    ------
    EnvironmentRefused
        A value cannot be written in a form that is read as the same.
    FilesFailed
    """
    text = _made_for(node_id) if node_id else ""
    text += "".join(f"{key}={_quoted(value)}\n" for key, value in values.items())
    if _parse(text) != dict(values) or len(text) > MAX_BYTES:
        raise EnvironmentRefused(
            "these variables cannot be written to a file", hint="write the file by hand, and give --env-file"
        )
    try:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        replace_file(path, text.encode())
    except OSError as error:
        raise FilesFailed(
            f"the variables could not be written: {error.strerror or error}", hint=f"check {path.parent}"
        ) from error


def was_written_for(path: Path, node_id: str) -> bool:
    """Tell whether a file was written for a node by the fleet, and not by somebody else. Blocks."""
    mark = _made_for(node_id).encode()
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            return stream.read(len(mark)) == mark
    except OSError:
        return False


def _made_for(node_id: str) -> str:
    return f"# of the node {node_id}\n"


def _quoted(value: str) -> str:
    if _NEEDS_QUOTES.search(value) is None:
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _parse(text: str) -> dict[str, str]:
    # Not interpolated: ${NAME} would be looked up in the master's own environment.
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value for key, value in found.items() if value is not None}


def read_environment(path: Path, folder: Path) -> EnvironmentFile:
    """Read a file of variables. Blocks.

    Parameters
    ----------
    folder
        The node's: the node can change what is in it, and must not lead the master to a file that it may not read.

    Raises
    ------
    FileMissing
        There is none.
    SpawnFailed
        It cannot be read, is no text, or leads out of the node's folder.
    """
    try:
        descriptor = open_regular(path, os.O_RDONLY)
        with open(descriptor, "rb") as stream:
            # Of what was opened: the node can change a folder into a link between a look at the path and its opening.
            opened = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_relative_to(folder) and not opened.is_relative_to(os.path.realpath(folder)):
                raise OSError(errno.ELOOP, "a link leads out of the node's folder")
            mode = os.fstat(descriptor).st_mode
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"longer than {MAX_BYTES >> 10} KB")
        values = _parse(content.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise FileMissing(f"ENV_FILE {path} does not exist", hint="restore it, or change ENV_FILE") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpawnFailed(
            f"ENV_FILE {path} cannot be read: {_why(error)}", hint="name a file of NAME=value lines"
        ) from error
    return EnvironmentFile(values=_usable(path, values), open_to_others=bool(stat.S_IMODE(mode) & 0o077))


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    if error.errno == errno.ELOOP and error.filename is not None:
        return "it is a link, which somebody could lead elsewhere"
    return error.strerror or str(error)


def _usable(path: Path, values: Mapping[str, str]) -> dict[str, str]:
    usable = {}
    for name, value in values.items():
        try:
            check_environment({name: value})
        except EnvironmentRefused as error:
            log.warning("a variable is left out", extra={"file": str(path), "why": error.message})
        else:
            usable[name] = value
    return usable
