"""``fleet patch build`` and ``new``: a patch from what an author has changed. Needs no master and no config."""

from __future__ import annotations

import getpass
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from handshake.patch_document import SUFFIX, PatchDocument, Targets, WavePlan
from master.cli.context import JsonOption, reporting_errors
from master.cli.moments import duration_of
from master.services.patches.building import BuildRequest, Built, RequestRefused, file_differences, next_version
from master.services.patches.building import build as build_patch
from master.services.patches.files import PatchFileExists, write_patch_file
from master.services.patches.git_trees import git_config, git_range
from master.services.patches.trees import Tree, folder_tree, with_files
from master.terminal import console, one_line, print_json, print_lines, terminal_width
from master.terminal.patch_diffs import stat_lines
from master.terminal.patch_files import effect_text, fact_line, size_text, targets_text

_FROM, _SAYS, _WHOM, _HOW = "What has changed", "What it says of itself", "For whom", "How it takes effect"
MAX_NOTE = 2_000
MOST_NAMED = 5


class BuiltPatch(msgspec.Struct, frozen=True, kw_only=True):
    """A patch file that was built, for programs."""

    file: str
    bytes: int
    document: PatchDocument
    why_restart: str
    left_out: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where the changes come from.

    Parameters
    ----------
    folder
        With the changed files; with ``git`` the bot's folder in a checkout.
    base
        The original; None with ``git``.
    git
        A range of commits; empty for folders.
    files
        Of ``folder``; empty: all of them.
    """

    folder: Path
    base: Path | None = None
    git: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Sides:
    base: Tree
    changed: Tree
    subjects: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _option(panel: str, help_text: str, *names: str, default: str | bool = False, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, show_default=default, metavar=metavar)


_FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILES]...", help="Changed files of this folder; with --base.", show_default=False),
]
_Folder = Annotated[
    Path | None, _option(_FROM, "The changed bot; with --git its folder in the checkout.", default="this folder")
]
_Base = Annotated[Path | None, _option(_FROM, "The bot as it runs now: its node's folder, or a copy.")]
_Git = Annotated[str, _option(_FROM, "Commits: v1..v2; HEAD~1 alone is HEAD~1..HEAD.", metavar="RANGE")]
_Remove = Annotated[list[str] | None, _option(_FROM, "Take a file away.", metavar="PATH")]
_Exclude = Annotated[list[str] | None, _option(_FROM, "Leave files alone: data.json, tests/*.", metavar="PATTERN")]
_Check = Annotated[bool, _option(_FROM, "Build also what does not compile here.", "--no-check")]
_Name = Annotated[str, _option(_SAYS, "a-z, 0-9, - and _.", default="the file's, or the folder's")]
_Version = Annotated[
    int | None,
    typer.Option(min=1, help="Rises in its channel.", rich_help_panel=_SAYS, show_default="above the newest beside it"),
]
_Channel = Annotated[str, _option(_SAYS, "A line of versions of its own.", default=True)]
_Note = Annotated[str, _option(_SAYS, "What it is good for.", "--note", "-m", default="the commits' subjects")]
_Author = Annotated[str, _option(_SAYS, "Your name.", default="git's user.name")]
_Expires = Annotated[str, _option(_SAYS, "Not accepted later: 12h, 30d.", default=True, metavar="DURATION")]
_Tags = Annotated[list[str] | None, _option(_WHOM, "Only nodes with this tag.", "--tag")]
_Templates = Annotated[list[str] | None, _option(_WHOM, "Only nodes of this version of the template.", "--template")]
_Nodes = Annotated[list[str] | None, _option(_WHOM, "Only the node of this name.", "--node")]
_Fleets = Annotated[
    list[str] | None,
    _option(_WHOM, "Only for this fleet.", "--fleet", default="each that trusts the key", metavar="ID"),
]
_Needs = Annotated[
    list[str] | None, _option(_WHOM, "Only nodes that have this patch.", "--depends-on", metavar="PATCH")
]
_Reload = Annotated[list[str] | None, _option(_HOW, "Reload this cog, and do not restart.", "--reload", metavar="COG")]
_Restart = Annotated[bool, _option(_HOW, "Restart, also where a reload would do.", "--restart")]
_Requirements = Annotated[
    list[str] | None,
    _option(_HOW, "Install this.", "--requirement", default="what is new in requirements.txt", metavar="NAME==VERSION"),
]
_Canary = Annotated[
    int | None,
    typer.Option(min=0, max=100, help="Nodes that get it first.", rich_help_panel=_HOW, show_default="the fleet's"),
]
_Soak = Annotated[str, _option(_HOW, "Watch each wave so long.", default="the fleet's", metavar="DURATION")]
_Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="PATH", help="A file, or a folder.", show_default=f"NAME-VERSION{SUFFIX}"),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]


def build(
    files: _FilesArgument = None,
    folder: _Folder = None,
    base: _Base = None,
    git: _Git = "",
    remove: _Remove = None,
    exclude: _Exclude = None,
    no_check: _Check = False,
    name: _Name = "",
    version: _Version = None,
    channel: _Channel = "main",
    note: _Note = "",
    author: _Author = "",
    expires: _Expires = "30d",
    tags: _Tags = None,
    templates: _Templates = None,
    nodes: _Nodes = None,
    fleets: _Fleets = None,
    depends_on: _Needs = None,
    reload: _Reload = None,
    restart: _Restart = False,
    requirements: _Requirements = None,
    canary: _Canary = None,
    soak: _Soak = "",
    out: _Out = None,
    force: _Force = False,
    as_json: JsonOption = False,
) -> None:
    """Make a patch, not signed yet, from two folders, from commits, or from changed files.

    fleet patch build --base /srv/bots/atlas cogs/ranks.py

    fleet patch build --base atlas --folder atlas-new

    fleet patch build --git v1..v2 --folder bots/atlas
    """
    with reporting_errors(as_json=as_json):
        if restart and reload:
            raise typer.BadParameter("a patch reloads cogs, or restarts", param_hint="--reload")
        source, created = _source_of(files or [], folder, base, git), _now()
        request = BuildRequest(
            name=name,
            version=version or 0,
            created=created,
            expires=created + int(duration_of(expires, "--expires")),
            channel=channel,
            author=author,
            note=note,
            fleets=tuple(fleets or ()),
            targets=Targets(templates=tuple(templates or ()), tags=tuple(tags or ()), names=tuple(nodes or ())),
            depends_on=tuple(depends_on or ()),
            requirements=tuple(requirements or ()),
            reload=tuple(reload or ()),
            restart=restart,
            rollout=WavePlan(canary=canary, soak_s=duration_of(soak, "--soak") if soak else None),
            remove=tuple(remove or ()),
            exclude=tuple(exclude or ()),
            check=not no_check,
        )
        path, built = make(source, request, out=out, force=force)
        print_json(_for_programs(path, built)) if as_json else show_built(path, built)


def _now() -> int:
    """Return the moment of the build; SOURCE_DATE_EPOCH makes two builds the same (https://reproducible-builds.org)."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(given) if given.isdecimal() else int(time.time())


def _source_of(files: list[Path], folder: Path | None, base: Path | None, git: str) -> Source:
    """Return where the changes come from, if the options name one place."""
    if git:
        if base is not None or files:
            raise typer.BadParameter("it has both sides already: no --base and no files with it", param_hint="--git")
        return Source(folder or Path(), git=git)
    if base is None:
        hint = "the bot as it runs now is missing (--base NODE_FOLDER), or the commits (--git v1..v2)"
        raise typer.BadParameter(hint, param_hint="--base")
    if not files and folder is None:
        hint = "what has changed is missing: --folder CHANGED, or the files"
        raise typer.BadParameter(hint, param_hint="--folder")
    return Source(folder or Path(), base=base, files=tuple(files))


def make(source: Source, request: BuildRequest, *, out: Path | None = None, force: bool = False) -> tuple[Path, Built]:
    """Build a patch, with proposals for what its author left open, and write its file.

    Raises
    ------
    PatchError, OSError
    """
    sides = _read(source)
    into = Path() if out is None else out if out.is_dir() else out.parent
    request = replace(
        request,
        note=(request.note or "\n".join(sides.subjects))[:MAX_NOTE],
        author=(request.author or _author(source.folder))[:120],
        folder_name=source.folder.resolve().name,
        version=request.version or next_version(into, request.channel),
    )
    built = build_patch(request, sides.base, sides.changed)
    built = replace(built, warnings=(*sides.warnings, *built.warnings))
    line = "" if request.channel == "main" else f"{request.channel}-"
    default = into / f"{built.document.name}-{line}{request.version}{SUFFIX}"
    path = default if out is None or out.is_dir() else out
    if path.exists() and not force:
        hint = "give another --version or --out, or replace it with --force"
        raise PatchFileExists(f"{path} is there already", hint=hint)
    write_patch_file(path, built.raw)
    return path, built


def _read(source: Source) -> _Sides:
    if source.git:
        found = git_range(source.folder, source.git)
        several = len(found.uncommitted)
        names = ", ".join(found.uncommitted[:3]) + (", ..." if several > 3 else "")
        warnings = (f"not committed, so not in the patch: {names}",) if several else ()
        return _Sides(found.base, found.changed, found.subjects, warnings)
    if source.base is None:
        raise RequestRefused("there is nothing to compare with: --base is missing")
    base = folder_tree(source.base)
    if source.files:
        return _Sides(base, with_files(base, source.folder, source.files))
    return _Sides(base, folder_tree(source.folder))


def _author(folder: Path) -> str:
    named = git_config("user.name", folder)
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""  # a user without a name, as in containers


def _for_programs(path: Path, built: Built) -> BuiltPatch:
    return BuiltPatch(
        file=str(path),
        bytes=path.stat().st_size,
        document=built.document,
        why_restart=built.why_restart,
        left_out=dict(built.left_out),
        warnings=built.warnings,
    )


def show_built(path: Path, built: Built) -> None:
    """Print what was built, and what comes next."""
    document = built.document
    print_lines([one_line((f"{document.name} {document.version}", "bold"), f"  channel {document.channel}")])
    print_lines(stat_lines(file_differences(built.changes), width=terminal_width()))
    why = f": {built.why_restart}" if built.why_restart else ""
    lines = [
        fact_line("takes effect", f"{effect_text(document)}{why}"),
        fact_line("targets", targets_text(document.targets)),
    ]
    if document.note:
        lines.append(fact_line("note", document.note.splitlines()[0]))
    if document.requirements:
        lines.append(fact_line("packages", ", ".join(document.requirements)))
    lines += [fact_line("left out", f"{path}: {why}") for path, why in left_out_groups(built.left_out)]
    lines += [one_line(("! ", "yellow"), warning) for warning in built.warnings]
    lines.append(one_line(("✓ ", "green"), f"{path} ({size_text(path.stat().st_size)}), not signed yet"))
    lines.append(one_line(("→ ", "cyan"), f"fleet patch sign {shlex.quote(str(path))}"))
    for line in lines:
        console.print(line, soft_wrap=True)


def left_out_groups(left_out: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what was left out, the files of one reason together."""
    for why in dict.fromkeys(left_out.values()):
        paths = [path for path, reason in left_out.items() if reason == why]
        yield (
            ", ".join(paths[:MOST_NAMED]) + (f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""),
            why,
        )
