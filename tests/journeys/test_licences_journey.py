"""A licence is sold by a shop, opens a command of a running bot, and closes it the moment it is revoked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from master.demonstration.stage import EventTap, Stage
from sandbox import BotHandle, Person
from tests.child_template.template_nodes import ask, copy_template, start_node, told
from tests.intake.conftest import free_port
from tests.intake.sending import send
from tests.services.people.shop_examples import STRIPE_SECRET, checkout, refund, signature, stripe_event

DOCS = Path(__file__).resolve().parents[2] / "docs"
CODE = re.compile(r"FM1(?:-[0-9A-Z]{5}){8}")
CONFIG = """
LICENCES = {{"standard": 0, "pro": {{"DAYS": 30, "FEATURES": ["exports"]}}}}
SHOP = {{"PORT": {port}, "PRODUCTS": {{"plink_1Pro": "pro"}}}}
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def shop(empty_ledger: Path) -> AsyncIterator[tuple[Stage, int]]:
    """Yield a master that sells, and the port of its webhook."""
    port = free_port()
    async with Stage(pulse_s=0.5, ledger=empty_ledger) as stage:
        with (stage.home / "config.py").open("a") as config:
            config.write(CONFIG.format(port=port))
        with (stage.home / ".env").open("a") as env:
            env.write(f"STRIPE_WEBHOOK_SECRET={STRIPE_SECRET}\n")
        await stage.start_master()
        yield stage, port
        if stage.sandbox.conformance is not None:
            assert stage.sandbox.conformance.violations == []


async def tell(port: int, body: bytes) -> object:
    """Post what Stripe would; returns the answer."""
    head = f"POST /hooks/licence/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    answer = await send(port, f"{head}Stripe-Signature: {signature(body)}\r\n\r\n".encode() + body)
    assert answer.status == 200
    return answer.content


async def says(stage: Stage, person: Person, bot: BotHandle, words: str) -> None:
    """Use the command until it answers so: an order to the bot takes milliseconds, and is not waited for."""
    async with asyncio.timeout(8):
        while words not in await answer_to(stage, person, bot):
            pass


async def answer_to(stage: Stage, person: Person, bot: BotHandle) -> str:
    """Use the command as a slash command; returns what it says."""
    answered = await person.runs_command(stage.office, bot, "export")
    await answered.wait_until(lambda i: bool(i.embeds or i.content))
    return told(answered)


async def test_a_licence_opens_a_command_of_a_bot_and_closes_it_at_once(shop: tuple[Stage, int]) -> None:
    stage, port = shop
    async with stage.listen() as tap:
        # With the cog of docs/licences.md.
        (cog,) = re.findall(r"```python\n(from discord.*?)```", (DOCS / "licences.md").read_text("utf-8"), re.DOTALL)
        folder = stage.home / "bots" / "atlas"
        copy_template(folder, {"exports.py": cog})
        atlas = await start_node(stage, tap, folder)
        buyer, other = stage.sandbox.create_human("buyer"), stage.sandbox.create_human("other")
        for person in (buyer, other):
            stage.guild.add_member(person)
        denied = await answer_to(stage, buyer, atlas)
        assert denied == "This needs a licence with `exports`: you have none. `/licence redeem` takes its code."

        paid = checkout(metadata={"discord_id": str(buyer.id)})
        assert await tell(port, stripe_event("checkout.session.completed", paid)) == {"outcome": "issued"}
        thanks = await direct_message(stage, buyer)
        assert thanks.startswith("Thank you! The licence **pro** is yours until <t:")
        await says(stage, buyer, atlas, "Here is your export.")
        assert (await ask(stage, buyer, atlas, "export")).content == "Here is your export.", "as text too"
        assert (await answer_to(stage, other, atlas)).startswith("This needs a licence")

        assert await tell(port, stripe_event("charge.refunded", refund(), "evt_2")) == {"outcome": "revoked"}
        await says(stage, buyer, atlas, "was revoked")
        await redeems_and_loses(stage, tap, atlas, other)


async def direct_message(stage: Stage, person: Person) -> str:
    channel = await person.sends_direct(stage.master_bot, "hello?")
    message = await channel.wait_for_message(lambda m: m.author.id == stage.master_bot.id)
    return message.content


async def redeems_and_loses(stage: Stage, tap: EventTap, atlas: BotHandle, person: Person) -> None:
    """Issue a licence, redeem it in the form, use it, revoke it by the button."""
    ada, office, master = stage.operator, stage.office, stage.master_bot
    issued = await ada.runs_command(office, master, "licence issue", {"tier": "pro", "user": person})
    await issued.wait_until(lambda i: bool(i.embeds))
    form = await person.runs_command(office, master, "licence redeem")
    redeemed = await person.submits_modal(form, {"Licence code": CODE.findall(str(issued.embeds))[0]})
    await redeemed.wait_until(lambda i: bool(i.embeds))
    # The refusal was remembered: the master has told the bot to forget it.
    await says(stage, person, atlas, "Here is your export.")

    licence_id = issued.embeds[0]["footer"]["text"].removeprefix("licence ")
    question = await ada.runs_command(office, master, "license revoke", {"licence": licence_id})
    await question.wait_until(lambda i: bool(i.embeds))
    pressed = await ada.presses(question, f"Revoke {licence_id[:8]}")
    await pressed.wait_until(lambda i: "is revoked" in str(i.embeds))
    await says(stage, person, atlas, "was revoked")
