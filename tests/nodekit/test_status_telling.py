"""A status of a patch reaches the master once it listens, in its order, and no message is too long for it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from handshake.boot import BootDocument
from handshake.messages import (
    MAX_MESSAGE_BYTES,
    Acknowledgement,
    Body,
    Heartbeat,
    PatchStatus,
    VerificationRequest,
    VerificationResponse,
)
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer, Verifier
from handshake.sockets import Peer
from handshake.transports.local import LocalServer
from nodekit.link import NodeFacts, NodeLink
from nodekit.status_telling import StatusTelling, bounded

pytestmark = pytest.mark.timeout(30)
KEY = NodeKey("N1", 1, Secret(b"k" * 32))


class Master:
    """Verifies messages, and answers them; the first status only with the request to prove itself again."""

    def __init__(self, path: Path) -> None:
        self.heard: list[str] = []
        self._asked = False
        self._verifier = Verifier(lambda _node, _epoch: KEY, clock=time.time, replay_guard=None, skew_s=None)
        self._signer = Signer(KEY, from_master=True, clock=time.time)
        self.server = LocalServer(path, self._take)

    def _take(self, text: str, peer: Peer) -> str | None:
        message = self._verifier.open(text)
        answer: Body | None = None
        if isinstance(message.body, VerificationRequest):
            self.heard.append("verification")
            answer = VerificationResponse(accepted=True)
        elif isinstance(message.body, PatchStatus):
            self.heard.append(message.body.status)
            answer = Acknowledgement() if self._asked else Acknowledgement(order="verify_again")
            self._asked = True
        return None if answer is None else self._signer.sign(answer, in_reply_to=message.token_id)


async def test_statuses_wait_for_the_verification_and_for_one_that_is_asked_for_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "nodes.sock"
    master = Master(path)
    boot = BootDocument(node_id="N1", name="atlas", token="", key=b"k" * 32, key_epoch=1, socket_path=str(path))
    link = NodeLink(
        boot,
        NodeFacts(licence="L", version="1", bot_user_id=1, library="discord.py"),
        describe=lambda: Heartbeat(uptime_s=1.0),
        post_to_channel=None,
        on_refused=lambda _reason: None,
    )
    telling = StatusTelling(link)
    telling.tell(PatchStatus(patch_id="P", status="received"))
    telling.tell(PatchStatus(patch_id="P", status="failed", detail="\N{PILE OF POO}" * 9_000))
    await asyncio.sleep(0)
    await master.server.start()
    running = asyncio.create_task(link.run())
    try:
        await asyncio.wait_for(telling.told(), 20)
        assert master.heard == ["verification", "received", "verification", "received", "failed"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await master.server.close()


def test_a_detail_keeps_its_end_and_fits() -> None:
    assert bounded("short") == "short"
    for unit in ("x", "\N{PILE OF POO}", '"\\\n\x01'):
        kept = bounded(unit * 10_000 + "the end")
        assert kept.endswith("the end")
        assert 1_000 < len(msgspec.json.encode(kept)) <= 3_000
        signed = Signer(KEY, from_master=False, clock=time.time).sign(
            PatchStatus(patch_id="P" * 100, status="rollback_failed", detail=kept, release=2**53)
        )
        assert len(signed) < MAX_MESSAGE_BYTES
