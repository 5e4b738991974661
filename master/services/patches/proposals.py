"""What a patch proposes by itself: cogs to reload or a restart, and the packages that it needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from master.services.patches.trees import SourceFile, Tree

_COG = re.compile(r"cogs/([A-Za-z][A-Za-z0-9_]{0,54})\.py")
_EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])? *== *[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_READ_BY_NOBODY = frozenset({".md", ".rst"})
_REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True)
class Effect:
    """How a node should take the changes over.

    Parameters
    ----------
    reload
        Names of cogs; empty: it restarts.
    why
        Why it has to restart; empty where it has not.
    """

    reload: tuple[str, ...] = ()
    why: str = ""


def propose_effect(changed: Tree, paths: Iterable[str], *, packages: bool) -> Effect:
    """Propose to reload cogs where nothing else has changed and nothing else holds on to them, and otherwise a restart.

    Parameters
    ----------
    changed
        The bot's files as the patch leaves them.
    paths
        Of all files that it brings or takes away.
    packages
        Whether it needs packages that the bot has not.
    """
    if packages:
        return Effect(why="it needs packages")
    cogs = dict[str, str]()
    for path in sorted(paths):
        if PurePosixPath(path).suffix in _READ_BY_NOBODY:
            continue
        found = _COG.fullmatch(path)
        if found is None:
            return Effect(why=f"{path} is no cog: what has imported it keeps the old one")
        cogs[found[1]] = path
    holder = _holder(changed.files, cogs)
    return Effect(why=holder) if holder else Effect(reload=tuple(cogs))


def _holder(files: Mapping[str, SourceFile], cogs: Mapping[str, str]) -> str:
    """Return which other file imports one of the cogs, and would keep its old classes; empty if none does."""
    for path, file in sorted(files.items()):
        if not path.endswith(".py") or path.startswith("tests/"):
            continue
        # What does not hold the word is not parsed: most files do not.
        if b"cogs" not in file.content and not path.startswith("cogs/"):
            continue
        for name in _imported_cogs(file.content, path):
            if name in cogs and cogs[name] != path:
                return f"{path} imports the cog {name}, and would keep the old one"
    return ""


def _imported_cogs(source: bytes, path: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    in_cogs = PurePosixPath(path).parts[:-1] == ("cogs",)
    found = set[str]()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            found.update(name for alias in statement.names for name in _below_cogs(alias.name))
        elif isinstance(statement, ast.ImportFrom):
            module = statement.module or ""
            if statement.level == 1 and in_cogs:
                module = f"cogs.{module}" if module else "cogs"
            elif statement.level:
                continue
            found.update(_below_cogs(module))
            if module == "cogs":
                found.update(alias.name for alias in statement.names)
    return found


def _below_cogs(module: str) -> list[str]:
    package, _, rest = module.partition(".")
    return [rest.partition(".")[0]] if package == "cogs" and rest else []


@dataclass(frozen=True, slots=True)
class Requirements:
    """Packages that the changed bot needs and the original does not.

    Parameters
    ----------
    exact
        In exact versions: what is installed.
    inexact
        Lines that name no exact version; nothing is installed for them.
    """

    exact: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()


def propose_requirements(base: Tree, changed: Tree) -> Requirements:
    """Return what is new in requirements.txt."""
    before = set(_lines(base.files.get(_REQUIREMENTS)))
    new = [line for line in _lines(changed.files.get(_REQUIREMENTS)) if line not in before]
    exact = tuple(re.sub(r"\s", "", line) for line in new if is_exact(line))
    return Requirements(exact, tuple(line for line in new if not is_exact(line)))


def is_exact(line: str) -> bool:
    """Tell whether a requirement names one version of one package: ``aiosqlite==0.21.0``."""
    return _EXACT.fullmatch(line) is not None and len(line) <= 120


def _lines(file: SourceFile | None) -> list[str]:
    if file is None:
        return []
    text = file.content.decode("utf-8", "replace")
    # pip's comments begin at a line's beginning or after a blank.
    lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
