"""Patches of bots that were written without a fleet in mind, and of nodes that are processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

import nodekit
from handshake.messages import PatchOrder
from master.configuration.settings import NodeSettings
from master.services.onboarding.saga import RegisterRequest
from master.supervision.states import NodeState
from nodekit.patch_reactions import EMOJIS
from sandbox.permissions import EVERYONE_DEFAULT
from tests.nodekit.patching.patched_nodes import BETWEEN, COG, FILES, PatchedNode, bundle_of
from tests.services.conftest import OPERATOR
from tests.services.repair.actions.conftest import LivingHouse

pytestmark = pytest.mark.timeout(60)

PROGRAM = """\
import os, threading
import discord
from discord.ext import commands

# Another thread may hold anything: this process is not forked.
threading.Thread(target=threading.Event().wait, daemon=True).start()

class Bot(commands.Bot):
    async def setup_hook(self):
        await self.load_extension("cogs.ranks")

bot = Bot(command_prefix="!", intents=discord.Intents.default())
bot.run(os.environ["BOT_TOKEN"])
"""
NEW = {
    "cogs/ranks.py": "import os\nopen('tried', 'a').write(os.environ['BOT_TOKEN'] + '\\n')\n" + COG.format(version=2)
}


@pytest.fixture
async def program(living: LivingHouse) -> PatchedNode:
    """A linked program that knows nothing of us."""
    folder = living.settings.identity.bots_base_path / "oldbot"
    for path, text in {**FILES, **BETWEEN, "main.py": PROGRAM}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    bot = living.house.bot("oldbot")
    living.guild.add_bot(bot, bits=EVERYONE_DEFAULT)
    request = RegisterRequest(
        name="oldbot",
        token=living.house.token("oldbot"),
        folder="oldbot",
        entry="main.py",
        link=True,
        token_env="BOT_TOKEN",
        start=True,
    )
    await living.house.register(OPERATOR, request)
    node = living.house.services.directory.find("oldbot")
    await living.reach(node, NodeState.READY)
    return PatchedNode(living, node)


@pytest.mark.slow
async def test_a_program_that_knows_nothing_of_us_is_patched_and_goes_back(program: PatchedNode) -> None:
    services, token = program.living.house.services, (await program.token()).reveal()
    await program.order(program.publish(bundle_of(program.folder, NEW, reload=["ranks"])), good_after_s=0.1)
    await program.until("good")
    assert program.log == ["cog 1 with level 1", "cog 2 with level 1"]
    # Tried by an interpreter of its own, which is not given the token: then loaded.
    assert (program.folder / "tried").read_text().splitlines() == ["none: an import check", token]
    # What breaks when it is loaded takes back what was loaded before it.
    broken = {
        "cogs/zeta.py": "async def setup(bot):\n    raise RuntimeError('no')\n",
        "helpers/levels.py": "LEVEL = 5\n",
    }
    bundle = bundle_of(program.folder, broken, reload=["ranks", "zeta"])
    await program.order(program.publish(bundle), patch_id="P2")
    assert "RuntimeError: no" in (await program.until("failed")).detail
    assert program.log[2:] == ["cog 2 with level 5", "cog 2 with level 1"]
    # And one that needs a restart.
    bundle = bundle_of(program.folder, {"helpers/levels.py": "LEVEL = 3\n"})
    await program.order(program.publish(bundle), patch_id="P3")
    await program.until("applied", count=2)
    await services.supervisor.restart(program.node.id)
    await program.until("healthy", count=2)
    assert program.log[-1] == "cog 2 with level 3"


# Found where these tests found it: an environment of a node's own has it installed.
OF_ITS_OWN = NodeSettings(plain=True, isolated=False, env={"PYTHONPATH": str(Path(nodekit.__path__[0]).parent)})


@pytest.mark.slow
@pytest.mark.parametrize("node_settings", [OF_ITS_OWN])
async def test_a_process_of_its_own_is_settled_before_its_code_is_read(patched: PatchedNode) -> None:
    services = patched.living.house.services
    files = {"cogs/ranks.py": COG.format(version=2), "config.py": (patched.folder / "config.py").read_text() + "#"}
    await patched.order(patched.publish(bundle_of(patched.folder, files)))
    await patched.until("applied")
    await services.supervisor.restart(patched.node.id)
    await patched.until("healthy")
    await services.supervisor.restart(patched.node.id)
    assert (await patched.until("rolled_back")).release == 0
    assert patched.log == ["cog 1 with level 1", "cog 2 with level 1", "cog 1 with level 1"]


@pytest.mark.slow
async def test_reactions_show_how_it_goes_and_a_deleted_message_changes_nothing(patched: PatchedNode) -> None:
    person = patched.living.house.sandbox.create_human("bob")
    patched.living.guild.add_member(person)
    channel = patched.living.guild.create_channel("patches")
    message = await person.sends(channel, "ranks 2")
    bundle = bundle_of(patched.folder, {"cogs/ranks.py": COG.format(version=2)}, reload=["ranks"])
    orders = patched.living.house.services.tools.orders
    patch = PatchOrder(patch_id="P1", sha256=patched.publish(bundle), channel_id=channel.id, message_id=message.id)
    await orders.send(patched.node, "patch", patch=patch)
    await patched.until("healthy")
    shown = await channel.wait_for_message(lambda m: m.id == message.id and len(m.reactions) == 3)
    assert {str(emoji) for emoji in shown.reactions} == {EMOJIS[name] for name in ("received", "staged", "applied")}
    await person.deletes(message)
    await orders.send(patched.node, "patch_back", patch=patch)
    await patched.until("rolled_back")
    assert patched.words[-1] == "rolled_back"


async def test_one_that_was_ordered_before_it_was_posted_is_shown_on_its_message_later(patched: PatchedNode) -> None:
    person = patched.living.house.sandbox.create_human("bob")
    patched.living.guild.add_member(person)
    channel = patched.living.guild.create_channel("patches")
    bundle = bundle_of(patched.folder, {"cogs/ranks.py": COG.format(version=2)}, reload=["ranks"])
    digest = patched.publish(bundle)
    await patched.order(digest)
    await patched.until("healthy")
    message = await person.sends(channel, "ranks 2")
    orders = patched.living.house.services.tools.orders
    posted = PatchOrder(patch_id="P1", sha256=digest, channel_id=channel.id, message_id=message.id)
    assert await orders.send(patched.node, "patch_posted", patch=posted) == "noted"
    shown = await channel.wait_for_message(lambda m: m.id == message.id and len(m.reactions) == 3)
    assert {str(emoji) for emoji in shown.reactions} == {EMOJIS[name] for name in ("received", "staged", "applied")}
    # Also what an order says that names no message.
    await patched.order(digest, kind="patch_back")
    await channel.wait_for_message(lambda m: m.id == message.id and len(m.reactions) == 4)
