"""Signs patches on their author's machine, with a key in a file, in an agent or on a FIDO token. It blocks.

A plain key is read here. All others are left to ``ssh-keygen``, which asks for a passphrase or a touch at the terminal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from handshake.files import read_regular
from handshake.patch_document import MAX_SIGNATURE_BYTES, NAMESPACE
from master.durable import replace_file
from master.errors import ExitCode
from master.services.patches import sshsig
from master.services.patches.errors import PatchError, PatchRefused
from master.services.patches.git_trees import git_config
from master.services.patches.ssh_public_keys import KeyUnusable, PrivateKey, PublicKey, public_half, read_key_text

TIMEOUT_S = 120.0
"""Of ``ssh-keygen``: long enough to look for the token and to touch it."""
_MAX_KEY_BYTES = 64 * 1024
_LITERAL = "key::"
"""Begins a public key that is itself in git's ``user.signingkey``."""
_USUAL = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
_OWN_KEY = "`fleet patch sign --new-key PATH` makes one"


class SigningFailed(PatchError):
    """The patch was not signed: the key cannot be used, or whoever holds it said no."""

    code: ClassVar[str] = "signing_failed"


class SigningTimedOut(SigningFailed):
    """Nobody typed the passphrase or touched the token in time."""

    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT


class KeyMissing(SigningFailed):
    """There is no such key, or none at all."""

    code: ClassVar[str] = "signing_key_missing"
    exit_code: ClassVar[ExitCode] = ExitCode.NOT_FOUND


