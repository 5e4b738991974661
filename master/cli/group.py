"""The group of commands: words of other supervisors lead to ours, and help shows no type for what takes no value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from typer.core import TyperGroup, TyperOption

if TYPE_CHECKING:
    # Typer has its own copy of click, and no public name for these.
    from typer._click.core import Command, Context, Parameter

_NOTHING_TO_SAVE = "There is nothing to save: each change is kept, over a reboot too."
CALLED_HERE: Mapping[str, str] = {
    **dict.fromkeys(("ls", "list", "ps"), "status"),
    **dict.fromkeys(("jlist", "prettylist"), "status --json"),
    **dict.fromkeys(("show", "info", "inspect"), "describe NAME"),
    **dict.fromkeys(("monit", "monitor", "stats"), "top"),
    **dict.fromkeys(("delete", "del", "rm"), "remove NAME"),
    **dict.fromkeys(("add", "new", "create"), "register NAME` or, from the template, `fleet dup NAME"),
    **dict.fromkeys(("update", "reread"), "reload"),
    **dict.fromkeys(("startup", "enable"), "install-service --user"),
    **dict.fromkeys(("unstartup", "disable"), "uninstall"),
    "tail": "logs -f NAME",
    "reset-failed": "release NAME",
    "daemon": "up",
    "help": "--help",
    "version": "--version",
}
"""What PM2, supervisorctl, systemctl and docker call it, and what it is here."""
_NEEDLESS = frozenset(("save", "dump", "resurrect"))


class CommandGroup(TyperGroup):
    """Commands of ``fleet``, or of one of its groups."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return the options of the group itself."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return a command; its flags are shown without a type, as they take no value."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))
        return command

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command that was typed; of a word from elsewhere the error says what it is here."""
        if ctx.parent is None and args and args[0] not in self.commands:
            here, error = CALLED_HERE.get(args[0]), f"No such command {args[0]!r}. "
            if here is not None:
                ctx.fail(f"{error}Here it is `fleet {here}`.")
            if args[0] in _NEEDLESS:
                ctx.fail(error + _NOTHING_TO_SAVE)
        return super().resolve_command(ctx, args)


class ListingGroup(CommandGroup):
    """A group that lists when no command is typed: `fleet tickets --all` is `fleet tickets list --all`."""

    synonyms: ClassVar[Mapping[str, str]] = {"ls": "list", "info": "show", "inspect": "show", "describe": "show"}
    """Words that are taken for a command of the group."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """What is done somewhere else, and a sentence that says where."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put ``list`` before what is typed, if that names no command; a shell that completes wants the commands."""
        names_none = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if names_none and not ctx.resilient_parsing else args)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command that was typed, by its name or by a word that people use for it."""
        if args and args[0] not in self.commands:
            if args[0] in self.elsewhere:
                ctx.fail(self.elsewhere[args[0]])
            args = [self.synonyms.get(args[0], args[0]), *args[1:]]
        return super().resolve_command(ctx, args)


def _without_types(parameters: list[Parameter]) -> list[Parameter]:
    """Take ``<bool>`` off flags: it looks as if a value had to follow."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_bool_flag and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
