"""What a cog asks fits in a message, and is answered with a reason even where there is no master."""

from __future__ import annotations

import discord
import pytest

from handshake.messages import MAX_MESSAGE_BYTES, TicketRequest
from handshake.redaction import Secret
from handshake.signing import NodeKey, Signer
from nodekit.tickets import TicketDesk, _that_fit


@pytest.mark.parametrize("unit", ["x", "ä", "\N{PILE OF POO}", '"\\', "\x01"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_form_of_any_characters_fits_in_a_message(unit: str, count: int) -> None:
    answers = _that_fit([unit * 1_000] * count)
    assert len(answers) == count
    assert all(answer.startswith(unit * 100) for answer in answers)
    request = TicketRequest("open", "T" * 26, 2**63 - 1, category="c" * 40, answers=answers)
    text = Signer(NodeKey("0" * 26, 1, Secret(b"k" * 32)), from_master=False, clock=lambda: 1e9).sign(request)
    assert len(text) <= MAX_MESSAGE_BYTES


def test_short_answers_stay_as_they_are() -> None:
    assert _that_fit(["the stove", ""]) == ("the stove", "")
    assert _that_fit([]) == ()


async def test_outside_of_a_fleet_each_question_is_answered_with_a_reason() -> None:
    desk, person = TicketDesk(discord.Client(intents=discord.Intents.none())), discord.Object(7)
    for asked in (desk.open("support", person), desk.claim("T", person), desk.list(), desk.find("T")):
        answer = await asked
        assert (answer.done, answer.code) == (False, "master_away")
        assert answer.reason.startswith("Whoever keeps the tickets is not there now.")
    assert await desk.categories() == ()
    assert (await desk.add("T", person, person)).code == "master_away"
    assert not (await desk.remove("T", person, person)).granted
