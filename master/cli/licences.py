"""``licence``: issue licences, look at them, change them; a code is shown once and never in an argument."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, reporting_errors, run_operation
from master.cli.group import ListingGroup
from master.errors import ExitCode, FleetError
from master.operations import licences as operations
from master.operations.operation import Operation
from master.operations.parameters import (
    LicenceChangeParams,
    LicenceImportParams,
    LicenceIssueParams,
    LicenceParams,
    LicenceRedeemParams,
    LicenceRenewParams,
    LicencesParams,
    LicenceTransferParams,
)
from master.services.core.licence_views import (
    ImportedLicencesView,
    IssuedLicenceView,
    LicenceDetails,
    LicencesView,
    LicenceUseView,
)
from master.terminal import (
    Column,
    Row,
    confirm,
    lay_out,
    local_time,
    one_line,
    print_json,
    print_lines,
    terminal_width,
)
from master.terminal.output import write_out
from master.wording import moment, visible

TIMEOUT_S = 60.0
PAGE = 2_000
_STYLES = {
    "valid": "green",
    "grace": "yellow",
    "not_redeemed": "cyan",
    "expired": "bright_black",
    "suspended": "yellow",
    "revoked": "red",
}
_COLUMNS = (
    Column("LICENCE"),
    Column("TIER"),
    Column("STATE"),
    Column("ENDS", 1),
    Column("HOLDER"),
    Column("ISSUED", 2),
)


class LicenceGroup(ListingGroup):
    """Commands on licences."""

    synonyms: ClassVar[Mapping[str, str]] = {
        **ListingGroup.synonyms,
        **dict.fromkeys(("new", "create", "add"), "issue"),
        **dict.fromkeys(("history", "check", "status"), "show"),
        "extend": "renew",
    }


licence = typer.Typer(
    cls=LicenceGroup,
    help="Licences of people and bots: issue, show, renew, revoke; without a command they are listed.",
)
LicenceArgument = Annotated[
    str, typer.Argument(help="The licence's id, or how it begins.", metavar="LICENCE", show_default=False)
]
WhyOption = Annotated[str, typer.Option("--why", "-m", help="Why, for its history.")]
DaysOption = Annotated[
    int | None, typer.Option("--days", min=0, max=36_500, help="For how many days; 0: for ever.", show_default="tier's")
]


class LicenceInputMissing(FleetError):
    """A code or a file that was not given, or cannot be read."""

    code: ClassVar[str] = "licence_input_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@licence.command()
def issue(
    tier: Annotated[str, typer.Argument(help="A tier of LICENCES.", show_default="the first one")] = "",
    holder: Annotated[
        int, typer.Option("--for", min=0, help="Discord user id of the only person who may redeem it.")
    ] = 0,
    days: DaysOption = None,
    note: Annotated[str, typer.Option("--note", help="For yourself, such as an order's number.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a licence, and show its code, once."""
    with reporting_errors(as_json=as_json):
        params = LicenceIssueParams(tier=tier[:40], holder_id=holder, days=days, note=note[:200])
        made = run_operation(home, operations.issue, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(made)
        else:
            print_lines(issued_lines(made))


def issued_lines(made: IssuedLicenceView) -> Iterator[Text]:
    """Return the code, and what it is for."""
    found = made.licence
    yield one_line((made.code, "bold"))
    whose = f", for {found.holder_id}" if found.holder_id else ""
    yield one_line(("✓ ", "green"), f"licence {found.id}: {visible(found.tier)}, {_until(found)}{whose}")
    yield one_line(("  the code is shown this once; `/licence redeem` takes it on Discord", "bright_black"))


@licence.command("list")
def list_licences(
    state: Annotated[
        str, typer.Option("--state", help="Only issued, active, suspended, revoked or expired ones.")
    ] = "",
    tier: Annotated[str, typer.Option("--tier", help="Only of this tier.")] = "",
    holder: Annotated[
        int, typer.Option("--holder", min=0, help="Only of this Discord user.", show_default="anybody")
    ] = 0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=PAGE, help="Rows.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show licences, the newest first."""
    with reporting_errors(as_json=as_json):
        found = run_operation(home, operations.listing, _filter(state, tier, holder, limit), timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(list_lines(found, width=terminal_width()))


def _filter(state: str, tier: str, holder: int, limit: int, offset: int = 0) -> LicencesParams:
    states = ("issued", "active", "suspended", "revoked", "expired")
    # As Discord's list calls them.
    state = {"valid": "active", "not_redeemed": "issued"}.get(state.strip().lower(), state.strip().lower())
    if state and state not in states:
        hint = f"--state is one of {', '.join(states)}"
        raise LicenceInputMissing(f"there is no state {state[:20]!r} of licences", hint=hint)
    return LicencesParams(
        state=state,  # type: ignore[arg-type]  # one of them
        tier=tier[:40],
        holder_id=holder,
        limit=limit,
        offset=offset,
    )


def list_lines(found: LicencesView, *, width: int | None) -> Iterator[Text]:
    """Return licences as a table.

    Parameters
    ----------
    width
        Columns of the terminal; None for no limit.
    """
    if not found.licences:
        if found.total:
            yield one_line(f"none of {found.total} licences is like this")
        else:
            tiers = ", ".join(found.tiers)
            yield one_line(f"no licence was issued yet: `fleet licence issue` makes one of {tiers}")
        return
    rows = [Row(_cells(one), one_line((visible(one.note), "bright_black"))) for one in found.licences]
    yield from lay_out(_COLUMNS, rows, width=width, note="NOTE").lines
    if found.total > len(found.licences):
        yield one_line((f"{len(found.licences)} of {found.total} licences; -n shows more", "bright_black"))


def _cells(found: LicenceDetails) -> list[str | Text]:
    ends = "never" if found.expires_at is None else local_time(found.expires_at, "%Y-%m-%d")
    return [found.id, visible(found.tier), _state(found), ends, _holder(found), moment(found.issued_at)]


def _state(found: LicenceDetails) -> Text:
    words = {"not_redeemed": "issued", "valid": "active"}.get(found.reason, found.reason)
    return Text(words, style=_STYLES.get(found.reason, ""))


def _holder(found: LicenceDetails) -> str:
    if found.node_id:
        return visible(found.node or found.node_id)
    return str(found.holder_id) if found.holder_id else "-"


def _until(found: LicenceDetails) -> str:
    return "for ever" if found.expires_at is None else f"until {local_time(found.expires_at, '%Y-%m-%d %H:%M')}"


@licence.command()
def show(licence_id: LicenceArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a licence, who uses it, and what became of it."""
    with reporting_errors(as_json=as_json):
        params = LicenceParams(licence=licence_id[:40])
        found = run_operation(home, operations.show, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(found)
        else:
            print_lines(show_lines(found))


def show_lines(found: LicenceDetails) -> Iterator[Text]:
    """Return all that is known of a licence."""
    yield one_line((f"licence {found.id}", "bold"), f"  {visible(found.tier)}  ", _state(found))
    facts = {
        "ends": _until(found).removeprefix("until "),
        "grace": "" if found.ends_at == found.expires_at or not found.ends_at else f"until {_at(found.ends_at)}",
        "holder": _holder(found) if found.node_id or found.holder_id else "nobody yet: it was not redeemed",
        "for": ", ".join(found.features),
        "issued": f"{_at(found.issued_at)} by {found.origin}" if found.origin else _at(found.issued_at),
        "redeemed": "" if found.activated_at is None else _at(found.activated_at),
        "note": found.note,
    }
    for name, text in facts.items():
        if text:
            yield one_line((f"  {name:<9}", "bright_black"), visible(text))
    for title, uses in (("nodes", _named(found, "node")), ("people", _named(found, "person"))):
        if uses:
            yield one_line((f"  {title:<9}", "bright_black"), ", ".join(uses))
    for event in found.events:
        detail = f": {visible(event.detail)}" if event.detail else ""
        yield one_line((f"  {_at(event.at)} ", "bright_black"), f"{event.what} by {visible(event.actor)}{detail}")


def _named(found: LicenceDetails, kind: str) -> list[str]:
    def name(use: LicenceUseView) -> str:
        return visible(use.name or use.subject)

    return [name(use) for use in found.uses if use.kind == kind]


def _at(seconds: float) -> str:
    return local_time(seconds, "%Y-%m-%d %H:%M")


@licence.command()
def redeem(
    user: Annotated[int, typer.Option("--user", min=1, help="Discord user id of who gets it.", show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Redeem a code for somebody; it is asked for, or read from standard input."""
    with reporting_errors(as_json=as_json):
        params = LicenceRedeemParams(code=_read_code(), user_id=user)
        done = run_operation(home, operations.redeem, params, timeout_s=TIMEOUT_S)
        _print_done(done, f"{user} has it now", as_json=as_json)


def _read_code() -> str:
    """Read a code without showing it; it stands in no argument, which others on the box could read.

    Raises
    ------
    LicenceInputMissing
    """
    if sys.stdin.isatty():
        return str(typer.prompt("Licence code", hide_input=True)).strip()[:200]
    text = sys.stdin.read(1_000).strip()
    if not text:
        raise LicenceInputMissing("there is no licence code", hint="give it on standard input")
    return text[:200]


@licence.command()
def renew(
    licence_id: LicenceArgument,
    days: DaysOption = None,
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Renew a licence: from its end on, or from now if it is over with its grace."""
    with reporting_errors(as_json=as_json):
        params = LicenceRenewParams(licence=licence_id[:40], days=days, why=why[:300])
        done = run_operation(home, operations.renew, params, timeout_s=TIMEOUT_S)
        _print_done(done, f"renewed {_until(done)}", as_json=as_json)


@licence.command()
def suspend(
    licence_id: LicenceArgument, why: WhyOption = "", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Suspend a licence; `fleet licence reinstate` gives it back."""
    with reporting_errors(as_json=as_json):
        _change(operations.suspend, licence_id, why, home, "suspended", as_json=as_json)


@licence.command()
def reinstate(
    licence_id: LicenceArgument, why: WhyOption = "", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Reinstate a licence that was suspended or revoked."""
    with reporting_errors(as_json=as_json):
        _change(operations.reinstate, licence_id, why, home, "reinstated", as_json=as_json)


@licence.command()
def revoke(
    licence_id: LicenceArgument,
    why: WhyOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Revoke a licence: whoever uses it has none from the same moment on; a bot is stopped."""
    with reporting_errors(as_json=as_json):
        confirm(f"Revoke licence {licence_id}? Who uses it loses it at once; bots are stopped.", yes=yes)
        _change(operations.revoke, licence_id, why, home, "revoked", as_json=as_json)


def _change(
    operation: Operation[LicenceChangeParams, LicenceDetails, Any],
    licence_id: str,
    why: str,
    home: Path | None,
    done: str,
    *,
    as_json: bool,
) -> None:
    params = LicenceChangeParams(licence=licence_id[:40], why=why[:300])
    _print_done(run_operation(home, operation, params, timeout_s=TIMEOUT_S), done, as_json=as_json)


def _print_done(changed: LicenceDetails, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json(changed)
        return
    print_lines([one_line(("✓ ", "green"), f"licence {changed.id} ({visible(changed.tier)}): {done}")])


@licence.command()
def transfer(
    licence_id: LicenceArgument,
    user: Annotated[int, typer.Argument(min=1, help="Discord user id of who gets it.", show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pass a licence on to somebody else."""
    with reporting_errors(as_json=as_json):
        params = LicenceTransferParams(licence=licence_id[:40], user_id=user)
        done = run_operation(home, operations.transfer, params, timeout_s=TIMEOUT_S)
        _print_done(done, f"{user} has it now", as_json=as_json)


@licence.command("export")
def export_licences(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to write it.", show_default="standard output")
    ] = None,
    state: Annotated[str, typer.Option("--state", help="Only those in this state.")] = "",
    tier: Annotated[str, typer.Option("--tier", help="Only of this tier.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all licences as CSV, without their codes, which are stored nowhere."""
    from master.durable import replace_file
    from master.services.people.licence_files import csv_header, csv_rows

    with reporting_errors(as_json=as_json):
        found = _all(home, state, tier)
        if as_json and file is None:
            print_json(found)
            return
        text = csv_header() + csv_rows(found)
        if file is None:
            write_out(text)
            return
        replace_file(file, text.encode("utf-8"))
        if as_json:
            print_json({"file": str(file), "licences": len(found)})
        else:
            print_lines([one_line(("✓ ", "green"), f"{len(found)} licences are in {visible(str(file))}")])


def _all(home: Path | None, state: str, tier: str) -> list[LicenceDetails]:
    found: list[LicenceDetails] = []
    while True:
        params = _filter(state, tier, 0, PAGE, offset=len(found))
        page = run_operation(home, operations.listing, params, timeout_s=TIMEOUT_S)
        found += page.licences
        if len(page.licences) < PAGE:
            return found


@licence.command("import")
def import_licences(
    file: Annotated[
        Path,
        typer.Argument(
            help="With a column tier, and if you like holder_id, days or expires_at, note, redeemed.",
            metavar="FILE.csv",
            show_default=False,
        ),
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue the licences of a CSV file, all or none; prints their codes, once."""
    with reporting_errors(as_json=as_json):
        params = LicenceImportParams(path=str(file.absolute()))
        made = run_operation(home, operations.take_in, params, timeout_s=TIMEOUT_S)
        if as_json:
            print_json(made)
        else:
            print_lines(imported_lines(made))


def imported_lines(made: ImportedLicencesView) -> Iterator[Text]:
    """Return each licence with its code."""
    for one in made.licences:
        holder = f"  {one.licence.holder_id}" if one.licence.holder_id else ""
        code = one.code or "redeemed"
        yield one_line(f"{one.licence.id}  ", (code, "bold"), f"  {visible(one.licence.tier)}{holder}")
    shown = sum(1 for one in made.licences if one.code)
    yield one_line(("✓ ", "green"), f"{len(made.licences)} licences were issued")
    if shown:
        yield one_line(("  the codes are shown this once", "bright_black"))
