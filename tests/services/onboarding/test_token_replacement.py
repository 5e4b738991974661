"""Another token for a node: checked with Discord, sealed, and used at once."""

from __future__ import annotations

import pytest

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.ledger.rows import audit, tokens
from master.ledger.rows.records import Node, Outcome
from master.operations import changing
from master.operations import nodes as operations_on_nodes
from master.operations.parameters import NodeParams, SetTokenParams
from master.security.vault import TokenVault
from master.services.core.errors import OtherBot, TokenInUse, TokenRefused
from master.services.core.keys import master_secret_of
from master.services.core.views import TokenView
from master.services.onboarding.saga import CloneRequest, RegisterRequest
from sandbox import BotHandle
from tests.services.conftest import MASTER_ID, OPERATOR, QUIET_BOT, House


async def clone(house: House, name: str = "atlas", *, start: bool = True) -> tuple[Node, BotHandle]:
    bot = house.bot(name)
    await house.clone(OPERATOR, CloneRequest(name=name, token=Secret(bot.token), start=start))
    return house.services.directory.find(name), bot


async def set_token(house: House, token: str, *, name: str = "atlas", new_bot: bool = False) -> TokenView:
    return await house.operations.run(
        changing.set_token, OPERATOR, SetTokenParams(name=name, token=token, new_bot=new_bot)
    )


async def sealed_token(house: House, settings: Settings, node: Node) -> str:
    sealed = await house.services.ledger.read(lambda connection: tokens.load(connection, node.id))
    assert sealed is not None
    assert house.services.ledger_cache.token_of(node.id) in (None, sealed)
    return TokenVault(master_secret_of(settings.identity)).unseal(node.id, sealed).reveal()


async def test_a_token_that_was_reset_is_sealed_and_the_node_starts_with_it(
    house: House, house_settings: Settings
) -> None:
    node, bot = await clone(house)
    before = house.services.supervisor.pid_of(node.id)
    session = house_settings.sessions_dir / node.id
    session.unlink(missing_ok=True)
    session.write_bytes(b"of the old token")
    house.sandbox.world.set_token(bot.account)
    given = await set_token(house, bot.token)
    assert (given.other_bot, given.restarted, given.bot_name, given.notes) == (False, True, "atlas", ())
    assert house.services.supervisor.pid_of(node.id) not in (None, before)
    assert session.read_bytes()[:16] != b"of the old token"  # not resumed
    assert await sealed_token(house, house_settings, node) == bot.token
    (row,) = await house.services.ledger.read(lambda connection: audit.search(connection, action="set_token"))
    assert (row.node_id, row.outcome, row.detail) == (node.id, Outcome.DONE, f"atlas: bot {bot.id}")


async def test_another_bots_token_is_refused_unless_it_is_meant(house: House, house_settings: Settings) -> None:
    node, old = await clone(house, start=False)
    new = house.bot("new")
    with pytest.raises(OtherBot, match=rf"another bot, new \({new.id}\); atlas is {old.id}"):
        await set_token(house, new.token)
    assert await sealed_token(house, house_settings, node) == old.token
    given = await set_token(house, new.token, new_bot=True)
    assert (given.other_bot, given.restarted) == (True, False)
    assert "fleet start atlas" in given.notes[0]
    assert house.services.directory.find("atlas").bot_user_id == new.id
    assert house.services.directory.by_user(old.id) is None
    assert await sealed_token(house, house_settings, node) == new.token
    # The old bot is free again.
    await house.clone(OPERATOR, CloneRequest(name="borealis", token=Secret(old.token), start=False))


async def test_tokens_of_others_and_bad_ones_change_nothing(house: House, house_settings: Settings) -> None:
    node, bot = await clone(house, start=False)
    _, other = await clone(house, "borealis", start=False)
    with pytest.raises(TokenInUse, match="of the node 'borealis'"):
        await set_token(house, other.token, new_bot=True)
    for bad in ("", "x" * 60, house.sandbox.world.new_token(MASTER_ID)):
        with pytest.raises(TokenRefused):
            await set_token(house, bad, new_bot=True)
    assert await sealed_token(house, house_settings, node) == bot.token


async def test_a_dead_token_is_not_final(house: House) -> None:
    """A node that waits in backoff, for whatever reason, starts at once with its new token."""
    (house.template / "bot.py").write_text("raise SystemExit(65)\n")
    node, bot = await clone(house)
    await house.services.supervisor.wait_state(node.id, ["backoff", "quarantined"], timeout_s=20)  # type: ignore[list-item]
    told = house.services.overview.node(node)
    assert told.todo == "Discord refuses its token: fleet set-token atlas"
    (house.base / "atlas" / "bot.py").write_text(QUIET_BOT)
    house.sandbox.world.set_token(bot.account)
    given = await set_token(house, bot.token)
    assert (given.restarted, given.state) == (True, "starting")


async def test_a_bot_that_reads_its_token_itself_is_told_so(house: House) -> None:
    folder = house.base / "old"
    folder.mkdir(parents=True)
    (folder / "bot.py").write_text(QUIET_BOT)
    bot = house.bot("old")
    await house.register(OPERATOR, RegisterRequest(name="old", token=Secret(bot.token), folder="old"))
    pid = house.services.supervisor.pid_of(house.services.directory.find("old").id)
    given = await set_token(house, bot.token, name="old")
    assert not given.restarted
    assert "reads its token itself" in given.notes[0]
    assert house.services.supervisor.pid_of(house.services.directory.find("old").id) == pid


async def test_a_revoked_node_gets_its_token_and_stays_stopped(house: House) -> None:
    node, bot = await clone(house)
    await house.operations.run(operations_on_nodes.revoke, OPERATOR, NodeParams(name="atlas"))
    given = await set_token(house, bot.token)
    assert not given.restarted
    assert house.services.supervisor.pid_of(node.id) is None
