"""Which folder is the fleet's home: named, the current one, or the one that ``fleet home`` remembers."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from master.configuration.reading import PathRefused, expanded, resolved
from master.errors import ExitCode, FleetError

CONFIG_NAME = "config.py"
_FILE_NAME = "home"


class HomeRefused(FleetError):
    """The home cannot be remembered."""

    code: ClassVar[str] = "home_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NoHome(FleetError):
    """There is no fleet in the home."""

    code: ClassVar[str] = "no_home"
    exit_code: ClassVar[ExitCode] = ExitCode.CONFIG


@dataclass(frozen=True, slots=True)
class Home:
    """A fleet's home, and how it was found."""

    path: Path
    found_by: str
    """In words: ``--home``, ``FLEET_HOME``, ``the current folder`` or ``remembered by `fleet home```."""


def find_home(given: Path | None, environment: Mapping[str, str]) -> Home:
    """Return the fleet's home.

    That is ``given``, FLEET_HOME, the current folder if it is a home, or the remembered one; without any of these the
    current folder.

    Raises
    ------
    PathRefused
        The path cannot be used, or the current folder is gone and nothing else is named.
    """
    if given is not None:
        return Home(resolved(expanded(given)), "--home")
    if named := environment.get("FLEET_HOME"):
        return Home(resolved(expanded(Path(named))), "FLEET_HOME")
    remembered = remembered_home(environment)
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        if remembered is None:
            raise PathRefused("the current folder is gone", hint="change to another, or give --home") from error
    else:
        if remembered is None or is_home(here):
            return Home(resolved(here), "the current folder")
    return Home(resolved(remembered), "remembered by `fleet home`")


def is_home(folder: Path) -> bool:
    """Tell whether a folder is a fleet's home; that of a bot has a config.py too, but no IDENTITY in it."""
    path = folder / CONFIG_NAME
    try:
        return path.is_file() and b"IDENTITY" in path.read_bytes()
    except OSError:
        # Another user's: it is for whoever may read it to say what it is.
        return True


def settings_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the command line's own files (XDG Base Directory Specification).

    Raises
    ------
    PathRefused
        The user has no home folder.
    """
    base = Path(environment.get("XDG_CONFIG_HOME") or "~/.config")
    # A relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return expanded(base if base.is_absolute() else Path("~/.config")) / "fleetmaster"


def remembered_home(environment: Mapping[str, str]) -> Path | None:
    """Return what ``fleet home`` remembers; None if that is nothing, or cannot be read."""
    try:
        text = os.fsdecode((settings_folder(environment) / _FILE_NAME).read_bytes()).strip("\n")
    except (OSError, PathRefused):
        return None
    return Path(text) if text.startswith("/") else None


def remember_home(path: Path, environment: Mapping[str, str]) -> None:
    """Remember a home for terminals that name none.

    Raises
    ------
    HomeRefused
        It is none.
    OSError
    """
    if not is_home(path):
        raise HomeRefused(
            f"{path} is no fleet's home", hint=f"`fleet init --home {shlex.quote(str(path))}` makes it one"
        )
    folder = settings_folder(environment)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_FILE_NAME)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.fsencode(path) + b"\n")
        Path(name).replace(folder / _FILE_NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def forget_home(environment: Mapping[str, str]) -> Path | None:
    """Forget the remembered home; returns it.

    Raises
    ------
    OSError
    """
    remembered = remembered_home(environment)
    folder = settings_folder(environment)
    (folder / _FILE_NAME).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return remembered
