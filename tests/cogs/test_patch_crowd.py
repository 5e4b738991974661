"""All nodes react at the same time: each reaction is written down, and the master makes no request for any."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from urllib.parse import quote

import aiohttp

from sandbox import BotHandle, Message
from tests.cogs.patch_scene import PatchScene
from tests.hostile.effort import rounds

NODES = 25
TOLD = ("📥", "📦", "✅")


async def react(http: aiohttp.ClientSession, office: PatchScene, bot: BotHandle, message: Message) -> int:
    """React as a node does, one after the other; returns how often it had to wait."""
    waited = 0
    for emoji in TOLD:
        at = f"/channels/{message.channel_id}/messages/{message.id}/reactions/{quote(emoji)}/@me"
        while True:
            headers = {"Authorization": f"Bot {bot.token}"}
            async with http.put(office.sandbox.api_base + at, headers=headers) as response:
                if response.status == 204:
                    break
                assert response.status == 429
                waited += 1
                await asyncio.sleep((await response.json())["retry_after"])
    return waited


def has_controls(message: Message) -> bool:
    return len(message.reactions) == 4


def requests_of_the_master(office: PatchScene) -> Counter[str]:
    ours = "PUT /channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me"
    return Counter({name: count for name, count in office.sandbox.requests.items() if name != ours})


async def test_25_nodes_that_react_at_once_are_all_written_down_without_a_request(office: PatchScene) -> None:
    await office.connect()
    names = [f"node{number}" for number in range(NODES)]
    ids = dict(zip(names, await office.add_nodes(*names), strict=True))
    for _ in range(rounds(1)):
        patch_id = await office.receive(state="rolling")
        message = await office.message_of(patch_id)
        await office.until(partial(has_controls, message))
        before, refused = requests_of_the_master(office), office.sandbox.rate_limits.refused
        groups = office.services.ledger.statistics.groups
        async with aiohttp.ClientSession() as http:
            waits = await asyncio.gather(*(react(http, office, office.bots[name], message) for name in names))
        found = await office.tracked(patch_id, lambda rows: len(rows) == NODES * len(TOLD))
        assert Counter((row.node_id, row.emoji) for row in found) == Counter(
            {(node_id, emoji): 1 for node_id in ids.values() for emoji in TOLD}
        )
        assert requests_of_the_master(office) == before
        # Each node waits for itself; the master is never refused.
        assert office.sandbox.rate_limits.refused - refused == sum(waits)
        groups = office.services.ledger.statistics.groups - groups
        print(f"{len(found)} reactions of {NODES} nodes, {sum(waits)} waits, {groups} transactions")
        assert groups < len(found)
