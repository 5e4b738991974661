"""Drives a storm of presses on one giveaway: real interactions, each from another person; counts those that failed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox import ApplicationDidNotRespond, GuildHandle, Message, Person, Sandbox
from sandbox.interactions import FIRST_ANSWER_S


@dataclass(frozen=True, slots=True)
class StormResult:
    """What came of a storm."""

    presses: int
    entered: int
    failed: int
    """Answered after three seconds, or not at all: people saw "interaction failed"."""
    took_s: float
    p50_ms: float
    p95_ms: float
    worst_ms: float


def crowd(sandbox: Sandbox, guild: GuildHandle, count: int) -> list[Person]:
    """Have so many people join a server."""
    people = [sandbox.create_human(f"crowd{number}") for number in range(count)]
    for person in people:
        guild.add_member(person)
    return people


async def storm(people: Sequence[Person], message: Message, *, at_once: int = 200) -> StormResult:
    """Have each of these people press the first button of a message once.

    Parameters
    ----------
    at_once
        How many presses wait for their answer at a time.
    """
    custom_id = message.components[0]["components"][0]["custom_id"]
    waits_s: list[float] = []
    entered = failed = 0
    free = asyncio.Semaphore(at_once)

    async def press(person: Person) -> None:
        nonlocal entered, failed
        async with free:
            began = time.perf_counter()
            try:
                pressed = await person.presses(message, custom_id)
            except ApplicationDidNotRespond:
                failed += 1
                return
            took_s = time.perf_counter() - began
            waits_s.append(took_s)
            failed += took_s > FIRST_ANSWER_S
            answered = await pressed.wait_until(lambda interaction: bool(interaction.embeds))
            entered += "You are in" in answered.embeds[0]["title"]

    began = time.perf_counter()
    await asyncio.gather(*(press(person) for person in people))
    took_s = time.perf_counter() - began
    ordered = sorted(waits_s) or [0.0]
    return StormResult(
        presses=len(people),
        entered=entered,
        failed=failed,
        took_s=took_s,
        p50_ms=ordered[len(ordered) // 2] * 1_000,
        p95_ms=ordered[int(len(ordered) * 0.95)] * 1_000,
        worst_ms=ordered[-1] * 1_000,
    )
