"""``init`` and ``doctor``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from master.cli.command_link import offer_command
from master.cli.context import HomeOption, JsonOption, YesOption, home_of, reporting_errors
from master.cli.interview import Answers, Interview, check_id
from master.errors import ExitCode, FleetError
from master.terminal import console, is_terminal, one_line, print_json

if TYPE_CHECKING:
    from handshake.redaction import Secret
    from master.bot.lookup import HttpLookup
    from master.services.core.findings import Finding

_EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.py"

_PORTAL = """\
In Discord's developer portal (https://discord.com/developers/applications):
  1. New Application, one for the master and one for each bot.
  2. Bot, Reset Token: shows a token once. Copy the master's.
  3. Bot: switch on MESSAGE CONTENT INTENT for the master (it reads
     VERIFY_CHANNEL); nodes need none.
  4. In Discord: Settings, Advanced, Developer Mode; then a right click and
     Copy ID gives the ids of your server, its channels and yourself."""
_INTO_FILES = """\
The token goes into .env as MASTER_TOKEN, the ids into config.py: GUILD_ID,
CHANNELS (VERIFY, PATCH, LOG), OPERATORS (your own user id)."""


def init(
    home: HomeOption = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the master's bot token.", show_default="ask")
    ] = None,
    guild: Annotated[str, typer.Option("--guild", help="Id of your server.")] = "",
    operator: Annotated[list[str] | None, typer.Option("--operator", help="User id of an operator.")] = None,
    verify: Annotated[str, typer.Option("--verify-channel", help="Id of VERIFY_CHANNEL.")] = "",
    log: Annotated[str, typer.Option("--log-channel", help="Id of LOG_CHANNEL.")] = "",
    api_base: Annotated[
        str,
        typer.Option(
            "--api-base", help="Of a server like Discord, such as the sandbox.", show_default="Discord itself"
        ),
    ] = "",
    gateway_url: Annotated[
        str, typer.Option("--gateway-url", help="Of that server.", show_default="what it says")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Discord about the answers.")] = False,
    yes: YesOption = False,
) -> None:
    """Create a fleet's home: config.py, .env with a new secret, the folders; prints the next steps in Discord."""
    with reporting_errors():
        asking = is_terminal() and not yes
        folder = _new_home(home, asking=asking)
        if (folder / "config.py").exists() or (folder / ".env").exists():
            # A new secret would invalidate all licences and sealed tokens of the old one.
            raise_if_kept(folder)
        token = "" if token_file is None else token_file.read_text("utf-8").strip()
        answers = Answers(token=token, guild=guild, verify=verify, log=log, operators=operator or [])
        if asking:
            console.print(_PORTAL)
            console.print()
            answers = Interview(None if offline else _lookup_at(api_base, gateway_url)).hold(answers)
        _write(folder, answers, {"API_BASE": api_base, "GATEWAY_URL": gateway_url})
        console.print(one_line(("✓ ", "green"), f"made {folder}: config.py, .env (secret, mode 0600), bots/, state/"))
        if answers.channels:
            _write_channels(folder)
        _remember(folder)
        _print_next_steps(answers, portal=not asking)
        offer_command()


def raise_if_kept(folder: Path) -> None:
    """Refuse to overwrite a home.

    Raises
    ------
    FleetError
    """
    raise FleetError(
        f"{folder} is a fleet's home already",
        hint="its secret must not be lost: edit config.py and .env by hand, or move both away first",
    )


def _new_home(given: Path | None, *, asking: bool) -> Path:
    """Return the folder to make a home of; in a checkout or beside other things not the current one unasked."""
    from master.configuration.home import find_home
    from master.configuration.reading import expanded, resolved

    if given is not None or os.environ.get("FLEET_HOME"):
        return find_home(given, os.environ).path
    here = Path.cwd()
    proposed = Path.home() / "fleet" if here == Path.home() or (here / "pyproject.toml").exists() else here
    if not asking:
        return resolved(proposed)
    answer = str(typer.prompt("Folder of the fleet, for its config, secrets, bots and ledger", default=str(proposed)))
    return resolved(expanded(answer.strip()))


def _lookup_at(api_base: str, gateway_url: str) -> Callable[[Secret[str]], HttpLookup]:
    from master.bot.lookup import HttpLookup

    return lambda token: HttpLookup(api_base or None, token, gateway_url or None)


