"""``python -m nodekit.releases COMMAND FOLDER``: releases of a program in any language, as the master sees them.

Prints one JSON object; what went wrong is on standard error as well. Exit codes are those of the ``fleet`` command.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from handshake.errors import HandshakeError
from handshake.files import read_regular
from handshake.patch_bundle import MAX_BUNDLE_BYTES, read_document, read_files, unpack
from nodekit.releases.errors import BaseDiffers, NoSuchRelease, NotNow, ReleaseError, UnsafeFolder
from nodekit.releases.releases import Releases

OK, FAILED, NOT_FOUND, REFUSED = 0, 1, 3, 4
_CODES = {NoSuchRelease: NOT_FOUND, BaseDiffers: REFUSED, NotNow: REFUSED, UnsafeFolder: REFUSED}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; returns the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        _print(_carry_out(asked))
    except ReleaseError as error:
        _print({"error": error.code, "message": error.message, "paths": error.paths})
        print(f"{asked.folder}: {error.message}", file=sys.stderr)
        return _CODES.get(type(error), FAILED)
    return OK


def _carry_out(asked: argparse.Namespace) -> dict[str, Any]:
    releases = Releases(asked.folder)
    match asked.command:
        case "stage":
            return {"release": _stage(releases, asked)}
        case "switch":
            releases.switch(asked.release, begins=False if asked.at_start else None)
        case "back":
            left = releases.current()
            return {"current": releases.back(), "left": left, "edited": releases.edited(left)}
        case "restore":
            releases.restore(asked.release)
        case "good":
            releases.mark_good()
        case "settle":
            return dict(msgspec.to_builtins(releases.settle()))
    return {"current": releases.current(), "releases": msgspec.to_builtins(releases.list())}


def _stage(releases: Releases, asked: argparse.Namespace) -> int:
    """Stage a bundle that the master accepted: it is the file with this digest."""
    try:
        content = read_regular(asked.bundle, MAX_BUNDLE_BYTES + 1)
        if hashlib.sha256(content).hexdigest() != asked.sha256:
            raise ReleaseError(f"{asked.bundle} is not the bundle that was accepted: its digest is another one")
        bundle = unpack(content)
        document = read_document(bundle.document)
        files = read_files(document, bundle.archive)
    except OSError as error:
        raise ReleaseError(f"{asked.bundle} cannot be read: {error.strerror}") from error
    except HandshakeError as error:
        raise ReleaseError(f"{asked.bundle}: {error}") from error
    return releases.stage(document, files, patch_id=asked.patch_id, packages=asked.packages)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nodekit.releases", description="Releases of a node's folder.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, text in (
        ("stage", "write a patch beside the code; nothing of the program is changed"),
        ("switch", "put a staged release in force, on trial"),
        ("back", "go back to the release before"),
        ("restore", "put any release that is kept in force; 0 is the folder before any patch"),
        ("good", "say that the release in force is good"),
        ("settle", "before a start: finish what was cut off, roll back what was not good"),
        ("list", "show the releases that are kept"),
    ):
        made[name] = commands.add_parser(name, help=text, description=text)
        made[name].add_argument("folder", type=Path, metavar="FOLDER")
    made["stage"].add_argument("--bundle", type=Path, required=True, metavar="PATH")
    made["stage"].add_argument("--sha256", required=True, metavar="HEX", help="of the bundle that was accepted")
    made["stage"].add_argument("--patch-id", required=True, metavar="ID")
    made["stage"].add_argument("--packages", action="append", default=[], metavar="FOLDER", help="that it needs")
    for name in ("switch", "restore"):
        made[name].add_argument("--release", type=int, required=True, metavar="N")
    made["switch"].add_argument(
        "--at-start", action="store_true", help="its trial begins with the next start, whatever the patch says"
    )
    return parser


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
