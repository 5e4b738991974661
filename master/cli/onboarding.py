"""``register`` and ``dup``: the token comes from a file, standard input or a hidden prompt, never from argv."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
import typer
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from handshake.manifest import DEFAULT_TOKEN_VARIABLE
from master.cli.context import HomeOption, JsonOption, client_of, complete_nodes, reporting_errors
from master.errors import ExitCode, FleetError
from master.operations import onboarding
from master.operations.operation import Operation
from master.operations.parameters import DuplicateParams, RegisterParams
from master.services.core.views import FleetEvent, Registered
from master.terminal import console, one_line, print_json, state_text
from master.wording import visible

P = TypeVar("P", bound=msgspec.Struct)

TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="File with the bot's token; '-' for standard input.", show_default="ask"),
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given several times.")]
TierOption = Annotated[str, typer.Option("--tier", help="Licence tier.", show_default="the first of LICENCES")]
StartOption = Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")]
SAGA_TIMEOUT_S = 120.0
PROGRAMS = "Programs of any kind"
_NO_BOT_HINT = "give --token-file, or the token on standard input; --no-token if it is no bot"


class FolderMissing(FleetError):
    """There is no such folder."""

    code: ClassVar[str] = "folder_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class TokenMissing(FleetError):
    """No token was given."""

    code: ClassVar[str] = "token_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


def register(
    name: Annotated[str, typer.Argument(help="What the node is called.")],
    folder: Annotated[
        str,
        typer.Option(
            "--folder",
            help="An existing folder: its name below BOTS_BASE_PATH, or a path.",
            show_default="made from the template",
        ),
    ] = "",
    entry: Annotated[str, typer.Option("--entry", help="The file that starts it.")] = "bot.py",
    command: Annotated[
        str,
        typer.Option(
            "--command",
            rich_help_panel=PROGRAMS,
            help="Its command line instead of an entry file, such as 'node index.js'.",
        ),
    ] = "",
    interpreter: Annotated[
        str,
        typer.Option(
            "--interpreter",
            rich_help_panel=PROGRAMS,
            help="What runs the entry file; 'none': itself.",
            show_default="by the file's ending",
        ),
    ] = "",
    args: Annotated[
        str, typer.Option("--args", rich_help_panel=PROGRAMS, help="Arguments of the program, in one text.")
    ] = "",
    no_token: Annotated[
        bool,
        typer.Option(
            "--no-token",
            rich_help_panel=PROGRAMS,
            help="It is no Discord bot, or has its token elsewhere; Discord is not asked.",
        ),
    ] = False,
    readiness: Annotated[
        Literal["auto", "handshake", "process"],
        typer.Option("--readiness", help="How it says that it is ready: by the handshake, or by running."),
    ] = "auto",
    ready_when: Annotated[
        str,
        typer.Option(
            "--ready-when",
            rich_help_panel=PROGRAMS,
            help="It is ready once this is so: log:PATTERN, port:NUMBER or an http:// address of this box.",
        ),
    ] = "",
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            rich_help_panel=PROGRAMS,
            help="NAME=VALUE, kept in a private file; NAME alone takes yours. Several times.",
        ),
    ] = None,
    env_file: Annotated[
        Path | None, typer.Option("--env-file", rich_help_panel=PROGRAMS, help="A file of variables, as .env.")
    ] = None,
    cron: Annotated[
        str, typer.Option("--cron", rich_help_panel=PROGRAMS, help="When to restart it, such as '0 5 * * *'.")
    ] = "",
    watch: Annotated[
        list[str] | None,
        typer.Option(
            "--watch",
            rich_help_panel=PROGRAMS,
            help="While developing: restart it when this file or folder changes. Several times.",
        ),
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Join a discord.py bot that knows nothing of the fleet, as it is.")
    ] = False,
    token_env: Annotated[
        str, typer.Option("--token-env", help="With --link: the environment variable in which it reads its token.")
    ] = DEFAULT_TOKEN_VARIABLE,
    token_file: TokenFileOption = None,
    tag: TagOption = None,
    tier: TierOption = "",
    start: StartOption = True,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a bot or another program into the fleet: an existing folder, or a token alone."""
    with reporting_errors(as_json=as_json):
        for given, option in ((link, "--link"), (no_token, "--no-token"), (command, "--command")):
            if given and not folder:
                raise typer.BadParameter("it takes a --folder", param_hint=option)
        if no_token and token_file is not None:
            raise typer.BadParameter("a token is given too", param_hint="--no-token")
        check_folder_exists(folder)
        options = {
            "COMMAND": command,
            "INTERPRETER": interpreter,
            "ARGS": args,
            "ENV_FILE": "" if env_file is None else str(env_file.expanduser().absolute()),
            "CRON_RESTART": cron,
            "WATCH": watch,
            "READY_WHEN": ready_when,
        }
        params = RegisterParams(
            name=name,
            token="" if no_token else read_token(token_file, hint=_NO_BOT_HINT),
            no_token=no_token,
            folder=absolute_folder(folder),
            entry=entry,
            readiness=readiness,
            link=link,
            token_env=token_env,
            options={key: value for key, value in options.items() if value},
            environment=_environment(env or ()),
            tier=tier,
            tags=tuple(tag or ()),
            start=start,
        )
        _run(onboarding.register, params, home, as_json=as_json)


