"""Find out what a command line runs, and say it with the keys of NODES. Looks at the box, changes nothing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from master.services.moving.tokens import shows_token

_PYTHON = re.compile(r"python[\d.]*|pypy[\d.]*")
_OTHERS = frozenset({"node", "nodejs", "bun", "ruby", "perl", "php", "bash", "sh", "dash"})
# Without a value of their own, so that the word after them is the script.
_PYTHON_FLAGS = re.compile(r"-[uOBsSEIqxb]+")
_OTHER_FLAGS = re.compile(r"--[\w-]+=.*|--(?:expose-gc|enable-source-maps|trace-warnings|no-warnings|no-deprecation)")
_EVERYWHERE = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""The folders of every PATH."""
_OWN_ENVIRONMENTS = (".venv", "venv")


class CommandLine(msgspec.Struct, frozen=True, kw_only=True):
    """A command line in the words of NODES."""

    entry: str = ""
    """The file that starts the program, in its folder; empty where there is a whole command."""
    options: dict[str, str] = {}
    """INTERPRETER, ARGS or COMMAND."""
    shown: str = ""
    """What a person would call it."""
    search_first: str = ""
    """The folder of its interpreter, where no PATH but the old one has it: what it starts in turn is there too."""
    trouble: str = ""


def describe_command(words: Sequence[str], folder: Path, search_path: str, *, by_name: bool = False) -> CommandLine:
    """Return what a command line runs.

    Parameters
    ----------
    search_path
        The PATH on which programs are looked for; empty: the one of this process.
    by_name
        A Python that is only a name was another machine's, such as a container's: the node gets its folder's, or
        the master's.
    """
    shown = " ".join(_short(word, folder) for word in words)
    if shows_token(words):
        # Every user of the box can read it there, and it would be in the ledger too.
        return CommandLine(trouble="its token is among its arguments: have it read from a variable or its .env")
    at = _script_at(words)
    entry = _below(folder, words[at]) if at else ""
    if not entry:
        return _whole_command(words, folder, search_path, shown)
    options: dict[str, str] = {}
    program = words[0]
    flags = [word for word in words[1:at] if word != "-u"]  # Nodes are unbuffered anyway.
    is_python = _PYTHON.fullmatch(Path(program).name) is not None
    is_named = "/" not in program
    if not ((is_python and is_named and by_name) or _is_own(program, folder)) or flags:
        found = _find(program, folder, search_path)
        if not found:
            return CommandLine(entry=entry, shown=shown, trouble=_missing(program))
        options["INTERPRETER"] = shlex.join((found, *flags))
    if words[at + 1 :]:
        options["ARGS"] = shlex.join(words[at + 1 :])
    first = "" if is_python else _search_first(program, options.get("INTERPRETER", ""))
    return CommandLine(entry=entry, options=options, shown=shown, search_first=first)


def _whole_command(words: Sequence[str], folder: Path, search_path: str, shown: str) -> CommandLine:
    found = _find(words[0], folder, search_path)
    if not found:
        return CommandLine(shown=shown, trouble=_missing(words[0]))
    at = _script_at(words)
    if at and "/" in words[at] and not os.path.exists(folder / words[at]):
        return CommandLine(shown=shown, trouble=f"there is no file {folder / words[at]}")
    first = _search_first(words[0], found)
    return CommandLine(options={"COMMAND": shlex.join((found, *words[1:]))}, shown=shown, search_first=first)


def _search_first(program: str, found: str) -> str:
    """Return the folder of a program that is found by its name, such as nvm's; empty where every PATH has it."""
    folder = str(Path(found.split()[0]).parent) if found else ""
    return folder if "/" not in program and folder not in _EVERYWHERE else ""


def path_beginning_with(folder: str) -> str:
    """Return a PATH on which a folder comes first."""
    return ":".join((folder, *_EVERYWHERE))


def _script_at(words: Sequence[str]) -> int:
    """Return the place of the script that an interpreter runs; 0 if the first word is no interpreter that we know."""
    name = Path(words[0]).name
    is_python = _PYTHON.fullmatch(name) is not None
    if not is_python and name not in _OTHERS:
        return 0
    flag = _PYTHON_FLAGS if is_python else _OTHER_FLAGS
    for at, word in enumerate(words[1:], 1):
        if not word.startswith("-"):
            return at
        if flag.fullmatch(word) is None:
            return 0
    return 0


def _below(folder: Path, word: str) -> str:
    """Return the path of a file in the folder, relative to it; empty for any other."""
    whole = Path(os.path.normpath(folder / word))
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) and os.path.isfile(whole) else ""


def _is_own(program: str, folder: Path) -> bool:
    """Tell whether it is the Python of a virtual environment in the folder, which a node gets by itself."""
    whole = Path(os.path.normpath(folder / program))
    own = next((name for name in _OWN_ENVIRONMENTS if os.path.exists(folder / name / "bin" / "python")), "")
    return bool(own) and whole.parent == folder / own / "bin" and _PYTHON.fullmatch(whole.name) is not None


def _find(program: str, folder: Path, search_path: str) -> str:
    """Return the absolute path of a program; empty if it is not there."""
    if "/" in program:
        whole = os.path.normpath(folder / os.path.expanduser(program))
        return whole if os.path.isfile(whole) and os.access(whole, os.X_OK) else ""
    # Not the environment that the fleet itself is installed in: its packages are not the bot's.
    ours = {str(Path(sys.prefix) / "bin")} if sys.prefix != sys.base_prefix else set()
    places = [place for place in (search_path or os.environ.get("PATH", "")).split(":") if place and place not in ours]
    return shutil.which(program, path=":".join(places)) or ""


def _missing(program: str) -> str:
    if "/" in program:
        return f"there is no program {program}"
    return f"there is no {program!r} on the PATH: install it first"


def _short(word: str, folder: Path) -> str:
    """Return a word as a person would write it: a file of the folder by its path in it, a program by its name."""
    if not word.startswith("/"):
        return shlex.quote(word)
    path = Path(word)
    if path.is_relative_to(folder):
        return shlex.quote(str(path.relative_to(folder)))
    return shlex.quote(path.name) if path.parent.name in ("bin", "sbin") else shlex.quote(word)
