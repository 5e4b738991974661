"""Hostile messages of every kind, and an oracle that says which few of them may pass; for the fuzzers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from typing import Any

from handshake.messages import BODIES, Heartbeat, VerificationResponse
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer

SEED = 11
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 59, 60, 61, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**18, 10**400, -(10**400)),
    *(1.5, True, None, "1", [], {}),
)
"""Values for a claim that should be a whole number; some are none."""


class Attacker:
    """Makes hostile messages; holds the keys of two nodes, as a stolen box would."""

    def __init__(self, clock: Callable[[], float], *, key: NodeKey | None = None, other: NodeKey | None = None) -> None:
        self.rng = random.Random(SEED)  # noqa: S311 - a fuzzer repeats itself
        self.clock = clock
        self.key = key or NodeKey("01NODE", 2, Secret(self.rng.randbytes(32)))
        self.other = other or NodeKey("01OTHER", 1, Secret(self.rng.randbytes(32)))
        self.signer = Signer(self.key, from_master=False, clock=clock)
        self.sent: list[str] = []
        """What the verifier accepted and still remembers, newest last."""
        self.kinds: tuple[Callable[[], str], ...] = (
            self.flip_a_bit,
            self.change_a_character,
            self.cut,
            self.replay,
            self.sign_with_another_key,
            self.mix_two,
            self.reflect,
            self.name_an_algorithm,
            self.name_a_key,
            self.set_a_number,
            self.set_a_party,
            self.break_the_body,
            self.nest,
            self.send_noise,
        )

    def genuine(self) -> str:
        return self.signer.sign(Heartbeat(uptime_s=self.rng.random() * 1e6, guilds=self.rng.randrange(100)))

    def flip_a_bit(self) -> str:
        raw = bytearray(self.genuine().encode())
        raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
        return raw.decode("latin-1")

    def change_a_character(self) -> str:
        text, at = self.genuine(), self.rng.randrange(100)
        way = self.rng.choice(("\n", "\0", "=", ".", "é", "\ud800", "", " ", "A" * 9_000))
        return text[:at] + way + text[at + self.rng.randrange(2) :] if self.rng.random() < 0.5 else text + way

    def cut(self) -> str:
        text = self.genuine()
        at = self.rng.randrange(len(text))
        return text[:at] if self.rng.random() < 0.5 else text[at + 1 :]

    def replay(self) -> str:
        return self.rng.choice(self.sent) if self.sent else "a.b.c"

    def sign_with_another_key(self) -> str:
        kid = self.rng.choice((self.key.key_id, self.other.key_id))
        stolen = self.other if kid == self.key.key_id else self.key
        key = self.rng.choice((stolen.secret.reveal(), self.rng.randbytes(32), b"", b"\0" * 32))
        return self.assemble({"kid": kid}, {"iss": kid.partition(".")[0]}, key=key)

    def mix_two(self) -> str:
        own, others = (
            self.genuine(),
            Signer(self.other, from_master=False, clock=self.clock).sign(Heartbeat(uptime_s=1)),
        )
        parts = zip(own.split("."), others.split("."), strict=True)
        mixed = ".".join(self.rng.choice(pair) for pair in parts)
        return "mixed." + mixed if mixed in (own, others) else mixed

    def reflect(self) -> str:
        to_a_node = Signer(self.key, from_master=True, clock=self.clock)
        return to_a_node.sign(self.rng.choice((VerificationResponse(accepted=True), Heartbeat(uptime_s=1.0))))

    def name_an_algorithm(self) -> str:
        return self.assemble(
            {"alg": self.rng.choice(("none", "None", "", "HS384", "RS256", "hs256", "HS256\n", 7, None))}
        )

    def name_a_key(self) -> str:
        own, epoch = self.key.node_id, self.key.epoch
        epochs = ("", f"{epoch - 1}", f"{epoch + 1}", chr(0x660 + epoch), f"{epoch}\n", f"+{epoch}", f"-{epoch}")
        others = (own, f".{epoch}", f"../{own}.{epoch}", "x" * 3_000, epoch, None, "01NONE.1")
        return self.assemble({"kid": self.rng.choice((*others, *(f"{own}.{odd}" for odd in epochs)))})

    def set_a_number(self) -> str:
        now = int(self.clock())
        near = [now + offset for offset in (-181, -180, -121, -120, -60, -1, 0, 1, 59, 60, 61, 119, 121)]
        claims = {self.rng.choice(("iat", "exp", "seq")): self.rng.choice((*NUMBERS, *near)) for _ in range(2)}
        return self.assemble({}, claims)

    def set_a_party(self) -> str:
        own, other, odd = self.key.node_id, self.other.node_id, (None, ["master"], self.key.key_id)
        texts = ("", "Master", "master\n", "j" * 64, "j" * 65, "short")
        claim = self.rng.choice(("iss", "aud", "jti", "re", "more"))
        claims = {claim: self.rng.choice(("master", own, other, *odd, *texts))}
        return self.assemble({}, claims)

    def break_the_body(self) -> str:
        types = [*(kind.value for kind in BODIES), "order", "", "heartbeat\n", None]
        body: Any = self.rng.choice(
            (
                {},
                {"uptime_s": 1.0},
                {"uptime_s": "1"},
                {"uptime_s": 1e308},
                {"uptime_s": 10**400},
                {"uptime_s": 1, "guilds": 2**53 + 1},
                {"uptime_s": 1, "cogs_failed": ["x"] * 21},
                {"reason": "x" * 401},
                {"source": "task", "where": "x", "exception": "x", "fingerprint": "0123456789abcdef\n"},
                None,
                [],
                "x",
            )
        )
        return self.assemble({"typ": self.rng.choice(types)}, {"body": body})

    def nest(self) -> str:
        depth = self.rng.choice((10, 500, 2_000))
        opened = self.rng.choice(("[", '{"a":'))
        raw = opened * depth + "1" + ("]" if opened == "[" else "}") * depth
        payload = self.payload({}).replace('"body": {"uptime_s": 1.0}', f'"body": {raw}')
        return self.seal(json.dumps({"alg": "HS256", "kid": self.key.key_id, "typ": "heartbeat"}), payload)

    def send_noise(self) -> str:
        length = self.rng.choice((0, 1, 10, 300, 9_000))
        ways: tuple[Callable[[], str], ...] = (
            lambda: self.rng.randbytes(length).decode("latin-1"),
            lambda: "".join(chr(self.rng.randrange(0xD800)) for _ in range(min(length, 300))),
            lambda: ".".join(_encode(self.rng.randbytes(length // 4)) for _ in range(3)),
            lambda: "." * length,
            lambda: self.seal(self.rng.randbytes(40).decode("latin-1"), self.rng.randbytes(80).decode("latin-1")),
        )
        return self.rng.choice(ways)()

    def payload(self, claims: dict[str, Any]) -> str:
        now = int(self.clock())
        whole = {
            "iss": self.key.node_id,
            "aud": "master",
            "iat": now,
            "exp": now + 60,
            "jti": self.rng.randbytes(9).hex(),
            "seq": 1,
            "body": {"uptime_s": 1.0},
            **claims,
        }
        return json.dumps(whole)

    def assemble(
        self, header: dict[str, Any], claims: dict[str, Any] | None = None, *, key: bytes | None = None
    ) -> str:
        """Sign any header and claims; with the node's real key unless another is named."""
        whole = {"alg": "HS256", "kid": self.key.key_id, "typ": "heartbeat", **header}
        return self.seal(json.dumps(whole), self.payload(claims or {}), key=key)

    def seal(self, header: str, payload: str, *, key: bytes | None = None) -> str:
        signed = f"{_encode(header.encode())}.{_encode(payload.encode())}"
        secret = self.key.secret.reveal() if key is None else key
        return f"{signed}.{_encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parts_of(text: str) -> list[bytes]:
    """Return the three parts, decoded: two texts can be one message, for the last bits of base64 carry nothing."""
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")]