def absolute_folder(text: str) -> str:
    """Return a folder as the master takes it: a path from here on, or from the home on, is made absolute."""
    if text.startswith(("~", "./", "../")) or text in (".", ".."):
        return str(Path(os.path.abspath(os.path.expanduser(text))))
    return text if text == "/" else text.rstrip("/")


def check_folder_exists(text: str) -> None:
    """Check a folder before a token is asked for; a name alone is the master's to find.

    Raises
    ------
    FolderMissing
    """
    path = Path(absolute_folder(text)) if text else None
    if path is not None and path.is_absolute() and not path.is_dir():
        raise FolderMissing(
            f"the folder {path} does not exist",
            hint="a name alone is a folder in BOTS_BASE_PATH; give any other by its path, such as ./site",
        )


def _environment(given: Iterable[str]) -> dict[str, str]:
    """Read NAME=VALUE; a name alone stands for the variable of that name here, and so for no secret in argv."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals and name not in os.environ:
            raise typer.BadParameter(f"{name} is not set here; give NAME=VALUE", param_hint="--env")
        found[name] = value if equals else os.environ[name]
    return found


def dup(
    name: Annotated[str, typer.Argument(help="What the new node is called.")],
    source: Annotated[
        str,
        typer.Option("--from", help="The node to copy.", show_default="the template", autocompletion=complete_nodes),
    ] = "",
    token_file: TokenFileOption = None,
    tag: TagOption = None,
    tier: TierOption = "",
    start: StartOption = True,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new node from the template, or from another node."""
    with reporting_errors(as_json=as_json):
        params = DuplicateParams(
            name=name, token=read_token(token_file), source=source, tier=tier, tags=tuple(tag or ()), start=start
        )
        _run(onboarding.duplicate, params, home, as_json=as_json)


def read_token(path: Path | None, *, hint: str = "give --token-file, or the token on standard input") -> str:
    """Read a token without showing it.

    Parameters
    ----------
    hint
        What to do if there is none.

    Raises
    ------
    TokenMissing
    """
    if path is None and sys.stdin.isatty():
        return str(typer.prompt("Bot token", hide_input=True)).strip()
    try:
        text = sys.stdin.read(1_000) if path is None or str(path) == "-" else path.read_text("utf-8")[:1_000]
    except (OSError, UnicodeDecodeError) as error:
        raise TokenMissing(
            f"the token cannot be read from {path}: {error}", hint="give a file with the token"
        ) from error
    if not text.strip():
        raise TokenMissing("there is no token", hint=hint)
    return text.strip()


def _run(operation: Operation[P, Registered, Any], params: P, home: Path | None, *, as_json: bool) -> None:
    with console.status("asking the master") as spinner:

        def show(step: FleetEvent) -> None:
            spinner.update(one_line(step.detail))

        registered = client_of(home).follow(
            operation, params, event=FleetEvent, on_event=show, timeout_s=SAGA_TIMEOUT_S
        )
    if as_json:
        print_json(registered)
    else:
        _show(registered)


def _show(registered: Registered) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("state", state_text(registered.state))
    if registered.trouble:
        table.add_row("not started", one_line(registered.trouble, style="yellow"))
    table.add_row("folder", visible(registered.folder))
    if registered.licence:
        table.add_row("licence", one_line(registered.licence, style="bold"))
        table.add_row("", Text("shown only now; the node's folder has it", style="bright_black"))
    title = one_line(("✓", "green"), f" {registered.name} is in the fleet ({registered.seconds:.1f} s)")
    console.print(Panel(table, title=title, title_align="left", expand=False))
    for note in registered.notes:
        # Below it too: a note may have a command in it, which is to be copied.
        console.print(one_line("Note: ", (note, "yellow")), soft_wrap=True)
    if registered.invite_url:
        # Below the panel, whole: a frame would cut the address in two, and nobody could click it.
        console.print(one_line("Invite it: ", (registered.invite_url, "cyan")), soft_wrap=True)
