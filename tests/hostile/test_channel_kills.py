"""A master killed at any step of a repair: the next one finishes it, and makes nothing twice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from master.configuration.settings import Settings
from sandbox import Sandbox
from tests.hostile.effort import rounds
from tests.services.channels.channel_scene import Scene, Server, master_on, server_on
from tests.services.conftest import house_settings

__all__ = ["house_settings"]

pytestmark = pytest.mark.timeout(300)
STEPS = 14
"""That five repairs have at least: a record before, the request, a record after; some need no more."""
OWN = ("log", "patch", "tickets", "transcripts")


class Killed(BaseException):
    """The master's end, at one step."""


def kill_at(scene: Scene, step: int, *, carried_out: bool) -> Callable[[], int]:
    """End the master at the nth thing that it writes or has Discord do; returns what counts them."""
    counter = itertools.count()
    seen = 0

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        async def act(*args: Any, **more: Any) -> Any:
            nonlocal seen
            seen = next(counter)
            if seen == step and not carried_out:
                raise Killed
            answer = await call(*args, **more)
            if seen == step:
                raise Killed
            return answer

        return act

    ledger, port = scene.services.ledger, scene.services.channels.tools.port
    ledger.write = guarded(ledger.write)  # type: ignore[method-assign]
    for name in ("create_channel", "edit_channel"):
        setattr(port, name, guarded(getattr(port, name)))
    return lambda: seen


async def killed_at(server: Server, step: int, *, carried_out: bool) -> bool:
    """Delete channels, kill the master at a step, have another one look; False if it was not killed at all."""
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        for name in OWN:
            await server.ada.deletes_channel(server.one(name))
        await server.ada.renames_channel(server.one("verify"), "oops")
        kill_at(scene, step, carried_out=carried_out)
        try:
            await scene.services.channels.keeper.look()
        except Killed:
            killed = True
        else:
            killed = False
    async with master_on(server, looks=False) as scene:
        await scene.services.channels.keeper.look()
        expected = sorted([*OWN, "verify", "office", "general"])
        assert server.all_names() == expected, (step, carried_out)
        settings = scene.services.settings
        assert settings.channels.log == server.one("log").id
        assert settings.tickets.categories["support"].log_channel_id == server.one("transcripts").id
        assert server.one("transcripts").channel.parent_id == server.one("tickets").id
        assert {one.state for one in await scene.repairs()} <= {"repaired", "found"}, (step, carried_out)
    return killed


@pytest.mark.parametrize(("step", "carried_out"), [(0, False), (1, True), (2, False)])
async def test_killed_around_the_first_creation(
    sandbox: Sandbox, house_settings: Settings, step: int, carried_out: bool
) -> None:
    assert await killed_at(server_on(sandbox, house_settings), step, carried_out=carried_out)


@pytest.mark.slow
async def test_killed_at_any_step(sandbox: Sandbox, house_settings: Settings) -> None:
    """Any of the steps of five repairs, before it or after it; ``FLEET_FUZZ`` for more of them."""
    sandbox.rate_limits.enabled = False
    rng = random.Random(5)  # noqa: S311 - which steps are tried is no secret
    kills, tried = 0, rounds(4)
    for _ in range(tried):
        server = server_on(sandbox, house_settings, most_an_hour=1_000)
        kills += await killed_at(server, rng.randrange(STEPS), carried_out=rng.random() < 0.5)
    print(f"killed {kills} times in {tried} repairs of five channels; nothing was made twice")
    assert kills == tried
