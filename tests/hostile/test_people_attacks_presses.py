"""Attacks over Discord itself, on a connected master: forged buttons, forms with codes, seeds before their time."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from master.configuration.settings import LicenceTier
from master.events import Event
from master.ledger.rows import giveaways
from master.security.vault import SeedVault
from master.services.core.actors import SYSTEM
from master.services.core.keys import master_secret_of
from nodekit.endpoints import apply_endpoints
from sandbox import Message, Person, Sandbox, permissions
from tests.cogs.patch_scene import PatchScene, answered, open_scene, settings_for
from tests.services.conftest import settings_in

pytestmark = pytest.mark.timeout(120)
CODE = re.compile(r"FM1(?:-[0-9A-Z]{5}){8}")


@pytest.fixture
async def stall(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> AsyncIterator[PatchScene]:
    """Yield a master whose giveaways run, and that has licences; ada is its operator, ben and eve are members."""
    ada, ben, eve = (sandbox.create_human(name) for name in ("ada", "ben", "eve"))
    guild = sandbox.create_guild("HQ", ada)
    for person in (ben, eve):
        guild.add_member(person)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account, bits=permissions.EVERYONE_DEFAULT)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_for(
        settings_in(tmp_path, sandbox, empty_ledger), guild, guild.create_channel("stall"), frozenset({ada.id})
    )
    settings = structs.replace(settings, licence_tiers=(LicenceTier(name="standard"), LicenceTier(name="pro", days=9)))
    async with open_scene(settings, sandbox, (ada, ben, eve), guild, account) as made:
        await made.connect()
        assert made.services.giveaways is not None
        running = asyncio.create_task(made.services.giveaways.run())
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def start(stall: PatchScene, **options: Any) -> Message:
    await stall.runs("giveaway start", {"prize": "a mug", "duration": "1h", **options})
    return await stall.channel.wait_for_message(lambda message: "seed" in str(message.embeds))


def id_of(message: Message) -> str:
    return str(message.embeds[0]["footer"]["text"]).removeprefix("Giveaway ")


async def presses(person: Person, message: Message, custom_id: str) -> str:
    """Press a button that the master never made; returns all that is answered."""
    button = {"type": 2, "style": 1, "label": "x", "custom_id": custom_id, "id": 99}
    message.components.append({"type": 1, "id": 98, "components": [button]})
    try:
        pressed = await answered(await person.presses(message, custom_id))
    finally:
        message.components.pop()
    return str([pressed.embeds, *(each.embeds for each in pressed.followups)])


async def redeems(stall: PatchScene, person: Person, code: str) -> str:
    """Fill the form, and return the answer."""
    form = await person.runs_command(stall.channel, stall.account, "licence redeem")
    return str((await answered(await person.submits_modal(form, {"Licence code": code}))).embeds)


async def test_forged_buttons_are_answered_and_do_nothing(stall: PatchScene, caplog: pytest.LogCaptureFixture) -> None:
    message = await start(stall)
    giveaway = id_of(message)
    words = ("", "%", "_" * 26, "'", "\0", "01", giveaway[:-1] + "?", giveaway.lower(), "é" * 26, "9" * 60)
    forged = [f"giveaway:{verb}:{word}" for verb in ("claim", "verify", "leave", "ended") for word in words]
    forged += [f"t_perm:{verb}:{word}" for verb in ("grant", "refuse", "x") for word in (*words, giveaway)]
    forged += ["giveaway", "giveaway::", f"giveaway:draw:{giveaway}", f"giveaway:reroll:{giveaway}", "t_perm", "x:y"]
    forged += [f"giveaway:claim:{giveaway}", f"giveaway:verify:{giveaway}", f"giveaway:enter:{giveaway}:0"]
    for custom_id in forged:
        assert "went wrong" not in await presses(stall.eve, message, custom_id[:100]), custom_id
    found = await stall.services.giveaway_records.view(giveaway)
    assert (found.state, found.won_by) == ("open", ())
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


async def test_neither_codes_nor_seeds_are_in_log_events_or_files(
    stall: PatchScene, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, "master")
    services, events = stall.services, list[str]()
    services.bus.on(Event, lambda event: events.append(repr(event)))
    issued = await stall.runs("licence issue", {"tier": "pro", "user": stall.ben})
    (code,) = CODE.findall(str(issued.embeds))
    assert "somebody else" in await redeems(stall, stall.eve, code)
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    said = [await redeems(stall, stall.eve, wrong) for _ in range(6)]
    assert "Too many wrong codes" in said[-1]
    assert "pro is yours" in await redeems(stall, stall.ben, code)

    message = await start(stall, prize_tier="pro")
    giveaway = await services.ledger.read(lambda c: giveaways.get(c, id_of(message)))
    assert giveaway is not None
    seed = SeedVault(master_secret_of(services.settings.identity)).unseal(giveaway.id, giveaway.sealed_seed)
    early = await presses(stall.eve, message, f"giveaway:verify:{giveaway.id}")
    assert "not drawn" in early
    assert not any(seed.hex() in text for text in (caplog.text, early, *events))
    assert not any(seed in content or seed.hex().encode() in content for content in _files(tmp_path))

    stall.eve.closes_direct_messages()
    assert "You are in" in await presses(stall.eve, message, f"giveaway:enter:{giveaway.id}")
    assert services.giveaways is not None
    await services.giveaways.end(giveaway.guild_id, giveaway.id, SYSTEM)
    claim = f"giveaway:claim:{giveaway.id}"
    claimed = [found for _ in range(2) for found in CODE.findall(await presses(stall.eve, message, claim))]
    assert len({code, *claimed}) == 3, "each press on Claim makes a new code"
    files = _files(tmp_path)
    for one in (code, wrong, *claimed):
        for form in (one, one.replace("-", "")):
            assert not any(form in text for text in (caplog.text, *events))
            assert not any(form.encode() in content for content in files)


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
