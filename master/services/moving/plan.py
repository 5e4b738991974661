"""Plan how programs become nodes: names, command lines, options, tokens, what is in the way. Changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from master.configuration.node_options import OptionsRefused, encode_options
from master.services.core.errors import NameRefused, TagRefused
from master.services.core.views import NodeStatus
from master.services.moving.command_lines import CommandLine, describe_command, path_beginning_with
from master.services.moving.programs import ImportedProgram, Lost
from master.services.moving.reading import read_variables
from master.services.moving.running import OldCopy, Wanted, find_copies
from master.services.moving.tokens import FoundToken, find_token
from master.services.onboarding.names import MAX_NAME_LENGTH, check_name, check_tags

_VARIABLE = re.compile(r"(?!FLEET_)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class PlannedNode(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a program."""

    name: str
    program: ImportedProgram
    folder: str = ""
    command: CommandLine = CommandLine()
    options: dict[str, Any] = {}
    environment: dict[str, str] = {}
    found: FoundToken | None = None
    token_place: str = ""
    """Where its token is, in words; empty for none."""
    tags: tuple[str, ...] = ()
    start: bool = True
    lost: tuple[Lost, ...] = ()
    present: bool = False
    """It is a node already."""
    trouble: str = ""
    """Why it cannot become a node."""
    running: tuple[OldCopy, ...] = ()

    def __repr__(self) -> str:
        return f"PlannedNode(name={self.name!r}, folder={self.folder!r}, environment=...)"

    @property
    def is_wanted(self) -> bool:
        """Tell whether it is to be registered."""
        return not self.trouble and not self.present


def make_plan(
    programs: Sequence[ImportedProgram], nodes: Sequence[NodeStatus], home: Path, *, without_token: frozenset[str]
) -> list[PlannedNode]:
    """Return what becomes of each program. Blocks.

    Parameters
    ----------
    nodes
        Those of the fleet.
    home
        The fleet's.
    without_token
        Names of programs that are no bots, whatever their variables are called.
    """
    names = _names(programs)
    planned = [
        _planned(program, name, nodes, home, without_token=program.name in without_token or name in without_token)
        for program, name in zip(programs, names, strict=True)
    ]
    planned = _in_order(_without_doubles(planned, nodes), nodes)
    wanted = [_wanted(node) for node in planned if node.is_wanted]
    copies = find_copies(wanted)
    return [structs.replace(node, running=copies.get(node.name, ())) for node in planned]


def _wanted(node: PlannedNode) -> Wanted:
    program = node.program
    return Wanted(
        name=node.name,
        old_name=program.name,
        supervisor=program.supervisor,
        folder=node.folder,
        words=program.words,
        inside=program.inside,
    )


def _names(programs: Sequence[ImportedProgram]) -> list[str]:
    """Return a node's name for each program; two never have the same."""
    taken: set[str] = set()
    names: list[str] = []
    for program in programs:
        plain = _NOT_IN_A_NAME.sub("-", program.name).strip("-_")[:MAX_NAME_LENGTH] or "bot"
        try:
            check_name(plain)
        except NameRefused:
            plain = f"{plain}-bot"  # A word of the command line, such as "all".
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain[: MAX_NAME_LENGTH - 4]}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _planned(
    program: ImportedProgram,
    name: str,
    nodes: Sequence[NodeStatus],
    home: Path,
    *,
    without_token: bool,
) -> PlannedNode:
    lost = list(program.lost)
    if name != program.name:
        lost.append(Lost("name", f"it is called {name} here: letters, digits, - and _ alone"))
    folder, trouble = _folder(program, lost)
    holder = next((node for node in nodes if node.name.casefold() == name.casefold()), None)
    if program.trouble or trouble:
        return PlannedNode(name=name, program=program, lost=tuple(lost), trouble=program.trouble or trouble)
    command = describe_command(
        program.words, folder, program.search_path, by_name=program.supervisor == "docker compose"
    )
    environment, file = _environment(program, name, lost)
    if command.search_first and "PATH" not in environment and not file:
        environment["PATH"] = path_beginning_with(command.search_first)
    options = {**program.options, **command.options, **({"ENV_FILE": file} if file else {})}
    options = _valid(options, home, lost)
    found, place = (None, "") if without_token else _token(program, environment, file, folder, lost)
    if holder is not None and not _is_place(holder, folder):
        trouble = f"another node is called {holder.name} already"
    return PlannedNode(
        name=name,
        program=program,
        folder=str(folder),
        command=command,
        options=options,
        environment=environment,
        found=found,
        token_place=place,
        tags=_tags(program.tags, lost),
        start=program.start,
        lost=tuple(lost),
        present=holder is not None and not trouble,
        trouble=trouble or command.trouble,
    )


def _is_place(node: NodeStatus, folder: Path) -> bool:
    """Tell whether a node runs in a folder; of one below BOTS_BASE_PATH only the name is known."""
    return folder == Path(node.folder) if node.folder.startswith("/") else folder.name == node.folder


