"""``install-command``: ``fleet`` on the PATH, as a link to the launcher of this checkout."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import ClassVar

import typer

from master.cli.context import YesOption, reporting_errors
from master.errors import ExitCode, FleetError
from master.terminal import confirm, console, is_terminal, one_line
from master.wording import visible


class CommandRefused(FleetError):
    """``fleet`` cannot be put on the PATH."""

    code: ClassVar[str] = "command_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


def link_path() -> Path:
    """Return where the link is, or would be: where each user's own commands are (systemd's file-hierarchy(7))."""
    return Path.home() / ".local" / "bin" / "fleet"


def launcher() -> Path:
    """Return the launcher of this checkout.

    Raises
    ------
    CommandRefused
        There is none.
    """
    found = Path(os.environ.get("FLEET_CHECKOUT") or Path(__file__).resolve().parents[2]) / "fleet"
    if not os.access(found, os.X_OK):
        raise CommandRefused(f"there is no {found}", hint="in a checkout, `./fleet install-command` does it")
    return found


def installed_link() -> Path | None:
    """Return the link, if it is there and leads to a launcher like this one."""
    link = link_path()
    is_ours = link.is_symlink() and (link.resolve().parent / "master" / "cli").is_dir()
    return link if is_ours else None


def install_command(yes: YesOption = False) -> None:
    """Put `fleet` on your PATH: a link in ~/.local/bin to this checkout; `fleet uninstall` takes it away."""
    with reporting_errors():
        target, link = launcher(), link_path()
        if link.is_symlink() and link.resolve() == target.resolve():
            _say(f"{link} leads here already")
            return
        if link.exists() or link.is_symlink():
            if installed_link() is None:
                raise CommandRefused(
                    f"{link} is another program", hint=f"move it away, or make an alias: alias fleet={_shell(target)}"
                )
            confirm(f"{link} leads to {link.resolve()}. Let it lead here instead?", yes=yes)
            link.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        _say(f"{link} leads to {target}")


def offer_command() -> None:
    """Ask whether ``fleet`` shall be on the PATH, at the end of ``fleet init``, where it is not yet."""
    try:
        target = launcher()
    except CommandRefused:
        return  # Installed by other means, which have their own way onto the PATH.
    found = shutil.which("fleet")
    if found is not None and Path(found).resolve() == target.resolve():
        return
    if link_path().exists() or not is_terminal():
        console.print(one_line("To type fleet instead of ", str(target), ": ", ("./fleet install-command", "bold")))
        return
    if typer.confirm("Put `fleet` on your PATH (a link in ~/.local/bin)?", default=True):
        install_command(yes=True)


def _say(done: str) -> None:
    console.print(one_line(("✓ ", "green"), done), soft_wrap=True)
    folder = str(link_path().parent)
    if folder in os.environ.get("PATH", "").split(os.pathsep):
        return
    export = 'export PATH="$HOME/.local/bin:$PATH"'
    profile = Path.home() / ".profile"
    if profile.is_file() and ".local/bin" in profile.read_text("utf-8", "replace"):
        text = "~/.local/bin is on your PATH from the next login on; in this terminal:"
    else:
        text = "~/.local/bin is not on your PATH; write this into ~/.profile, and type it into this terminal:"
    console.print(one_line(("! ", "yellow"), text), soft_wrap=True)
    console.print(one_line("    ", (export, "bold")), soft_wrap=True)


def _shell(path: Path) -> str:
    return visible(shlex.quote(str(path)))