def _write(folder: Path, answers: Answers, endpoints: dict[str, str]) -> None:
    from master.security.derivation import new_master_secret
    from master.security.tokens import check_token_text

    ids = {"GUILD_ID": answers.guild, "VERIFY": answers.verify, "LOG": answers.log}
    for value in (*ids.values(), *answers.operators):
        if value:
            check_id(value)
    if answers.token:
        check_token_text(answers.token)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bots").mkdir(exist_ok=True)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    config = _EXAMPLE.read_text("utf-8")
    for name, value in ids.items():
        if value:
            config = config.replace(f'"{name}": None', f'"{name}": {value}', 1)
    for name, value in endpoints.items():
        if value:
            config = config.replace(f'"{name}": None', f'"{name}": {value!r}', 1)
    if answers.operators:
        config = config.replace('"USERS": []', f'"USERS": [{", ".join(answers.operators)}]', 1)
    (folder / "config.py").write_text(config, "utf-8")
    descriptor = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(
            "# Secrets of this fleet. Keep a copy in a safe place; without MASTER_SECRET no token can be read.\n"
        )
        stream.write(f"MASTER_SECRET={new_master_secret()}\n")
        stream.write(f"MASTER_TOKEN={answers.token}\n")


def _write_channels(folder: Path) -> None:
    from master.services.channels.tree_file import BUILT_IN

    path = folder / "channels.toml"
    if path.exists():
        console.print(one_line(("! ", "yellow"), f"{path} is there already, and stays as it is"), soft_wrap=True)
        return
    path.write_text(BUILT_IN, "utf-8")
    words = f"wrote {path}: edit it before `fleet up` if you like, or set CHANNELS instead"
    console.print(one_line(("✓ ", "green"), words), soft_wrap=True)


def _remember(folder: Path) -> None:
    """Remember the first home; a second one does not take the place of the first unasked."""
    from master.configuration.home import is_home, remember_home, remembered_home

    known = remembered_home(os.environ)
    if known is not None and known != folder and is_home(known):
        note = f"the home is still {known}; `fleet home {shlex.quote(str(folder))}` makes it this one"
        console.print(one_line(("! ", "yellow"), note), soft_wrap=True)
        return
    try:
        remember_home(folder, os.environ)
    except OSError as error:
        note = f"the home is not remembered ({error.strerror}): give --home, or set FLEET_HOME"
        console.print(one_line(("! ", "yellow"), note), soft_wrap=True)
    else:
        console.print(one_line(("✓ ", "green"), "it is remembered as your home; `fleet home` shows it"))


def _print_next_steps(answers: Answers, *, portal: bool) -> None:
    from master.security.tokens import claimed_user_id, shape_hint
    from master.services.onboarding.identity import MASTER_PERMISSIONS, invite_url

    if portal:
        console.print()
        console.print(_PORTAL)
        console.print(_INTO_FILES)
    console.print()
    user_id = claimed_user_id(answers.token)
    if answers.token and user_id is None:
        console.print(one_line(("! ", "yellow"), f"about the token: {shape_hint(answers.token)}"), soft_wrap=True)
    if user_id is not None and not answers.invited:
        url = invite_url(user_id, MASTER_PERMISSIONS)
        console.print(one_line("Invite the master: ", (url, "cyan")), soft_wrap=True)
    if not answers.verify and not answers.log and not answers.channels:
        words = " writes channels.toml: the master then makes all its channels"
        console.print(one_line("An empty server? ", ("fleet channels init", "bold"), words), soft_wrap=True)
    console.print(one_line("Then: ", ("fleet doctor", "bold"), ", ", ("fleet up", "bold")))


def doctor(
    home: HomeOption = None,
    as_json: JsonOption = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Discord.")] = False,
) -> None:
    """Check everything a fleet needs, and say what to do about what is missing."""
    import asyncio

    from master.bot.lookup import lookup_of
    from master.control.client import ControlClient
    from master.operations import nodes
    from master.operations.parameters import NoParams
    from master.services.core.views import MasterStatus
    from master.services.upkeep.diagnosis import diagnose

    def ping(state_dir: Path) -> MasterStatus:
        return ControlClient(state_dir / "control.sock").run(nodes.ping, NoParams(), timeout_s=5.0)

    with reporting_errors(as_json=as_json):
        findings: list[Finding] = asyncio.run(
            diagnose(home_of(home), os.environ, ping=ping, lookup_of=None if offline else lookup_of)
        )
        if as_json:
            print_json(findings)
        else:
            _print_findings(findings)
        if any(finding.verdict == "fail" for finding in findings):
            raise typer.Exit(ExitCode.FAILED)


def _print_findings(findings: list[Finding]) -> None:
    """Print the report; in a terminal long lines are indented below their beginning, in a pipe they are one line."""
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark, style = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}[finding.verdict]
        _print_below(one_line((f"{mark} ", style), f"{finding.what:<{width}}  "), one_line(finding.detail))
        for line in finding.fix.splitlines():
            _print_below(one_line((" " * (width + 4) + "-> ", "cyan")), one_line((line, "cyan")))


def _print_below(label: Text, text: Text) -> None:
    if not is_terminal():
        console.print(label + text, soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(label, text)
    console.print(row)
