"""``remove``, ``set-token``, ``edit`` and ``rename``: a node's life between its first day and its last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from msgspec import structs
from rich.console import Group
from rich.table import Table
from rich.text import Text

from master.cli.context import (
    HomeOption,
    JsonOption,
    NodesArgument,
    YesOption,
    client_of,
    reporting_errors,
    run_operation,
)
from master.cli.onboarding import TokenFileOption, absolute_folder, read_token
from master.cli.steering import NodeArgument
from master.control.client import RemoteError, failure_code
from master.operations import changing, nodes
from master.operations.parameters import (
    FATES,
    EditParams,
    Fate,
    NamesParams,
    NodeParams,
    RemoveParams,
    RenameParams,
    SetTokenParams,
)
from master.services.core.errors import OtherBot
from master.services.core.views import EditView, OptionsView, RemovalView, TokenView
from master.terminal import confirm, console, is_terminal, one_line, print_json, state_text
from master.wording import visible

REMOVE_TIMEOUT_S = 900.0
"""An archive of a large folder takes its time."""
PLAN_TIMEOUT_S = 30.0
TOKEN_TIMEOUT_S = 120.0
EDIT_TIMEOUT_S = 120.0


def remove(
    names: NodesArgument = None,
    keep_folder: Annotated[
        bool, typer.Option("--keep-folder", help="Leave the folder and the logs as they are (the default).")
    ] = False,
    archive: Annotated[
        bool,
        typer.Option("--archive", help="Put folder and logs into a tar.gz below state/removed/, then remove them."),
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove folder, logs and all else that was the node's, without a copy.")
    ] = False,
    foreign_folder: Annotated[
        bool,
        typer.Option(
            "--foreign-folder",
            help="With --purge: also a folder that is not below BOTS_BASE_PATH, or that other nodes use.",
        ),
    ] = False,
    home: HomeOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove nodes: stopped, licence revoked, token forgotten. Name and bot are free again; their history stays."""
    if not names:
        raise typer.BadParameter("name the nodes")
    if keep_folder + archive + purge > 1:
        raise typer.BadParameter("choose one of --keep-folder, --archive and --purge")
    if foreign_folder and not purge:
        raise typer.BadParameter("it goes with --purge", param_hint="--foreign-folder")
    chosen = [fate for fate, given in zip(FATES, (keep_folder, archive, purge), strict=True) if given]
    with reporting_errors(as_json=as_json):
        if as_json:
            # The plan is for people; standard output holds one document.
            confirm(f"Remove {', '.join(names)}?", yes=yes)
        elif not chosen and not yes and is_terminal():
            # Names are looked up before anything is asked.
            run_operation(home, changing.plan_removal, RemoveParams(names=tuple(names)), timeout_s=PLAN_TIMEOUT_S)
            chosen = [_ask_fate()]
        fate = chosen[0] if chosen else FATES[0]
        params = RemoveParams(names=tuple(names), fate=fate, foreign_folder=foreign_folder)
        if not yes and not as_json:
            planned = run_operation(home, changing.plan_removal, params, timeout_s=PLAN_TIMEOUT_S)
            for view in planned:
                _show_plan(view)
            confirm(f"Remove {', '.join(view.node for view in planned)}?", yes=False)

        def show(view: RemovalView) -> None:
            if not as_json:
                _show_removed(view)

        removed = client_of(home).follow(
            changing.remove, params, event=RemovalView, on_event=show, timeout_s=REMOVE_TIMEOUT_S
        )
        if as_json:
            print_json(removed)
    failed = [view for view in removed if not view.ok]
    if failed:
        raise typer.Exit(failure_code(failed[0].exit_code))


