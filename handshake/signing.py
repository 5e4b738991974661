"""Signing and verification: every message is a JWS in compact form (RFC 7515), HS256 with the node's own key."""

from __future__ import annotations

import binascii
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Meta

from handshake.errors import Reason, Refused
from handshake.messages import BODIES, MAX_MESSAGE_BYTES, TYPES, Body, Count, MessageType
from handshake.redaction import Secret
from handshake.replay import ReplayGuard

MASTER = "master"
"""The master's name in ``iss`` and ``aud``."""
LIFETIME_S = 60
ALGORITHM = "HS256"
MIN_KEY_BYTES = 32

_T = TypeVar("_T")
_MAX_CACHED_HEADERS, _MAX_HEADER_CHARACTERS = 1_024, 200
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,9}")
_STANDARD_TO_URL = bytes.maketrans(b"+/", b"-_")
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A node's key: valid for that node only, while its epoch is the current one."""

    node_id: str
    epoch: int
    secret: Secret[bytes]

    def __post_init__(self) -> None:
        if len(self.secret.reveal()) < MIN_KEY_BYTES:
            raise ValueError(f"a node's key needs {MIN_KEY_BYTES} bytes or more (RFC 7518, section 3.2)")

    @property
    def key_id(self) -> str:
        """``<node_id>.<epoch>``, the header's ``kid``."""
        return f"{self.node_id}.{self.epoch}"


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verified message."""

    node_id: str
    epoch: int
    type: MessageType
    body: Body
    token_id: str
    sequence: int
    issued_at: float
    in_reply_to: str | None = None
    session: str | None = None


class KeyFinder(Protocol):
    """Finds the key that a message claims to be signed with."""

    def __call__(self, node_id: str, epoch: int) -> NodeKey:
        """Return the key.

        Raises
        ------
        Refused
            ``unknown_node`` or ``stale_epoch``.
        """
        ...


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


class _Claims(msgspec.Struct, Generic[_T], frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    iss: str
    aud: str
    iat: Count
    exp: Count
    jti: str
    seq: Count
    body: _T
    re: str | None = None
    session: Annotated[str, Meta(max_length=64)] | None = None


class _ParsedHeader(NamedTuple):
    """A parsed header."""

    typ: str
    node_id: str
    epoch: int


class Signer:
    """Signs messages in one direction.

    Parameters
    ----------
    key
        The node's key, used in both directions.
    from_master
        True on the master's side.
    clock
        Returns Unix time in seconds.
    session
        On a node: the session that the master opened for it.
    """

    def __init__(
        self, key: NodeKey, *, from_master: bool, clock: Callable[[], float], session: str | None = None
    ) -> None:
        self._key = key
        self._issuer, self._audience = (MASTER, key.node_id) if from_master else (key.node_id, MASTER)
        self._clock = clock
        self._from_master = from_master
        self._sequence = 0
        self.session = session

    def with_key(self, key: NodeKey) -> Signer:
        """Return a signer with a new key that goes on with the same session."""
        signer = Signer(key, from_master=self._from_master, clock=self._clock, session=self.session)
        signer._sequence = self._sequence
        return signer

    def sign(self, body: Body, *, in_reply_to: str | None = None, session: str | None = None) -> str:
        """Return the signed message; a response must name its :attr:`last_token_id`.

        Parameters
        ----------
        session
            On the master's side: the session that the node has to take.
        """
        now = int(self._clock())
        self._sequence += 1
        self.last_token_id = secrets.token_urlsafe(12)
        claims = _Claims(
            iss=self._issuer,
            aud=self._audience,
            iat=now,
            exp=now + LIFETIME_S,
            jti=self.last_token_id,
            seq=self._sequence,
            body=body,
            re=in_reply_to,
            session=session or self.session,
        )
        header = _Header(alg=ALGORITHM, kid=self._key.key_id, typ=TYPES[type(body)].value)
        signed = b".".join(_to_base64url(msgspec.json.encode(part)) for part in (header, claims))
        signature = hmac.digest(self._key.secret.reveal(), signed, "sha256")
        return (signed + b"." + _to_base64url(signature)).decode()


class Verifier:
    """Verifies messages: every check must pass.

    Signing and verification are a few lines on top of the standard library's HMAC. Every pulse of every node passes
    here, PyJWT's decoder is several times slower, and importing it costs 6 MB. Tests compare both with PyJWT.

    The order of the checks is that of docs/protocol.md: form, algorithm, key, signature, parties, time, body, replay.
    Before the signature is verified, a message is used only to find the key and to record its claimed author.

    Parameters
    ----------
    find_key
        Finds the key for a claimed node and epoch.
    node_id
        On a node: its own id, the only one accepted; messages must come from the master. None on the master.
    replay_guard
        None: the caller judges replays, by the message's session and sequence.
    skew_s
        Allowed difference of the two clocks in seconds; None for any.
    """

    def __init__(
        self,
        find_key: KeyFinder,
        *,
        node_id: str | None = None,
        clock: Callable[[], float],
        replay_guard: ReplayGuard | None,
        skew_s: float | None = 60.0,
    ) -> None:
        self._find_key = find_key
        self._node_id = node_id
        self._clock = clock
        self._replay_guard = replay_guard
        self._skew_s = skew_s
        self._header_decoder = msgspec.json.Decoder(_Header)
        self._claims_decoder = msgspec.json.Decoder(_Claims[msgspec.Raw])
        self._body_decoders = {kind: msgspec.json.Decoder(BODIES[kind]) for kind in BODIES}
        self._header_cache: dict[str, _ParsedHeader] = {}
        """Cache of verified headers by their text: all pulses of a node have the same header."""

    def open(self, text: str) -> Message:
        """Verify a message.

        Raises
        ------
        Refused
            With its reason. No other exception is raised, for any text.
        """
        match = _COMPACT.fullmatch(text) if len(text) <= MAX_MESSAGE_BYTES else None
        if match is None:
            raise _malformed("not a JWS in compact form")
        header = self._header_cache.get(match[1]) or self._open_header(match[1])
        node_id, typ = header.node_id, header.typ
        key = self._key_for(node_id, header.epoch, typ)
        expected = hmac.digest(key.secret.reveal(), text[: match.end(2)].encode(), "sha256")
        try:
            genuine = hmac.compare_digest(_from_base64url(match[3]), expected)
            payload = _from_base64url(match[2])
        except ValueError as error:
            raise _malformed(str(error)[:200], node_id, typ) from None
        if not genuine:
            raise Refused(
                Reason.BAD_SIGNATURE, "the signature does not match", claimed_node_id=node_id, message_type=typ[:40]
            )
        if len(self._header_cache) < _MAX_CACHED_HEADERS and len(match[1]) <= _MAX_HEADER_CHARACTERS:
            self._header_cache[match[1]] = header
        try:
            return self._check_claims(payload, header)
        except msgspec.MsgspecError as error:
            raise _malformed(str(error)[:300], node_id, typ) from None
        except (RecursionError, UnicodeDecodeError):
            raise _malformed("nested too deeply, or not UTF-8", node_id, typ) from None

    def _open_header(self, segment: str) -> _ParsedHeader:
        try:
            header = self._header_decoder.decode(_from_base64url(segment))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _malformed(f"header: {str(error)[:200]}") from None
        if header.alg != ALGORITHM:
            raise _malformed(f"algorithm {header.alg[:20]!r}")
        node_id, _, epoch = header.kid.rpartition(".")
        if not (header.kid.isascii() and 0 < len(node_id) <= 26 and node_id.isalnum() and _EPOCH.fullmatch(epoch)):
            raise _malformed("kid is not <node>.<epoch>")
        return _ParsedHeader(header.typ, node_id, int(epoch))

    def _key_for(self, node_id: str, epoch: int, typ: str) -> NodeKey:
        if self._node_id is not None and node_id != self._node_id:
            raise Refused(Reason.UNKNOWN_NODE, "meant for another node", claimed_node_id=node_id, message_type=typ[:40])
        try:
            return self._find_key(node_id, epoch)
        except Refused as refused:
            refused.claimed_node_id, refused.message_type = node_id, typ[:40]
            raise

    def _check_claims(self, payload: bytes, header: _ParsedHeader) -> Message:
        node_id = header.node_id
        claims = self._claims_decoder.decode(payload)
        expected = (MASTER, node_id) if self._node_id is not None else (node_id, MASTER)
        if (claims.iss, claims.aud) != expected:
            raise _malformed(f"from {claims.iss[:30]!r} to {claims.aud[:30]!r}", node_id, header.typ)
        now = self._clock()
        skew_s = self._skew_s
        if skew_s is not None and (claims.exp + skew_s < now or claims.iat - skew_s > now):
            raise Refused(
                Reason.EXPIRED,
                f"issued {now - claims.iat:+.0f} s ago",
                claimed_node_id=node_id,
                message_type=header.typ,
            )
        if not 0 < claims.exp - claims.iat <= LIFETIME_S or not 8 <= len(claims.jti) <= 64:
            raise _malformed("lifetime or jti out of bounds", node_id, header.typ)
        kind = _TYPE_NAMES.get(header.typ)
        if kind is None:
            raise _malformed("unknown message type", node_id, header.typ)
        body: Body = self._body_decoders[kind].decode(claims.body)
        guard = self._replay_guard
        if guard is not None and not guard.admit(node_id, claims.jti, claims.exp + (skew_s or 0.0)):
            raise Refused(Reason.REPLAYED, f"jti {claims.jti}", claimed_node_id=node_id, message_type=header.typ)
        return Message(
            node_id=node_id,
            epoch=header.epoch,
            type=kind,
            body=body,
            token_id=claims.jti,
            sequence=claims.seq,
            issued_at=claims.iat,
            in_reply_to=claims.re,
            session=claims.session,
        )


def _to_base64url(payload: bytes) -> bytes:
    return binascii.b2a_base64(payload, newline=False).translate(_STANDARD_TO_URL).rstrip(b"=")


def _from_base64url(segment: str) -> bytes:
    # As bytes: translating text takes longer than the rest of the decoding.
    return binascii.a2b_base64(segment.encode().translate(_URL_TO_STANDARD) + b"=" * (-len(segment) % 4))


_TYPE_NAMES = {kind.value: kind for kind in MessageType}


def _malformed(detail: str, node_id: str | None = None, message_type: str = "") -> Refused:
    return Refused(Reason.MALFORMED, detail, claimed_node_id=node_id, message_type=message_type[:40])