class Oracle:
    """Says whether a message may pass, from the rules of the protocol as docs/handshake.md tells them."""

    def __init__(self, attacker: Attacker) -> None:
        self._attacker = attacker
        self._seen: dict[str, int] = {}

    def allows(self, text: str) -> bool:
        try:
            header, claims, signature = parts_of(text)
            head, body = json.loads(header), json.loads(claims)
        except (ValueError, RecursionError):
            return False
        signed = text.rpartition(".")[0].encode()
        key = self._attacker.key if head["kid"] == self._attacker.key.key_id else self._attacker.other
        if not hmac.compare_digest(hmac.new(key.secret.reveal(), signed, hashlib.sha256).digest(), signature):
            return False
        now, times = self._attacker.clock(), (body["iat"], body["exp"], body["seq"])
        if any(type(number) is not int or not 0 <= number <= 2**53 for number in times):
            return False
        fresh = body["exp"] + 60 >= now and body["iat"] - 60 <= now and 0 < body["exp"] - body["iat"] <= 60
        parties = (body["iss"], body["aud"]) == (key.node_id, "master")
        new = self._seen.get(body["jti"], 0) + 60 < now
        self._seen[body["jti"]] = body["exp"]
        return head["alg"] == "HS256" and head["kid"] == key.key_id and fresh and parties and new