def set_token(
    name: NodeArgument,
    token_file: TokenFileOption = None,
    new_bot: Annotated[bool, typer.Option("--new-bot", help="It may be another bot's token than before.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a node's token, such as one that was reset; a node that should run starts with the new one."""
    with reporting_errors(as_json=as_json):
        if token_file is None and is_terminal():
            # Before anybody types a token for nothing.
            run_operation(home, nodes.logs, NamesParams(names=(name,)), timeout_s=PLAN_TIMEOUT_S)
        params = SetTokenParams(name=name, token=read_token(token_file), new_bot=new_bot)
        try:
            given = _set_token(home, params)
        except RemoteError as error:
            if error.code != OtherBot.code or not is_terminal():
                raise
            confirm(f"{error.message}. Give it that bot?", yes=False)
            given = _set_token(home, structs.replace(params, new_bot=True))
        if as_json:
            print_json(given)
        else:
            _show_token(given)


def _set_token(home: Path | None, params: SetTokenParams) -> TokenView:
    with console.status("asking Discord"):
        return run_operation(home, changing.set_token, params, timeout_s=TOKEN_TIMEOUT_S)


def _show_token(given: TokenView) -> None:
    how = ", restarted with it" if given.restarted else ""
    console.print(one_line(("✓ ", "green"), f"{given.node} has a new token{how}  ", state_text(given.state)))
    console.print(one_line(f"  its bot: {given.bot_name} ({given.bot_user_id})"))
    if given.other_bot:
        console.print(one_line("  Invite it: ", (given.invite_url, "cyan")), soft_wrap=True)
    for note in given.notes:
        console.print(one_line("  ", (note, "yellow")), soft_wrap=True)


def edit(
    name: NodeArgument,
    entry: Annotated[str | None, typer.Option("--entry", help="The file that starts it.")] = None,
    folder: Annotated[
        str | None, typer.Option("--folder", help="Its folder: a name below BOTS_BASE_PATH, or a path.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Its tags from now on. Several times.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="It has no tags from now on.")] = False,
    priority: Annotated[
        int | None, typer.Option("--priority", min=0, max=1_000_000, help="Lower starts first.")
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE for any key of NODES, such as MEMORY_LIMIT_BYTES=256M. Several times."),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", help="KEY: as for the whole fleet again. Several times.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Restart it, if anything was changed.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a node. Without an option: show what can be set, and what is."""
    if tag and no_tags:
        raise typer.BadParameter("tags are given too", param_hint="--no-tags")
    asked = any(given is not None for given in (entry, folder, tag, priority, assign, unset)) or no_tags
    with reporting_errors(as_json=as_json):
        if not asked and not restart:
            found = run_operation(home, changing.options, NodeParams(name=name), timeout_s=PLAN_TIMEOUT_S)
            print_json(found) if as_json else console.print(_options_text(found))
            return
        params = EditParams(
            name=name,
            entry=entry,
            folder=None if folder is None else absolute_folder(folder),
            tags=() if no_tags else None if tag is None else tuple(tag),
            priority=priority,
            options={**_assignments(assign or []), **dict.fromkeys(unset or [])},
            restart=restart,
        )
        edited = run_operation(home, changing.edit, params, timeout_s=EDIT_TIMEOUT_S)
        if as_json:
            print_json(edited)
        else:
            _show_edited(edited)


def _assignments(given: Sequence[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
        found[key] = value
    return found


_SOURCES = {"node": "", "config.py": "config.py", "fleet": "as the fleet", "default": ""}


def _options_text(found: OptionsView) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("KEY", no_wrap=True)
    table.add_column("VALUE", overflow="fold")
    table.add_column("FROM", no_wrap=True)
    for option in found.options:
        value = one_line(option.value) if option.value else one_line(("-", "bright_black"))
        table.add_row(option.key, value, one_line((_SOURCES.get(option.source, option.source), "bright_black")))
    name = visible(found.node)
    return Group(
        table,
        Text(),
        one_line((f"fleet edit {name} --set KEY=VALUE, or --unset KEY", "bright_black")),
        one_line(("the first four: --entry, --folder, --tag or --no-tags, --priority", "bright_black")),
    )


_EFFECTS = {"now": "holds now", "node start": "from its next start on", "never": "config.py wins"}


def _show_edited(edited: EditView) -> None:
    if not edited.changes:
        console.print(one_line(f"{edited.node}: nothing to change"))
    for change in edited.changes:
        effect = "holds now" if edited.restarted and change.effect != "never" else _EFFECTS.get(change.effect, "")
        console.print(
            one_line(
                ("✓ ", "green"),
                (change.key, "bold"),
                f"  {change.before or '-'} -> {change.after or '-'}  ",
                (effect, "bright_black"),
            ),
            soft_wrap=True,
        )
    if edited.restarted:
        console.print(one_line(f"{edited.node} was restarted  ", state_text(edited.state)))
    elif any(change.effect == "node start" for change in edited.changes) and edited.state != "stopped":
        console.print(one_line((f"fleet restart {edited.node}", "cyan"), " has it start with that"))
    for note in edited.notes:
        console.print(one_line((note, "yellow")), soft_wrap=True)


def rename(
    name: NodeArgument,
    new_name: Annotated[str, typer.Argument(help="Its name from now on.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rename a node; it keeps running, its folder stays, its logs and its history go with it."""
    with reporting_errors(as_json=as_json):
        params = RenameParams(name=name, new_name=new_name)
        renamed = run_operation(home, changing.rename, params, timeout_s=EDIT_TIMEOUT_S)
        if as_json:
            print_json(renamed)
            return
        console.print(one_line(("✓ ", "green"), f"{renamed.node} is {renamed.new_name}  ", state_text(renamed.state)))
        for note in renamed.notes:
            console.print(one_line("  ", (note, "yellow")), soft_wrap=True)


def _ask_fate() -> Fate:
    console.print("keep: folder and logs stay. archive: into a tar.gz below state/removed/. purge: all goes, uncopied.")
    while True:
        typed = str(typer.prompt("keep, archive or purge?", default=FATES[0])).strip().casefold()
        for fate in FATES:
            if typed and fate.startswith(typed):
                return fate


_PLANNED = {
    "kept": "stays as it is",
    "archived": "goes into an archive",
    "purged": "is removed, without a copy",
}


def _show_plan(view: RemovalView) -> None:
    console.print(one_line((view.node, "bold"), "  stopped, licence revoked, token forgotten"))
    console.print(one_line(f"  {view.folder} {_PLANNED.get(view.fate, '')}"), soft_wrap=True)
    for path in view.gone:
        if path != view.folder:
            console.print(one_line(f"  {path} {'too' if view.archive else 'is removed too'}"), soft_wrap=True)
    for note in view.notes:
        console.print(one_line("  ", (note, "yellow")), soft_wrap=True)


def _show_removed(view: RemovalView) -> None:
    if not view.ok:
        console.print(one_line(("✗ ", "red"), f"{view.node}: {view.detail}"), soft_wrap=True)
        if view.hint:
            console.print(one_line("  ", (view.hint, "cyan")), soft_wrap=True)
        return
    where = {"kept": f"folder kept: {view.folder}", "archived": f"archive: {view.archive}", "purged": "nothing is left"}
    console.print(one_line(("✓ ", "green"), f"{view.node} is removed; {where.get(view.fate, '')}"), soft_wrap=True)
    for at, command in enumerate(view.back):
        console.print(one_line("  ", (f"{'then' if at else 'back again'}: {command}", "bright_black")), soft_wrap=True)
    for note in view.notes:
        console.print(one_line("  ", (note, "yellow")), soft_wrap=True)
