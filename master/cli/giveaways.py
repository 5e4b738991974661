"""``giveaway``: shows giveaways, and checks their draws. They are started on Discord, where people enter them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
import typer

from master.cli.context import FileFailed, HomeOption, JsonOption, reporting_errors, run_operation
from master.cli.group import ListingGroup
from master.errors import ExitCode, FleetError
from master.operations import giveaways as operations
from master.operations.giveaway_parameters import GiveawayParams, GiveawaysParams
from master.terminal import console, print_json, print_lines, terminal_width
from master.terminal.giveaways import checked_lines, giveaway_lines, giveaways_lines

MOST_BYTES = 64 * 1024 * 1024
"""Of a file to check: two million entries."""
READ_TIMEOUT_S = 60.0


class GiveawayGroup(ListingGroup):
    """Commands on giveaways."""

    elsewhere: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("start", "new", "create"), "Giveaways are started on Discord, where people enter them: `/giveaway start`."
        ),
        **{
            word: f"That is done on Discord, where people see it: `/giveaway {word}`."
            for word in ("end", "cancel", "reroll", "edit")
        },
    }


giveaway = typer.Typer(
    cls=GiveawayGroup,
    help="Giveaways, and whether their draws were made as they had to be; without a command they are listed.",
)
GiveawayArgument = Annotated[
    str,
    typer.Argument(
        metavar="GIVEAWAY", help="The giveaway's id, or as much of it as no other begins with.", show_default=False
    ),
]


class NoDraw(FleetError):
    """A file is none of a draw."""

    code: ClassVar[str] = "no_draw"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the check of a file found."""

    giveaway: str
    prize: str
    seed_hash: str
    entries_hash: str
    entries: int
    winners: tuple[tuple[str, ...], ...]
    """Of each draw; ids are texts, for readers with 53-bit numbers."""
    problems: tuple[str, ...]


@giveaway.command("list")
def listing(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000, help="Rows.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the giveaways, the latest first."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, GiveawaysParams(limit=limit))
        if as_json:
            print_json(found)
        else:
            print_lines(giveaways_lines(found, width=terminal_width()))


@giveaway.command("show")
def show(word: GiveawayArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show one giveaway: who may enter, how many have, who won each draw."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.show, GiveawayParams(giveaway=word[:26] or "-"))
        if as_json:
            print_json(found)
        else:
            print_lines(giveaway_lines(found))


@giveaway.command("export")
def export(
    word: GiveawayArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new file; without it the draw is printed.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the file of a draw, which anybody can check."""
    with reporting_errors(as_json=as_json):
        params = GiveawayParams(giveaway=word[:26] or "-")
        found = run_operation(home, operations.verify, params, timeout_s=READ_TIMEOUT_S)
        if out is None:
            typer.echo(found.document)
            return
        try:
            with out.open("x", encoding="utf-8") as stream:
                stream.write(found.document + "\n")
        except OSError as error:
            raise FileFailed(f"{out} cannot be written: {error.strerror or error}") from error
        if as_json:
            print_json({"giveaway": found.id, "path": str(out.absolute())})
        else:
            console.print(f"{out}: `fleet giveaway verify` checks it", soft_wrap=True)


@giveaway.command("verify")
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file that was posted with the winners.", show_default=False)
    ],
    seed_hash: Annotated[
        str, typer.Option("--seed-hash", help="As the giveaway's message showed it before the end; compared too.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Recompute a draw from its file; needs neither the fleet nor its master."""
    with reporting_errors(as_json=as_json):
        # Imported here: the rule needs nothing of the fleet.
        from master.services.people.giveaway_draw import NotADraw, check

        try:
            with file.open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
        except OSError as error:
            raise FileFailed(f"{file} cannot be read: {error.strerror or error}") from error
        if len(content) > MOST_BYTES:
            raise NoDraw(f"{file} is larger than {MOST_BYTES >> 20} MB")
        try:
            found = check(content.decode("utf-8-sig"))
        except (NotADraw, UnicodeDecodeError) as error:
            hint = "it is the .json file below the message that names the winners"
            raise NoDraw(f"{file} is no file of a draw: {error}", hint=hint) from error
        problems = found.problems
        if seed_hash and seed_hash.strip("` ").lower() != found.seed_hash:
            problems = (*problems, "the seed hash is not the one that you named")
        if as_json:
            print_json(
                CheckedFile(
                    giveaway=found.giveaway_id,
                    prize=found.prize,
                    seed_hash=found.seed_hash,
                    entries_hash=found.entries_hash,
                    entries=found.entries,
                    winners=tuple(tuple(map(str, draw.winners)) for draw in found.draws),
                    problems=problems,
                )
            )
        else:
            lines = checked_lines(
                prize=found.prize,
                giveaway_id=found.giveaway_id,
                seed_hash=found.seed_hash,
                entries=found.entries,
                draws=found.draws,
                problems=problems,
            )
            print_lines(lines)
        if problems:
            raise typer.Exit(ExitCode.FAILED)
