"""What a node says of itself when it proves itself."""

from __future__ import annotations

from handshake.messages import VerificationRequest
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from handshake.transports import channel
from nodekit.link import _that_fit


def test_a_verification_with_many_failed_cogs_still_fits_in_a_message_of_the_channel() -> None:
    names = tuple(f"{number:02}" + "ä" * 98 for number in range(20))
    request = VerificationRequest(
        licence="L" * 60,
        version="1.0.0",
        pid=2**22,
        pid_started_at=1e9,
        bot_user_id=2**63 - 1,
        started_at=1e10,
        python="3.14.0",
        library="discord.py 2.7.0",
        cogs_failed=_that_fit(names),
        offline_s=1e11,
    )
    text = Signer(NodeKey("0" * 26, 1, Secret(b"k" * 32)), from_master=False, clock=lambda: 1e9).sign(request)
    assert request.cogs_failed == names[:2]
    assert len(channel.wrap(text)) <= 2_000


def test_the_usual_few_are_all_named() -> None:
    assert _that_fit(("music", "fun")) == ("music", "fun")
    assert _that_fit(()) == ()