def _folder(program: ImportedProgram, lost: list[Lost]) -> tuple[Path, str]:
    """Return where a program runs, and what is wrong with that."""
    folder = Path(program.folder)
    if not program.folder:
        files = [Path(word) for word in program.words if word.startswith("/") and Path(word).suffix]
        if not files:
            return folder, "the file does not say in which folder it runs: add that there"
        folder = files[0].parent
        lost.append(Lost("directory", f"was not named: it runs in its file's, {folder}"))
    folder = Path(os.path.realpath(folder))
    if not os.path.isdir(folder):
        return folder, f"there is no folder {folder}"
    return folder, ""


def _environment(program: ImportedProgram, name: str, lost: list[Lost]) -> tuple[dict[str, str], str]:
    """Return a program's variables, and the file that they stay in where there is no more than that."""
    files = [file for file in program.environment_files if os.path.isfile(file)]
    for file in program.environment_files:
        if file not in files:
            lost.append(Lost("env_file", f"there is no file {file}"))
    if len(files) == 1 and not program.environment:
        return {}, files[0]
    merged: dict[str, str] = {}
    for file in files:
        merged |= read_variables(Path(file))
    if files:
        lost.append(Lost("env_file", f"copied to env/{name}.env with the other variables: change them there"))
    whole = {**merged, **program.environment}
    odd = [name for name in whole if _VARIABLE.fullmatch(name) is None]
    if odd:
        lost.append(Lost("env", f"{', '.join(odd)[:100]}: a variable's name has letters, digits and _ alone"))
    return {name: value for name, value in whole.items() if name not in odd}, ""


def _in_order(planned: Sequence[PlannedNode], nodes: Sequence[NodeStatus]) -> list[PlannedNode]:
    """Set after which other nodes each starts, where those will be there."""
    known = {node.name.casefold(): node.name for node in nodes}
    # By the old name and by the new one.
    known |= {
        old.casefold(): node.name for node in planned if not node.trouble for old in (node.name, node.program.name)
    }
    ordered = []
    for node in planned:
        found = dict.fromkeys(known[other.casefold()] for other in node.program.after if other.casefold() in known)
        missing = [other for other in node.program.after if other.casefold() not in known]
        if found:
            node = structs.replace(node, options={**node.options, "AFTER": list(found)})
        if missing:
            gone = Lost("after", f"no node is called {', '.join(missing)}: it does not wait for that")
            node = structs.replace(node, lost=(*node.lost, gone))
        ordered.append(node)
    return ordered


def _valid(options: Mapping[str, Any], home: Path, lost: list[Lost]) -> dict[str, Any]:
    """Return the options that are valid for a node; the others are lost."""
    kept: dict[str, Any] = {}
    for key, value in options.items():
        try:
            encode_options({key: value}, home)
        except OptionsRefused as error:
            lost.append(Lost(key, f"{error.message}: give it in NODES"))
        else:
            kept[key] = value
    return kept


def _token(
    program: ImportedProgram, environment: Mapping[str, str], file: str, folder: Path, lost: list[Lost]
) -> tuple[FoundToken | None, str]:
    """Return a program's token, and where it is."""
    places: list[tuple[Mapping[str, str], str]] = [(environment, "")]
    if file:
        places.append((read_variables(Path(file)), f" in {Path(file).name}"))
    places.append((read_variables(folder / ".env"), " in its .env"))
    for variables, where in places:
        found = find_token(variables)
        if found is not None:
            if found.others:
                lost.append(Lost(", ".join(found.others), "tokens of other bots: they stay among its variables"))
            return found, f"{found.variable}{where}"
    return None, ""


def _tags(tags: Sequence[str], lost: list[Lost]) -> tuple[str, ...]:
    try:
        return check_tags(tuple(tags))
    except TagRefused:
        lost.append(Lost("group", f"{', '.join(tags)} is no tag: fleet edit NAME --tag"))
        return ()


def _without_doubles(planned: Sequence[PlannedNode], nodes: Sequence[NodeStatus]) -> list[PlannedNode]:
    """Name programs with the bot of another program or of a node: of one bot only one may run."""
    tokens: dict[str, str] = {}
    bots = {node.bot_user_id: node.name for node in nodes}
    checked = []
    for node in planned:
        trouble, found = "", node.found
        if found is not None and node.is_wanted:
            holder = tokens.setdefault(_bot_of(found), node.name)
            known = bots.get(str(found.claimed_user_id), "")
            if holder != node.name:
                trouble = f"has the same bot as {holder}: only one of them may run"
            elif known:
                trouble = f"its bot is the node {known} already"
        checked.append(structs.replace(node, trouble=trouble) if trouble else node)
    return checked


def _bot_of(found: FoundToken) -> str:
    """Return what tells bots apart: the user id in a token, or else the whole of it."""
    claimed = found.claimed_user_id
    return found.token.reveal() if claimed is None else str(claimed)
