"""``fleet patch try``: a rehearsal on the sandbox, with a copy of a bot's folder. Needs no master and no config."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, found_home, reporting_errors
from master.cli.moments import duration_of
from master.errors import ExitCode
from master.services.patches.files import read_patch_file
from master.services.patches.trees import SourceMissing
from master.terminal import console, one_line, print_json
from master.wording import visible_lines

if TYPE_CHECKING:
    from master.demonstration.trying import Tried

_MOST_LINES = 40


def try_patch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A patch file; it need not be signed.")],
    bot: Annotated[
        str, typer.Argument(metavar="NODE|FOLDER", help="A bot's folder, or a node of the home.", show_default=False)
    ],
    watch: Annotated[str, typer.Option(metavar="DURATION", help="Watch it with the patch so long.")] = "10s",
    entry: Annotated[
        str, typer.Option(help="The file that starts it.", show_default="as its node.json says, or bot.py")
    ] = "",
    token_env: Annotated[
        str,
        typer.Option("--token-env", help="Where a bot without nodekit reads its token.", show_default="DISCORD_TOKEN"),
    ] = "",
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", help="Variables that it needs; its own .env is not copied.", show_default=False),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a copy of a bot on a local Discord, without and with the patch, and say what is different.

    Exits with 0 if it holds and with 1 if not. The bot's folder stays as it is.
    """
    with reporting_errors(as_json=as_json):
        from master.demonstration import trying

        trial = trying.Trial(
            patch=read_patch_file(file),
            folder=_folder_of(bot, home),
            entry=entry,
            token_variable=token_env,
            environment={} if env_file is None else _variables(env_file),
            watch_s=duration_of(watch, "--watch"),
        )

        def tell(line: str) -> None:
            if not as_json:
                console.print(one_line(("· ", "bright_black"), line), soft_wrap=True)

        tried = asyncio.run(trying.try_patch(trial, tell))
        if as_json:
            print_json(tried)
        else:
            for line in _lines(tried):
                console.print(line, soft_wrap=True)
        raise typer.Exit(ExitCode.OK if tried.holds else ExitCode.FAILED)


def _folder_of(bot: str, home: Path | None) -> Path:
    """Return a bot's folder: the one that was named, or that of a node below BOTS_BASE_PATH of the home."""
    named = Path(bot).expanduser()
    if named.is_dir():
        return named
    hint = "give its folder, such as ./atlas, or run it on the fleet's box for a node by its name"
    if "/" in bot or not (found_home(home).path / "config.py").is_file():
        raise SourceMissing(f"there is no folder {bot}", hint=hint)
    from master.configuration.loading import load_settings

    folder = load_settings(found_home(home).path, os.environ).identity.bots_base_path / bot
    if not folder.is_dir():
        raise SourceMissing(f"there is neither a folder nor a node called {bot}", hint=hint)
    return folder


def _variables(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values

    if not path.is_file():
        raise SourceMissing(f"there is no file {path}", hint="--env-file takes lines of NAME=VALUE")
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def _lines(tried: Tried) -> Iterator[Text]:
    if tried.before is not None and tried.after is not None:
        yield from _difference("commands", tried.before.commands, tried.after.commands)
        yield from _difference("cogs", tried.before.cogs, tried.after.cogs)
    for error in tried.errors:
        times = f" ({error.count} times)" if error.count > 1 else ""
        yield one_line(("✗ ", "red"), f"new: {error.title}{times}")
        lines = visible_lines(error.text.rstrip()).split("\n")
        if len(lines) > _MOST_LINES:
            yield one_line(("    ...", "bright_black"))
        for line in lines[-_MOST_LINES:]:
            yield one_line((f"    {line}", "bright_black"))
    for problem in tried.problems:
        yield one_line(("✗ ", "red"), problem)
    for note in tried.notes:
        yield one_line(("! ", "yellow"), note)
    if tried.holds:
        yield one_line(("✓ ", "green"), f"{tried.patch} holds on a copy of {tried.folder}")
    else:
        yield one_line(("✗ ", "red"), f"{tried.patch} does not hold on a copy of {tried.folder}")


def _difference(what: str, before: tuple[str, ...], after: tuple[str, ...]) -> Iterator[Text]:
    new = [name for name in after if name not in before]
    gone = [name for name in before if name not in after]
    if new or gone:
        parts = [*(f"+{name}" for name in new), *(f"-{name}" for name in gone)]
        yield one_line(f"  {what}: {' '.join(parts)}")
    else:
        yield one_line((f"  {what}: the same {len(after)}", "bright_black"))
