"""Signatures in OpenSSH's format (PROTOCOL.sshsig), as ``ssh-keygen -Y sign`` makes them.

One format for a key in a file, an SSH key in an agent and a FIDO token. What is read is hostile: it is bounded, and
each signature is taken in one form only, the one that ``ssh-keygen`` writes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from handshake.patch_document import MAX_SIGNATURE_BYTES
from master.services.patches.errors import PatchRefused
from master.services.patches.ssh_public_keys import (
    KeyUnusable,
    PrivateKey,
    PublicKey,
    is_signed_by,
    public_half,
    read_public_key,
    sign_with,
)
from master.services.patches.ssh_wire import WireError, WireReader, number, string

_PREAMBLE, _VERSION = b"SSHSIG", 1
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_COLUMNS = 70
_SIGN_AGAIN = "have its author sign it again: `fleet patch sign`, or `ssh-keygen -Y sign`"
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was read, of which nothing is believed yet."""

    key: PublicKey
    """The key that it says it is made with."""
    namespace: str
    hash_name: str
    raw: bytes

    def signed_bytes(self, message: bytes) -> bytes:
        """Return what is signed for a message."""
        digest = _HASHES[self.hash_name](message).digest()
        return _signed_bytes(self.namespace, self.hash_name, digest)


def read_signature(armoured: bytes) -> Signature:
    """Read a signature, without verifying anything.

    Raises
    ------
    PatchRefused
        It is damaged, or made with a key or in a way that is not accepted.
    """
    if not armoured:
        raise PatchRefused("it is not signed", hint="have its author sign it: `fleet patch sign FILE`")
    content = _without_armour(armoured)
    if armour(content) != armoured:
        raise _damaged("it is not written as ssh-keygen writes it")
    reader = WireReader(content)
    try:
        if reader.take(len(_PREAMBLE)) != _PREAMBLE or reader.number() != _VERSION:
            raise WireError("it does not begin as one")
        blob, namespace, reserved = reader.string(), reader.text(), reader.string()
        hash_name, raw = reader.text(), reader.string()
        reader.end()
        if reserved or hash_name not in _HASHES:
            raise WireError("it is made in a way that is not known")
        return Signature(read_public_key(blob), namespace, hash_name, raw)
    except WireError as error:
        raise _damaged(str(error)) from error
    except KeyUnusable as error:
        raise PatchRefused(f"it is signed with a key that is not accepted: {error}", hint=_SIGN_AGAIN) from error


def verify(armoured: bytes, message: bytes, namespace: str) -> PublicKey:
    """Return the key that signed a message. Whether it is to be trusted, the caller decides.

    Raises
    ------
    PatchRefused
        The signature is damaged, for something else, or not one over this message.
    """
    return verify_read(read_signature(armoured), message, namespace)


def verify_read(signature: Signature, message: bytes, namespace: str) -> PublicKey:
    """Return the key that signed a message, of a signature that was read already.

    Raises
    ------
    PatchRefused
    """
    if signature.namespace != namespace:
        raise PatchRefused(
            f"its signature is for {signature.namespace!r}, not for {namespace!r}",
            hint=f"sign it with `ssh-keygen -Y sign -n {namespace}`",
        )
    try:
        is_good = is_signed_by(signature.key, signature.raw, signature.signed_bytes(message))
    except WireError as error:
        raise _damaged(str(error)) from error
    if not is_good:
        raise PatchRefused(
            f"its signature is not one of {signature.key.id} over this content: one of both was changed",
            hint=f"do not use this file; {_SIGN_AGAIN}",
        )
    return signature.key


def sign(private: PrivateKey, message: bytes, namespace: str) -> bytes:
    """Return a signature over a message, armoured, as ``ssh-keygen -Y sign -n NAMESPACE`` makes it.

    Raises
    ------
    KeyUnusable
        The key is of a kind, or a size, that is not accepted.
    """
    key = public_half(private)
    raw = sign_with(private, _signed_bytes(namespace, "sha512", hashlib.sha512(message).digest()))
    return armour(
        _PREAMBLE
        + number(_VERSION)
        + string(key.blob)
        + string(namespace.encode("ascii"))
        + string(b"")
        + string(b"sha512")
        + string(raw)
    )


def armour(content: bytes) -> bytes:
    """Return a signature's bytes as text, in lines as ``ssh-keygen`` writes them."""
    encoded = base64.b64encode(content)
    lines = [encoded[at : at + _COLUMNS] for at in range(0, len(encoded), _COLUMNS)]
    return b"\n".join((_BEGIN, *lines, _END, b""))


def canonical(armoured: bytes) -> bytes:
    """Return a signature as ``ssh-keygen`` writes it; other tools break its lines elsewhere.

    For the author's side: what is in a bundle is taken in this form only.

    Raises
    ------
    PatchRefused
        It is damaged.
    """
    return armour(_without_armour(armoured))


def _without_armour(armoured: bytes) -> bytes:
    if len(armoured) > MAX_SIGNATURE_BYTES:
        raise _damaged(f"it is longer than {MAX_SIGNATURE_BYTES} bytes")
    stripped = armoured.strip()
    if not stripped.startswith(_BEGIN) or not stripped.endswith(_END):
        raise _damaged("it does not begin and end as one")
    try:
        return base64.b64decode(b"".join(stripped[len(_BEGIN) : -len(_END)].split()), validate=True)
    except binascii.Error as error:
        raise _damaged("it is not in base64") from error


def _signed_bytes(namespace: str, hash_name: str, digest: bytes) -> bytes:
    parts = (namespace.encode("ascii"), b"", hash_name.encode("ascii"), digest)
    return _PREAMBLE + b"".join(map(string, parts))


def _damaged(why: str) -> PatchRefused:
    return PatchRefused(f"its signature is damaged: {why}", hint=_SIGN_AGAIN)
