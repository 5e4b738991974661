"""/licence, as a buyer and a moderator use it on a server; what others see of it: nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from master.configuration.settings import LicenceTier, PeopleSettings
from master.ledger.rows import audit
from nodekit.endpoints import apply_endpoints
from sandbox import Interaction, Person, Sandbox
from sandbox.showing import form_lines, message_lines
from sandbox.world import World
from tests.cogs.conftest import Scene
from tests.services.conftest import open_house, settings_in

PRO = LicenceTier(name="pro", days=30, features=("exports", "music"))
TEAM = LicenceTier(name="te_am", people=3, transfers_a_month=0)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "licences.md"
CODE = re.compile(r"FM1(?:-[0-9A-Z]{5}){8}")


@dataclass
class Counter:
    """A server where ada moderates, and bo and eve do not."""

    scene: Scene
    ada: Person
    bo: Person
    eve: Person

    async def runs(self, who: Person, name: str, options: dict[str, Any] | None = None) -> Interaction:
        asked = await who.runs_command(self.scene.office, self.scene.account, name, options)
        answered = await asked.wait_until(lambda i: bool(i.embeds))
        assert answered.ephemeral, "nobody else reads it"
        return answered

    async def issues(self, **options: Any) -> tuple[str, str]:
        """Issue a licence as ada; returns its id and its code."""
        (embed,) = (await self.runs(self.ada, "licence issue", {"tier": "pro", **options})).embeds
        (code,) = CODE.findall(str(embed))
        return embed["footer"]["text"].removeprefix("licence "), code

    async def redeems(self, who: Person, code: str, command: str = "licence redeem") -> dict[str, Any]:
        """Fill the form, and return the answer."""
        form = await who.runs_command(self.scene.office, self.scene.account, command)
        assert form.modal is not None
        answered = await who.submits_modal(form, {"Licence code": code})
        await answered.wait_until(lambda i: bool(i.embeds))
        assert answered.ephemeral
        return answered.embeds[0]

    async def confirms(self, who: Person, question: Interaction, label: str, said: str) -> dict[str, Any]:
        """Press a button, and return the answer, which says something: in the question's place, or an error below."""

        def answers(interaction: Interaction) -> list[dict[str, Any]]:
            found = [*interaction.embeds, *(embed for each in interaction.followups for embed in each.embeds)]
            return [embed for embed in found if said in str(embed)]

        pressed = await who.presses(question, label)
        await pressed.wait_until(lambda i: bool(answers(i)))
        return answers(pressed)[0]

    async def suggestions(self, who: Person, command: str, typed: str = "", option: str = "licence") -> list[str]:
        asked = await who.autocompletes(self.scene.office, self.scene.account, command, {option: typed}, focused=option)
        return [choice["value"] for choice in asked]

    async def reason(self, who: Person, feature: str = "") -> str:
        return (await self.scene.house.services.licences.check_person(who.id, feature)).reason


@pytest.fixture
async def counter(tmp_path: Path, sandbox: Sandbox, empty_ledger: Path) -> AsyncIterator[Counter]:
    ada, bo, eve = (sandbox.create_human(name) for name in ("ada", "bo", "eve"))
    guild = sandbox.create_guild("HQ", sandbox.create_human("owner"))
    for person in (ada, bo, eve):
        guild.add_member(person)
    account = sandbox.create_bot("Fleetmaster")
    guild.add_bot(account)
    apply_endpoints(sandbox.api_base, sandbox.gateway_url)
    settings = settings_in(tmp_path, sandbox, empty_ledger)
    settings = structs.replace(
        settings,
        identity=structs.replace(settings.identity, guild_id=guild.id),
        channels=structs.replace(settings.channels, verify=0),
        moderators=PeopleSettings(user_ids=frozenset({ada.id})),
        licence_tiers=(PRO, TEAM),
    )
    async with open_house(settings, sandbox) as house:
        scene = Scene(house, sandbox, ada, guild, guild.create_channel("shop"), account)
        await scene.connect()
        yield Counter(scene, ada, bo, eve)
        await scene.disconnect()


