"""``fleet patch sign`` and ``verify``: by whom a patch is. Needs no master and no config."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from handshake.patch_bundle import RawBundle
from master.cli.context import JsonOption, reporting_errors
from master.errors import ExitCode
from master.services.patches import signing
from master.services.patches.allowed_signers import allowed_signers
from master.services.patches.checking import TrustedKey, Verified, verify_file
from master.services.patches.errors import PatchRefused
from master.services.patches.files import PatchFile, read_patch_file, write_patch_file
from master.services.patches.git_trees import git_config
from master.services.patches.ssh_public_keys import PublicKey
from master.terminal import NoTerminal, console, is_terminal, one_line, print_json, print_lines
from master.terminal.patch_files import effect_text, file_lines

_FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A patch file.", show_default=False)]


class SignedPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed, and with which key, for programs."""

    file: str
    key_id: str
    public_key: str
    """As a fleet is told to trust it."""


def sign(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A patch file; it is signed in place.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="An SSH key; of one in an agent its .pub file.",
            show_default="git's user.signingkey, or ~/.ssh/id_ed25519",
        ),
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Make an Ed25519 key there first, and sign with it.", show_default=False),
    ] = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="With --new-key: whoever reads the file can sign with it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a patch with your key: an SSH key in a file or an agent, or one on a FIDO token."""
    with reporting_errors(as_json=as_json):
        if new_key is not None and key is not None:
            raise typer.BadParameter("sign with one key: --key, or --new-key", param_hint="--new-key")
        if new_key is None and (file is None or no_passphrase):
            raise typer.BadParameter("name a patch file, or --new-key PATH", param_hint="FILE")
        # Before anybody is asked for a passphrase.
        found = None if file is None else read_patch_file(file)
        if found is not None and found.document.expires <= time.time():
            raise PatchRefused(f"{found.path.name} has expired: no fleet would accept it", hint="build it again")
        if new_key is not None:
            public = _make_key(new_key.expanduser(), no_passphrase=no_passphrase, as_json=as_json)
            key = new_key
            if found is None:
                _tell_key(public, as_json=as_json)
                return
        if found is not None:
            _sign(found, signing.find_key(key), as_json=as_json)


def _make_key(path: Path, *, no_passphrase: bool, as_json: bool) -> PublicKey:
    if no_passphrase:
        made = signing.make_key(path, signing.default_comment())
    elif is_terminal():
        made = signing.make_encrypted_key(path, signing.default_comment())
    else:
        raise NoTerminal("there is no terminal to ask for a passphrase at", hint="give --no-passphrase")
    if not as_json:
        console.print(one_line(("✓ ", "green"), f"a new key: {path}, and {path}.pub, which others may see"))
    return made


def _sign(found: PatchFile, place: signing.KeyPlace, *, as_json: bool) -> None:
    document = found.document
    if not as_json:
        # Whoever signs has to see what; the file may be somebody else's.
        files = len(document.files) + len(document.removed)
        print_lines([one_line((f"{document.name} {document.version}", "bold"), f"  {effect_text(document)}")])
        print_lines(list(file_lines(document))[:20])
        if files > 20:
            console.print(one_line(f"  and {files - 20} more files: `fleet patch show`"))
    signature, public = signing.sign_document(found.raw.document, place)
    write_patch_file(found.path.resolve(), RawBundle(found.raw.document, signature, found.raw.archive))
    if as_json:
        print_json(SignedPatch(file=str(found.path), key_id=public.id, public_key=public.line))
        return
    again = " again" if found.is_signed else ""
    lines = [one_line(("✓ ", "green"), f"{found.path} is signed{again} with {place.shown} ({place.found_by})")]
    for line in [*lines, *_key_lines(public)]:
        console.print(line, soft_wrap=True)


def _tell_key(public: PublicKey, *, as_json: bool) -> None:
    if as_json:
        print_json({"key_id": public.id, "public_key": public.line})
        return
    for line in _key_lines(public):
        console.print(line, soft_wrap=True)


def _key_lines(public: PublicKey) -> Iterator[Text]:
    """Say what a fleet has to be told of a key; the line to copy is whole, whatever the width."""
    yield one_line("  its id: ", (public.id, "bold"))
    yield one_line(
        ("  where it is not trusted yet, an operator of the fleet types, and compares the id:", "bright_black")
    )
    yield one_line(("→ ", "cyan"), f"fleet patch keys add {shlex.quote(f'{public.line} {signing.default_comment()}')}")


def verify(
    file: _FileArgument,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A public key that may have signed it.", metavar="FILE.pub", show_default="your own"),
    ] = None,
    signers: Annotated[
        Path | None,
        typer.Option(
            "--allowed-signers",
            help="As for ssh-keygen -Y verify.",
            metavar="FILE",
            show_default="git's gpg.ssh.allowedSignersFile",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a patch point by point: signature, key, content, time.

    It exits with 0 if all holds, which takes a key that you trust, and with 4 if not.
    """
    with reporting_errors(as_json=as_json):
        found = read_patch_file(file)
        verified = verify_file(found, _trusted(key or [], signers))
        if as_json:
            print_json(verified)
        else:
            for line in _verified_lines(found, verified):
                console.print(line, soft_wrap=True)
        if not verified.holds:
            raise typer.Exit(ExitCode.REFUSED)


def _trusted(keys: list[Path], signers: Path | None) -> list[TrustedKey]:
    """Return the keys to compare with: those that were named, or else what this machine has."""
    trusted = [TrustedKey(signing.read_public_file(path), f"the key in {path}") for path in keys]
    if signers is None and not keys:
        own = signing.own_public_key()
        trusted += [] if own is None else [TrustedKey(own, "your own key")]
        others = signing.own_keys().items()
        trusted += [TrustedKey(one, f"your own key ({path})") for path, one in others if one != own]
        named = git_config("gpg.ssh.allowedSignersFile", Path())
        signers = Path(named).expanduser() if named and Path(named).expanduser().is_file() else None
    if signers is not None:
        found = allowed_signers(signers, at=time.time())
        trusted += [TrustedKey(one.key, f"the key of {one.principals}") for one in found]
    return trusted


def _verified_lines(found: PatchFile, verified: Verified) -> Iterator[Text]:
    for check in verified.checks:
        mark = ("✓ ", "green") if check.holds else ("✗ ", "red")
        yield one_line(mark, f"{check.name:<10}", check.detail)
    what = f"{found.document.name} {found.document.version}"
    if verified.holds:
        yield one_line((f"{what} holds: it is signed with {verified.signer}", "green"))
    else:
        yield one_line((f"{what} must not be believed", "red"))
