"""``sandbox``: a standing local Discord for one's own bot, with people that one can drive. Needs no fleet."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from master.cli.context import reporting_errors
from master.errors import ExitCode, FleetError
from master.terminal import console, errors, is_terminal, json_text, one_line, write_out

if TYPE_CHECKING:
    from sandbox.console import Console
    from sandbox.standing import Standing

DEFAULT_PORT = 8610
_HELP, _STANDS = "`help` lists what people can do; Ctrl-D ends.", "It stands until it gets a signal."


class SandboxFailed(FleetError):
    """The sandbox cannot stand, or a script did not see what it expected."""

    code: ClassVar[str] = "sandbox_failed"


def sandbox(
    bot: Annotated[
        list[str] | None, typer.Option("--bot", help="A bot; repeat for more.", show_default="Atlas")
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", help="A channel; repeat for more.", show_default="general, bots")
    ] = None,
    person: Annotated[
        list[str] | None, typer.Option("--person", help="A person; the first owns the server.", show_default="ann, ben")
    ] = None,
    server: Annotated[str, typer.Option(help="The server's name.")] = "Sandbox",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On 127.0.0.1; 0: any that is free.")] = DEFAULT_PORT,
    script: Annotated[
        Path | None, typer.Option("--script", help="Carry out this file's lines, then end; - is standard input.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, the first says where it is.")
    ] = False,
) -> None:
    """Stand a local Discord up for your own bot, and drive people on it: type `help`.

    The token and the ids are the same at every start with the same options, so that your bot's settings stay.
    """
    with reporting_errors(as_json=as_json):
        from sandbox.standing import set_up

        lines = _lines_of(script)
        standing = set_up(
            port=port,
            guild=server,
            bots=bot or ["Atlas"],
            channels=[name.removeprefix("#") for name in channel or ["general", "bots"]],
            people=person or ["ann", "ben"],
        )
        raise typer.Exit(asyncio.run(_stand(standing, lines, as_json=as_json)))


def _lines_of(script: Path | None) -> list[str] | None:
    if script is None:
        return None
    try:
        return (sys.stdin.read() if str(script) == "-" else script.read_text("utf-8")).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SandboxFailed(f"the script {script} cannot be read: {error}", hint="name a text file") from error


async def _stand(standing: Standing, lines: list[str] | None, *, as_json: bool) -> ExitCode:
    from sandbox.console import Console
    from sandbox.screen import Screen

    def show(shown: list[str], event: dict[str, Any]) -> None:
        if as_json:
            write_out(json_text(event))
        else:
            _print(shown)

    def tell(shown: list[str]) -> None:
        show(shown, {"event": "told", "lines": shown})

    try:
        await standing.sandbox.start()
    except OSError as error:
        hint = "another may stand there already; --port chooses another"
        raise SandboxFailed(f"the port is not free: {error.strerror}", hint=hint) from error
    screen, typed = Screen(standing.sandbox, show), asyncio.Queue[str]()
    if lines is None:
        # Before it says that it stands: whoever reads that may end it at once.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, typed.put_nowait, "quit")
    try:
        ends = "" if lines is not None else _HELP if is_terminal() else _STANDS
        show([*_introduction(standing), *filter(None, [ends])], _facts(standing))
        driven = Console(standing, screen, tell)
        if lines is not None:
            await _follow_script(driven, lines)
        else:
            await _until_ended(driven, typed, as_json=as_json)
    finally:
        await screen.close()
        await standing.sandbox.close()
    return ExitCode.OK


async def _follow_script(driven: Console, lines: list[str]) -> None:
    from sandbox import SandboxError
    from sandbox.console import Quit

    for number, line in enumerate(lines, 1):
        try:
            await driven.run(line)
        except Quit:
            return
        except SandboxError as error:
            raise SandboxFailed(f"line {number}: {error}", hint=line.strip()) from error


async def _until_ended(driven: Console, typed: asyncio.Queue[str], *, as_json: bool) -> None:
    """Carry out what is typed until the person is done, or a signal comes; without a terminal, it stands."""
    from sandbox import SandboxError
    from sandbox.console import Quit

    loop = asyncio.get_running_loop()
    # A thread of its own, which ends with the process: nothing can wake one that reads.
    threading.Thread(target=_read, args=(loop, typed), daemon=True).start()
    while True:
        try:
            await driven.run(await typed.get())
        except Quit:
            return
        except SandboxError as error:
            if as_json:
                write_out(json_text({"event": "error", "message": str(error)}))
            else:
                errors.print(one_line(("error: ", "bold red"), str(error)), soft_wrap=True)


def _read(loop: asyncio.AbstractEventLoop, typed: asyncio.Queue[str]) -> None:
    """Pass lines on; the end of a terminal's input is the person's."""
    was_terminal = sys.stdin.isatty()
    try:
        for line in sys.stdin:
            loop.call_soon_threadsafe(typed.put_nowait, line)
        if was_terminal:
            loop.call_soon_threadsafe(typed.put_nowait, "quit")
    except RuntimeError:
        return  # The loop is closed: it has ended meanwhile.


def _print(lines: list[str]) -> None:
    for line in lines:
        console.print(one_line(line), soft_wrap=True)


def _facts(standing: Standing) -> dict[str, Any]:
    """Return where everything is, for programs."""
    return {
        "event": "up",
        "api_base": standing.sandbox.api_base,
        "gateway_url": standing.sandbox.gateway_url,
        "guild_id": str(standing.guild.id),
        "bots": {name: {"id": str(bot.id), "token": bot.token} for name, bot in standing.bots.items()},
        "channels": {name: str(one.id) for name, one in standing.channels.items()},
        "people": {name: str(one.id) for name, one in standing.people.items()},
    }


def _introduction(standing: Standing) -> list[str]:
    """Return what a person needs to point a bot here; lines to be copied are whole, whatever the width."""
    api, gateway = standing.sandbox.api_base, standing.sandbox.gateway_url
    lines = [f"A local Discord stands at {api}", f"server {standing.guild.guild.name} {standing.guild.id}"]
    lines += [f"channel #{name} {one.id}" for name, one in standing.channels.items()]
    lines.append("people " + ", ".join(standing.people) + f" ({next(iter(standing.people))} owns the server)")
    for name, bot in standing.bots.items():
        lines += [f"bot {name} {bot.id}, its token:", f"  {bot.token}"]
    lines += ["point your bot here, before it logs in (docs/sandbox.md):"]
    lines += ["  discord.py", "    import discord.gateway, discord.http, yarl"]
    lines += [f'    discord.http.Route.BASE = "{api}"']
    lines += [f'    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL("{gateway}")']
    lines += ["  nextcord", f'    import nextcord.http; nextcord.http.Route.BASE = "{api}"']
    lines += ["  discord.js", f'    new Client({{ rest: {{ api: "{api.rpartition("/")[0]}" }}, intents: [...] }})']
    return lines