async def test_a_licence_from_its_code_to_its_end(counter: Counter) -> None:
    licence_id, code = await counter.issues(note="thanks")
    (none,) = (await counter.runs(counter.bo, "licence show")).embeds
    assert "`/licence redeem`" in none["description"]

    done = await counter.redeems(counter.bo, f" {code.lower()} ")
    assert done["title"].endswith("pro is yours")
    assert "`exports`" in done["description"]
    assert await counter.reason(counter.bo, "exports") == "valid"
    (mine,) = (await counter.runs(counter.bo, "license show")).embeds
    assert mine["fields"][0]["name"].endswith("pro")
    assert licence_id[:8] in mine["fields"][0]["value"]

    for command, reason in (("suspend", "suspended"), ("reinstate", "valid"), ("renew", "valid")):
        (changed,) = (await counter.runs(counter.ada, f"licence {command}", {"licence": licence_id})).embeds
        assert f"{licence_id[:8]} is {command}" in changed["title"]
        assert await counter.reason(counter.bo) == reason

    asked = await counter.runs(counter.ada, "licence revoke", {"licence": licence_id[:6], "why": "a test"})
    assert asked.embeds[0]["title"] == f"Revoke the pro licence {licence_id[:8]}?"
    assert f"<@{counter.bo.id}>" in asked.embeds[0]["description"]
    assert await counter.reason(counter.bo) == "valid", "nothing is done before the button"
    await counter.confirms(counter.ada, asked, f"Revoke {licence_id[:8]}", "is revoked")
    assert await counter.reason(counter.bo) == "revoked"
    (shown,) = (await counter.runs(counter.ada, "licence show", {"licence": licence_id})).embeds
    history = next(field["value"] for field in shown["fields"] if field["name"] == "What became of it")
    for what in ("issued", "redeemed", "suspended", "reinstated", "renewed", "revoked", "a test"):
        assert what in history
    assert CODE.search(str(shown)) is None, "a code is shown once"


async def test_a_member_sees_and_changes_only_his_own(counter: Counter) -> None:
    licence_id, code = await counter.issues()
    await counter.redeems(counter.bo, code)
    for name, options in (
        ("licence issue", {"tier": "pro"}),
        ("licence list", {}),
        ("licence renew", {"licence": licence_id}),
        ("licence suspend", {"licence": licence_id}),
        ("licence reinstate", {"licence": licence_id}),
        ("licence revoke", {"licence": licence_id}),
        ("license revoke", {"licence": licence_id}),
    ):
        refused = await counter.runs(counter.eve, name, options)
        assert refused.embeds[0]["footer"]["text"] == "not_authorised", name
    (nothing,) = (await counter.runs(counter.eve, "licence show", {"licence": licence_id})).embeds
    assert nothing["title"].endswith("You have no such licence")
    asked = await counter.runs(counter.eve, "licence transfer", {"licence": licence_id, "to": counter.eve})
    await counter.confirms(counter.eve, asked, "Pass it on", "You hold no licence")
    assert await counter.suggestions(counter.eve, "licence show") == []
    assert await counter.suggestions(counter.bo, "licence show") == [licence_id]
    assert await counter.suggestions(counter.ada, "licence revoke", "PRO") == [licence_id]
    assert await counter.suggestions(counter.ada, "licence issue", "a", option="tier") == ["te_am"]
    assert await counter.reason(counter.bo) == "valid"


