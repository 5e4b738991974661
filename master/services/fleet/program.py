"""What is executed for a node: its command, or its entry file and what runs it. Found before it is started."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handshake.files import read_regular
from master.configuration.programs import split_command
from master.configuration.settings import NodeSettings
from master.supervision.errors import FileMissing

_BY_ENDING = {
    ".js": "node",
    ".mjs": "node",
    ".cjs": "node",
    ".rb": "ruby",
    ".php": "php",
    ".pl": "perl",
    ".lua": "lua",
    ".jar": "java -jar",
}
_TYPESCRIPT = (".ts", ".mts", ".cts", ".tsx")
_NO_INTERPRETER = "none"
"""As PM2 says it: the entry file is executed itself."""
_OWN_PROGRAMS = (".venv/bin", "venv/bin", "node_modules/.bin")
_PACKAGES = {
    "node": "install Node.js (apt install nodejs)",
    "npm": "install npm (apt install npm)",
    "npx": "install npm (apt install npm)",
    "bun": "install Bun",
    "deno": "install Deno",
    "java": "install Java (apt install default-jre-headless)",
    "ruby": "install Ruby (apt install ruby)",
    "php": "install PHP (apt install php-cli)",
    "perl": "install Perl (apt install perl)",
    "lua": "install Lua (apt install lua5.4)",
    "python3": "install Python (apt install python3)",
}
_SHEBANG_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is executed for a node.

    Parameters
    ----------
    command
        Begins with the path of an executable file.
    path
        Its PATH; empty for a Python program with nothing but an entry file, which has the master's.
    helpers
        Programs that it is likely to run in turn.
    """

    command: tuple[str, ...]
    path: str = ""
    helpers: tuple[str, ...] = ()


def program_of(folder: Path, entry: str, own: NodeSettings, environment: Mapping[str, str]) -> Program:
    """Return what is executed for a node. Blocks.

    Parameters
    ----------
    entry
        Its entry file; of no importance where ``own`` has a command.
    environment
        The node's, as far as it is known: its PATH is where programs are looked up.

    Raises
    ------
    FileMissing
        Its program or its entry file does not exist, or cannot be executed. The hint says what to do.
    """
    arguments = split_command(own.args) if own.args else ()
    if own.command:
        words = split_command(own.command)
        return _found(words[0], (*words[1:], *arguments), folder, environment)
    script = folder / entry
    if not entry or not script.is_file():
        raise FileMissing(
            f"{folder} has no file {entry[:60]!r}" if entry else f"nothing says what to run in {folder}",
            hint="restore it, or name another with --entry, or a --command",
        )
    interpreter = own.interpreter or _interpreter_by_file(script)
    if not interpreter:
        return Program(command=(interpreter_of(folder), entry, *arguments))
    if interpreter == _NO_INTERPRETER:
        return _found(str(script), arguments, folder, environment)
    words = split_command(interpreter)
    return _found(words[0], (*words[1:], entry, *arguments), folder, environment)


def _found(word: str, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Program:
    path = _search_path(folder, environment)
    node = shutil.which("node", path=path) if (folder / "package.json").is_file() else None
    command = (find_program(word, folder, path), *arguments)
    return Program(command=command, path=path, helpers=(os.path.abspath(node),) if node else ())


def interpreter_of(folder: Path) -> str:
    """Return a node's Python interpreter: the virtual environment's in its folder, or the master's."""
    for name in (".venv", "venv"):
        own = folder / name / "bin" / "python"
        if own.exists():
            return str(own)
    return sys.executable


def find_program(word: str, folder: Path, path: str) -> str:
    """Return the absolute path of a program, named as in a shell: with a slash from ``folder`` on, or on ``path``.

    Raises
    ------
    FileMissing
        There is none, or it cannot be executed.
    """
    if "/" in word:
        named = folder / os.path.expanduser(word)
        if not named.is_file():
            raise FileMissing(f"there is no program {named}", hint="give its path from the folder on, or from / on")
        if not os.access(named, os.X_OK):
            raise FileMissing(f"{named} cannot be executed", hint=f"chmod +x {named}, or give an --interpreter")
        return str(named)
    found = shutil.which(word, path=path)
    if found is None:
        remedy = _PACKAGES.get(word, f"install {word}")
        raise FileMissing(
            f"there is no program {word[:60]!r} on the master's PATH",
            hint=f"{remedy}; or give the whole path, which `command -v {word}` in your own shell prints",
        )
    return os.path.abspath(found)


def _search_path(folder: Path, environment: Mapping[str, str]) -> str:
    """Return the node's PATH: the programs that it has installed for itself come first, as with npm and venv."""
    own = [str(folder / name) for name in _OWN_PROGRAMS if (folder / name).is_dir()]
    return os.pathsep.join([*own, environment.get("PATH") or os.defpath])


def _interpreter_by_file(script: Path) -> str:
    """Return what runs a file, by its ending; empty for the node's own Python.

    Raises
    ------
    FileMissing
        Nothing that is sure to be there runs it.
    """
    ending = script.suffix.lower()
    if ending in (".py", ".pyw"):
        return ""
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    if ending in _TYPESCRIPT:
        raise FileMissing(
            f"{script.name} is TypeScript, which Node.js does not run as it is",
            hint="compile it (npx tsc) and name the .js file, or give an --interpreter such as tsx, bun or deno",
        )
    if os.access(script, os.X_OK):
        return _NO_INTERPRETER
    if ending in (".sh", ".bash"):
        return _shebang_of(script) or ("bash" if ending == ".bash" else "sh")
    return _shebang_of(script)


def _shebang_of(script: Path) -> str:
    """Return what the first line of a script names as its interpreter; empty for none."""
    try:
        first = read_regular(script, _SHEBANG_BYTES).partition(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""
    if not first.startswith("#!"):
        return ""
    words = first[2:].split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    return shlex.join(words)
