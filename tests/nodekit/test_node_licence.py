"""What a node remembers of licences, for how long, and what makes it forget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from handshake.errors import TransportError
from handshake.messages import LicenceCheck, LicenceStatus, Order
from nodekit import licence
from nodekit.command_errors import explain
from nodekit.licence import FeatureMissing, NodeLicences, licence_of, requires_feature
from nodekit.orders import carry_out

PERSON = 4_000_000_000_000_000_001


@dataclass
class Master:
    """The other end of the link: answers as it is set, at a time that the test sets too."""

    now_s: float = 1_000.0
    valid: bool = True
    is_away: bool = False
    reason: str = ""
    holds_s: float | None = 3_600.0
    asked: list[LicenceCheck] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None

    async def answer(self, question: LicenceCheck) -> LicenceStatus:
        self.asked.append(question)
        self.was_asked.set()
        status = LicenceStatus(
            state="active",
            tier="pro",
            valid=self.valid,
            reason=self.reason or ("valid" if self.valid else "no_feature"),
            holds_until=None if self.holds_s is None else self.now_s + self.holds_s,
        )
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise TransportError("the master is not there")
        return status

    def later(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def master() -> Master:
    return Master()


@pytest.fixture
async def client(master: Master) -> discord.Client:
    made = commands.Bot("!", intents=discord.Intents.none())
    clock: Callable[[], float] = lambda: master.now_s  # noqa: E731
    setattr(made, licence._ATTRIBUTE, NodeLicences(made, ask=master.answer, wall_clock=clock, monotonic=clock))
    return made


async def test_an_answer_is_asked_for_once_while_it_is_fresh_and_again_afterwards(
    client: discord.Client, master: Master
) -> None:
    licences = licence_of(client)
    for _ in range(3):
        assert (await licences.check(PERSON, "exports")).tier == "pro"
    assert master.asked == [LicenceCheck(user_id=PERSON, feature="exports")]
    await licences.check(discord.Object(PERSON), "imports")
    assert len(master.asked) == 2, "each feature is a question of its own"
    master.later(licence.FRESH_S + 1)
    master.valid = False
    assert not (await licences.check(PERSON, "exports")).valid


async def test_the_last_answer_holds_while_the_master_is_away_and_then_nobody_knows(
    client: discord.Client, master: Master
) -> None:
    licences = licence_of(client)
    await licences.check(PERSON)
    master.is_away = True
    master.later(3_599)
    assert (await licences.check(PERSON)).valid, "asked in vain, and the old answer holds"
    assert len(master.asked) == 2
    master.later(2)
    status = await licences.check(PERSON)
    assert (status.valid, status.reason) == (False, licence.NO_MASTER.reason)
    master.is_away = False
    assert (await licences.check(PERSON)).valid


async def test_a_master_without_its_ledger_is_as_good_as_away(client: discord.Client, master: Master) -> None:
    licences = licence_of(client)
    await licences.check(PERSON)
    master.valid, master.reason, master.holds_s = False, "unavailable", None
    master.later(licence.FRESH_S + 1)
    assert (await licences.check(PERSON)).valid


async def test_an_answer_never_holds_longer_than_a_week_however_the_clocks_are_set(
    client: discord.Client, master: Master
) -> None:
    licences = licence_of(client)
    master.holds_s = 10 * 365 * 86_400.0
    await licences.check(PERSON)
    master.is_away = True
    master.later(licence.MOST_HELD_S + 1)
    assert not (await licences.check(PERSON)).valid


async def test_an_order_of_the_master_makes_it_forget_at_once(client: discord.Client, master: Master) -> None:
    licences = licence_of(client)
    await licences.check(PERSON)
    await licences.check(PERSON + 1)
    master.valid = False
    result = await carry_out(client, Order(id="1", kind="check_licence", argument=str(PERSON)))
    assert result.done
    assert not (await licences.check(PERSON)).valid
    assert (await licences.check(PERSON + 1)).valid, "another person's is untouched"
    await carry_out(client, Order(id="2", kind="check_licence"))
    assert not (await licences.check(PERSON + 1)).valid


async def test_an_answer_that_was_on_its_way_when_the_licence_changed_is_not_remembered(
    client: discord.Client, master: Master
) -> None:
    licences, master.gate = licence_of(client), asyncio.Event()
    early = asyncio.create_task(licences.check(PERSON))
    await master.was_asked.wait()
    licences.forget(PERSON)
    master.gate.set()
    assert (await early).valid
    master.valid = False
    assert not (await licences.check(PERSON)).valid


async def test_who_asks_after_the_licence_changed_does_not_wait_for_an_older_answer(
    client: discord.Client, master: Master
) -> None:
    licences, master.gate = licence_of(client), asyncio.Event()
    early = asyncio.create_task(licences.check(PERSON))
    await master.was_asked.wait()
    licences.forget(PERSON)
    master.valid, held, master.gate = False, master.gate, None
    assert not (await licences.check(PERSON)).valid
    held.set()
    assert (await early).valid
    assert not (await licences.check(PERSON)).valid


async def test_many_who_ask_for_the_same_wait_for_one_answer(client: discord.Client, master: Master) -> None:
    licences = licence_of(client)
    found = await asyncio.gather(*(licences.check(PERSON, "exports") for _ in range(100)))
    assert all(status.valid for status in found)
    assert len(master.asked) == 1


async def test_a_master_that_does_not_answer_keeps_nobody_waiting(
    client: discord.Client, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licence, "PATIENCE_S", 0.05)
    licences, master.gate = licence_of(client), asyncio.Event()
    assert (await licences.check(PERSON)).state == "unknown"
    master.gate.set()


async def test_what_is_remembered_is_bounded(
    client: discord.Client, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(licence, "MOST_REMEMBERED", 10)
    licences = licence_of(client)
    for number in range(100):
        await licences.check(number + 1)
    assert len(licences._remembered) == 10


async def test_a_bot_that_was_started_by_hand_has_no_licence_and_says_so() -> None:
    alone = commands.Bot("!", intents=discord.Intents.none())
    assert await licence_of(alone).check(PERSON) == licence.NO_MASTER
    assert await licence_of(alone).own() == licence.NO_MASTER


def test_the_check_is_there_however_the_command_is_made() -> None:
    @app_commands.command()
    @requires_feature("exports")
    async def below(interaction: discord.Interaction) -> None: ...

    @requires_feature("exports")
    @app_commands.command()
    async def above(interaction: discord.Interaction) -> None: ...

    @commands.command()
    @requires_feature("exports")
    async def typed(context: commands.Context[commands.Bot]) -> None: ...

    @requires_feature("exports")
    @commands.hybrid_command()
    async def both(context: commands.Context[commands.Bot]) -> None: ...

    @requires_feature()
    @app_commands.context_menu()
    async def menu(interaction: discord.Interaction, member: discord.Member) -> None: ...

    assert [len(below.checks), len(above.checks), len(menu.checks)] == [1, 1, 1]
    assert [len(typed.checks), len(both.checks)] == [1, 1]


@pytest.mark.parametrize("reason", [*licence._REASONS, "wrong_person"])
def test_who_lacks_a_feature_is_told_what_is_wrong(reason: str) -> None:
    error = FeatureMissing("exports", LicenceStatus(state="none", reason=reason))
    told = explain(error)
    assert told is not None
    assert told.startswith("This needs a licence with `exports`: ")
    assert told.endswith(".")