class KeyExists(SigningFailed):
    """A new key would replace one."""

    code: ClassVar[str] = "signing_key_exists"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a key is.

    Parameters
    ----------
    path
        Of the private key, or of a public one whose private half an agent or a token has; None for a literal.
    literal
        A public key's line, of git's configuration.
    found_by
        Who named it, for messages.
    """

    path: Path | None
    literal: str = ""
    found_by: str = "--key"

    @property
    def shown(self) -> str:
        """How a person recognises it."""
        return str(self.path) if self.path is not None else f"{self.literal[:40]}..."


def find_key(given: Path | None) -> KeyPlace:
    """Return the key to sign with: the given one, that of git, or the usual one of SSH.

    Raises
    ------
    KeyMissing
    """
    if given is not None:
        place = given.expanduser()
        if not place.exists():
            raise KeyMissing(f"there is no key {given}", hint=_OWN_KEY)
        return KeyPlace(place)
    here = Path()
    named = git_config("user.signingkey", here) if git_config("gpg.format", here) == "ssh" else ""
    if named.startswith((_LITERAL, "ssh-", "sk-ssh-", "ecdsa-", "sk-ecdsa-")):
        return KeyPlace(None, named.removeprefix(_LITERAL), "git's user.signingkey")
    if named:
        return KeyPlace(Path(named).expanduser(), found_by="git's user.signingkey")
    folder = Path.home() / ".ssh"
    for name in _USUAL:
        if (folder / name).is_file():
            return KeyPlace(folder / name, found_by="the usual place")
    raise KeyMissing(f"there is no key to sign with: neither in {folder} nor in git's user.signingkey", hint=_OWN_KEY)


def sign_document(document: bytes, place: KeyPlace) -> tuple[bytes, PublicKey]:
    """Return the signature of a patch's document, verified, and the key that made it.

    Raises
    ------
    SigningFailed, PatchRefused
    """
    private = None if place.path is None else _plain_key(place.path)
    try:
        if private is not None:
            signature = sshsig.sign(private, document, NAMESPACE)
        else:
            signature = sshsig.canonical(_sign_elsewhere(document, place))
    except KeyUnusable as error:
        raise SigningFailed(f"{place.shown} is not accepted for patches: {error}", hint=_OWN_KEY) from error
    # What no fleet would accept is noticed here.
    return signature, sshsig.verify(signature, document, NAMESPACE)


def _plain_key(path: Path) -> PrivateKey | None:
    """Return a private key that needs neither a passphrase nor a token; None for any other."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    content = read_regular(path.resolve(), _MAX_KEY_BYTES)
    load: Callable[..., object]
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        load = load_ssh_private_key
    elif b"PRIVATE KEY-----" in content:
        load = load_pem_private_key
    else:
        return None
    try:
        key = load(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None  # encrypted, or of a token: ssh-keygen knows, and says what is wrong with any other
    kinds = (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)
    return key if isinstance(key, kinds) else None


def _sign_elsewhere(document: bytes, place: KeyPlace) -> bytes:
    """Have ``ssh-keygen`` sign; only the names of files are in its arguments."""
    with tempfile.TemporaryDirectory(prefix="fleetpatch-") as folder:
        content = Path(folder, "document")
        content.write_bytes(document)
        key = place.path
        if key is None:
            key = Path(folder, "key.pub")
            key.write_text(f"{place.literal}\n", "utf-8")
        said = run_ssh_keygen("-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute()), str(content))
        try:
            return read_regular(Path(folder, "document.sig"), MAX_SIGNATURE_BYTES + 1)
        except FileNotFoundError as error:
            raise SigningFailed(f"ssh-keygen made no signature: {said or 'it said nothing'}") from error


def run_ssh_keygen(*arguments: str) -> str:
    """Run ``ssh-keygen``, which may ask at the terminal; returns what it said last.

    Raises
    ------
    SigningFailed
        It is not installed, failed, or took too long.
    """
    # What is in a pipe belongs to nobody who is asked for a passphrase.
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    # It asks for a touch there, which must be seen at once.
    stderr = None if sys.stderr is not None and sys.stderr.isatty() else subprocess.PIPE
    try:
        done = subprocess.run(  # noqa: S603
            ["ssh-keygen", *arguments],  # noqa: S607 - the one that its user has
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "install OpenSSH's client, or sign with a key without a passphrase"
        raise SigningFailed("this key needs ssh-keygen, which is not installed", hint=hint) from error
    except subprocess.TimeoutExpired as error:
        hint = "sign again, and touch the token or type the passphrase"
        raise SigningTimedOut(f"ssh-keygen waited for longer than {TIMEOUT_S:.0f} s", hint=hint) from error
    said = [line for line in (done.stderr or b"").decode("utf-8", "replace").splitlines() if line.strip()]
    if done.returncode != 0:
        hint = "an encrypted key is asked for at a terminal; `ssh-add` gives it to an agent, then name its .pub file"
        silent = "it said why above" if stderr is None else "it said nothing"
        raise SigningFailed(f"ssh-keygen failed: {'; '.join(said[-3:]) or silent}", hint=hint)
    return said[-1] if said else ""


def make_key(path: Path, comment: str) -> PublicKey:
    """Make an Ed25519 key without a passphrase: the private half in ``path``, readable by its owner only, and a .pub.

    Raises
    ------
    KeyExists
    OSError
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    make_place(path)
    private = Ed25519PrivateKey.generate()
    public = public_half(private)
    replace_file(path, private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public_path(path).write_text(f"{public.line} {comment}\n", "utf-8")
    return public


def make_encrypted_key(path: Path, comment: str) -> PublicKey:
    """Have ``ssh-keygen`` make an Ed25519 key; it asks for the passphrase at the terminal.

    Raises
    ------
    KeyExists, SigningFailed
    OSError
    """
    make_place(path)
    run_ssh_keygen("-q", "-t", "ed25519", "-C", comment, "-f", str(path.absolute()))
    return read_public_file(public_path(path))


def make_place(path: Path) -> None:
    """Make the folder of a new key, and refuse to replace one: what it signed would be like a stranger's.

    Raises
    ------
    KeyExists, KeyMissing
    OSError
    """
    for taken in (path, public_path(path)):
        if taken.exists():
            raise KeyExists(f"{taken} is there already", hint="sign with it (--key), or name another file")
    folder = path.absolute().parent
    if not folder.parent.is_dir():
        raise KeyMissing(f"there is no folder {folder.parent}", hint="give another path, or make the folder")
    # As ssh-keygen makes ~/.ssh: nobody else looks into it.
    folder.mkdir(mode=0o700, exist_ok=True)


def public_path(path: Path) -> Path:
    """Return where the public half of a key is."""
    return path if path.name.endswith(".pub") else path.with_name(f"{path.name}.pub")


def read_public_file(path: Path) -> PublicKey:
    """Read a public key's file.

    Raises
    ------
    KeyMissing, PatchRefused
    """
    try:
        content = read_regular(path.expanduser().resolve(), _MAX_KEY_BYTES).decode("utf-8", "replace")
    except FileNotFoundError as error:
        raise KeyMissing(f"there is no key {path}", hint="give the author's .pub file") from error
    if "PRIVATE KEY-----" in content:
        return read_public_file(_public_half_of(path))
    words = content.split()
    try:
        return read_key_text(words[0], words[1])
    except (IndexError, KeyUnusable) as error:
        raise PatchRefused(f"{path} has no public key that is accepted: {error}", hint="give a .pub file") from error


def _public_half_of(path: Path) -> Path:
    beside = public_path(path)
    if beside == path:
        raise PatchRefused(f"{path} is a private key under a public one's name", hint="give the author's .pub file")
    return beside


def own_public_key() -> PublicKey | None:
    """Return the public half of the key that would sign here; None if there is none that can be read."""
    try:
        place = find_key(None)
        if place.path is not None:
            return read_public_file(public_path(place.path))
        words = place.literal.split()
        return read_key_text(words[0], words[1])
    except (PatchError, OSError, KeyUnusable, IndexError):
        return None


def own_keys() -> dict[str, PublicKey]:
    """Return the keys in ~/.ssh of which both halves are there, by the files of their public halves."""
    found = {}
    for path in sorted((Path.home() / ".ssh").glob("*.pub")):
        try:
            if path.with_suffix("").is_file():
                found[f"~/.ssh/{path.name}"] = read_public_file(path)
        except (PatchError, OSError):
            continue  # Of a kind that signs no patches.
    return found


def default_comment() -> str:
    """Return what a new key is called: ``user@host``, as ``ssh-keygen`` does."""
    name = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
    return f"{name}@{os.uname().nodename}"