async def test_a_licence_is_passed_on_once_a_month(counter: Counter) -> None:
    licence_id, code = await counter.issues()
    await counter.redeems(counter.bo, code)
    asked = await counter.runs(counter.bo, "licence transfer", {"licence": licence_id, "to": counter.eve})
    done = await counter.confirms(counter.bo, asked, "Pass it on", "Eve's now")
    assert re.search(r"Until <t:[0-9]+:D>", done["description"])
    assert (await counter.reason(counter.bo), await counter.reason(counter.eve)) == ("not_found", "valid")
    back = await counter.runs(counter.eve, "licence transfer", {"licence": licence_id, "to": counter.bo})
    await counter.confirms(counter.eve, back, "Pass it on", "licence_too_many_transfers")
    to_a_bot = await counter.runs(counter.eve, "licence transfer", {"licence": licence_id, "to": counter.scene.account})
    assert "bot" in to_a_bot.embeds[0]["title"]


async def test_a_code_that_does_not_work_says_why(counter: Counter) -> None:
    _, code = await counter.issues()
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    refused = await counter.redeems(counter.bo, wrong)
    assert refused["footer"]["text"] == "licence_mistyped"
    await counter.redeems(counter.bo, code)
    for who, said in ((counter.bo, "licence_already_yours"), (counter.eve, "licence_too_many_people")):
        assert (await counter.redeems(who, code, "license redeem"))["footer"]["text"] == said
    meant, meant_code = await counter.issues(user=counter.bo)
    assert (await counter.redeems(counter.eve, meant_code))["footer"]["text"] == "licence_wrong_person"
    assert await counter.reason(counter.eve) == "not_found"
    listed = await counter.runs(counter.ada, "licence list", {"user": counter.bo})
    assert meant[:8] in listed.embeds[0]["description"]


async def test_a_code_is_nowhere_but_in_its_one_answer(
    counter: Counter, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    # discord.py writes each payload down at DEBUG, forms too; the master's own log has no such line at any level.
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "master")
    _, code = await counter.issues()
    await counter.redeems(counter.bo, code)
    await counter.redeems(counter.eve, code)
    rows = await counter.scene.house.services.ledger.read(lambda c: audit.search(c))
    assert [row.action for row in rows].count("licence_redeem") == 2
    await counter.scene.house.services.ledger.flush()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for text in (code, code.replace("-", ""), code.lower()):
        assert text not in caplog.text
        assert text not in repr(rows)
        assert text.encode() not in kept


async def test_the_pictures_in_the_docs_are_what_people_see(counter: Counter) -> None:
    world, documented = counter.scene.sandbox.world, DOCS.read_text("utf-8")
    issued = await counter.runs(counter.ada, "licence issue", {"tier": "pro", "note": "thanks for testing"})
    licence_id, code = issued.embeds[0]["footer"]["text"].removeprefix("licence "), CODE.findall(str(issued.embeds))[0]
    form = await counter.bo.runs_command(counter.scene.office, counter.scene.account, "licence redeem")
    assert form.modal is not None
    redeemed = await counter.bo.submits_modal(form, {"Licence code": code})
    await redeemed.wait_until(lambda i: bool(i.embeds))
    shown = await counter.runs(counter.ada, "licence show", {"licence": licence_id})
    asked = await counter.runs(counter.ada, "licence revoke", {"licence": licence_id})

    for picture in (
        said(world, issued, code, licence_id),
        "\n".join([*form_lines(form.modal), "", said(world, redeemed, code, licence_id)]),
        said(world, shown, code, licence_id),
        said(world, asked, code, licence_id),
    ):
        assert f"```text\n{picture}\n```" in documented, f"docs/licences.md should show\n{picture}"


def said(world: World, answered: Interaction, code: str, licence_id: str) -> str:
    """Return an answer as lines of text, with the same code, id and dates in each run."""
    assert answered.message is not None
    text = "\n".join(message_lines(world, answered.message))
    text = text.replace(code, "FM1-" + "-".join(["XXXXX"] * 8)).replace(licence_id, "8c1f0a52d3b94e67")
    text = text.replace(licence_id[:8], "8c1f0a52")
    return re.sub(r"<t:[0-9]+:f>", "23 November 2026 12:00", re.sub(r"<t:[0-9]+:D>", "23 November 2026", text))
