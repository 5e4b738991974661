"""``init`` and ``doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from master.cli.context import HomeOption, JsonOption, YesOption, home_of, reporting_errors
from master.errors import ExitCode, FleetError
from master.terminal import console, is_terminal, one_line, print_json

if TYPE_CHECKING:
    from handshake.redaction import Secret
    from master.configuration.settings import Settings
    from master.services.upkeep.diagnosis import Finding

_EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.py"

_PORTAL = """\
In Discord's developer portal (https://discord.com/developers/applications):
  1. New Application, one for the master and one for each bot.
  2. Bot: Reset Token shows a token once. The master's goes into .env as MASTER_TOKEN.
  3. Bot: switch on MESSAGE CONTENT INTENT for the master (it reads VERIFY_CHANNEL); nodes need none.
  4. In Discord: Settings, Advanced, Developer Mode; then Copy ID gives the ids for config.py:
     GUILD_ID, CHANNELS (VERIFY, PATCH, LOG), OPERATORS (your own user id)."""


def init(
    home: HomeOption = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the master's bot token.", show_default="ask")
    ] = None,
    guild: Annotated[str, typer.Option("--guild", help="Id of your server.")] = "",
    operator: Annotated[list[str] | None, typer.Option("--operator", help="User id of an operator.")] = None,
    verify: Annotated[str, typer.Option("--verify-channel", help="Id of VERIFY_CHANNEL.")] = "",
    log: Annotated[str, typer.Option("--log-channel", help="Id of LOG_CHANNEL.")] = "",
    yes: YesOption = False,
) -> None:
    """Create a fleet's home: config.py, .env with a new secret, the folders; prints the next steps in Discord."""
    with reporting_errors():
        folder = home_of(home)
        asking = is_terminal() and not yes
        if (folder / "config.py").exists() or (folder / ".env").exists():
            # A new secret would invalidate all licences and sealed tokens of the old one.
            raise_if_kept(folder)
        token = _master_token(token_file, asking=asking)
        ids = {
            "GUILD_ID": guild or _ask("Id of your server (empty: later)", asking=asking),
            "VERIFY": verify or _ask("Id of VERIFY_CHANNEL (empty: later)", asking=asking),
            "LOG": log or _ask("Id of LOG_CHANNEL (empty: later)", asking=asking),
        }
        operators = operator or [_ask("Your own user id (empty: later)", asking=asking)]
        _write(folder, token, ids, [item for item in operators if item])
        _print_next_steps(folder, token)


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


def _ask(question: str, *, asking: bool) -> str:
    return str(typer.prompt(question, default="", show_default=False)).strip() if asking else ""


def _master_token(path: Path | None, *, asking: bool) -> str:
    from master.security.tokens import check_token_text

    if path is not None:
        token = path.read_text("utf-8").strip()
    elif asking:
        token = str(typer.prompt("The master's bot token (empty: later)", default="", hide_input=True)).strip()
    else:
        token = ""
    if token:
        check_token_text(token)
    return token


def _write(folder: Path, token: str, ids: dict[str, str], operators: list[str]) -> None:
    from master.security.derivation import new_master_secret

    for value in (*ids.values(), *operators):
        if value and not value.isdecimal():
            raise FleetError(f"{value!r} is not a Discord id", hint="17 to 20 digits: Developer Mode, Copy ID")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bots").mkdir(exist_ok=True)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    config = _EXAMPLE.read_text("utf-8")
    for name, value in ids.items():
        if value:
            config = config.replace(f'"{name}": None', f'"{name}": {value}', 1)
    if operators:
        config = config.replace('"USERS": []', f'"USERS": [{", ".join(operators)}]', 1)
    (folder / "config.py").write_text(config, "utf-8")
    descriptor = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(
            "# Secrets of this fleet. Keep a copy in a safe place; without MASTER_SECRET no token can be read.\n"
        )
        stream.write(f"MASTER_SECRET={new_master_secret()}\n")
        stream.write(f"MASTER_TOKEN={token}\n")


def _print_next_steps(folder: Path, token: str) -> None:
    from master.security.tokens import claimed_user_id, shape_hint
    from master.services.onboarding.identity import MASTER_PERMISSIONS, invite_url

    console.print(one_line(("✓ ", "green"), f"made {folder}: config.py, .env (secret, mode 0600), bots/, state/"))
    console.print()
    console.print(_PORTAL)
    console.print()
    user_id = claimed_user_id(token)
    if token and user_id is None:
        console.print(one_line(("! ", "yellow"), f"about the token: {shape_hint(token)}"), soft_wrap=True)
    if user_id is not None:
        url = invite_url(user_id, MASTER_PERMISSIONS)
        console.print(one_line("Invite the master: ", (url, "cyan")), soft_wrap=True)
    console.print(one_line("Then: ", ("fleet doctor", "bold"), ", ", ("fleet run", "bold")))


def doctor(
    home: HomeOption = None,
    as_json: JsonOption = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask Discord.")] = False,
) -> None:
    """Check everything a fleet needs, and say what to do about what is missing."""
    import asyncio

    from master.bot.lookup import HttpLookup
    from master.control.client import ControlClient
    from master.operations import nodes
    from master.operations.parameters import NoParams
    from master.services.core.views import MasterStatus
    from master.services.upkeep.diagnosis import diagnose

    def ping(state_dir: Path) -> MasterStatus:
        return ControlClient(state_dir / "control.sock").run(nodes.ping, NoParams(), timeout_s=5.0)

    def lookup_of(settings: Settings, token: Secret[str]) -> HttpLookup:
        return HttpLookup(settings.discord.api_base, token, settings.discord.gateway_url)

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
