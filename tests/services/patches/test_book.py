"""What is held of roll-outs, and when it is on record."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from master.bus import EventBus
from master.events import PatchChanged
from master.ledger.database import Ledger
from master.ledger.rows import patches
from master.ledger.rows.records import Patch
from master.services.patches.book import PatchBook
from master.services.patches.progress import begin, progress_of, progress_text
from master.services.patches.template import PENDING
from tests.conftest import TurnableClock
from tests.services.patches.test_health import PLAN


def a_patch(clock: TurnableClock) -> Patch:
    return Patch(
        id="P1",
        name="ranks",
        channel="main",
        version=4,
        key_id="SHA256:k",
        author="ada",
        received_at=clock.now(),
        received_from="cli:root",
        bundle_hash=b"0" * 32,
        bundle_bytes=0,
        document="",
        state="received",
        rollout_plan=progress_text(begin(PLAN)),
        changed_at=clock.now(),
        changed_by="cli:root",
    )


@pytest.mark.timeout(20)
async def test_who_waits_in_the_moment_in_which_the_writing_ends_does_not_stop_the_loop(
    ledger: Ledger, clock: TurnableClock
) -> None:
    bus, waited = EventBus(), list[asyncio.Task[None]]()
    book = PatchBook(ledger, bus, clock)
    patch = a_patch(clock)
    await ledger.write(lambda connection: patches.insert(connection, patch))
    book.keep(patch, ())

    def publish(_event: object) -> None:
        # It begins when the writing is done, and before who waited for that is told.
        waited.append(asyncio.ensure_future(book.flush()))

    bus.publish = publish  # type: ignore[method-assign,assignment]
    book.put(replace(patch, state="approved"))
    async with asyncio.timeout(10):
        await book.flush()
        await asyncio.gather(*waited)
    assert len(waited) == 1
    assert book.is_flushed
    found = await ledger.read(lambda connection: patches.get(connection, patch.id))
    assert found is not None
    assert found.state == "approved"


async def test_what_became_of_the_template_is_told_as_that_and_the_patch_is_done_once(
    ledger: Ledger, clock: TurnableClock
) -> None:
    bus = EventBus()
    book, patch = PatchBook(ledger, bus, clock), a_patch(clock)
    await ledger.write(lambda connection: patches.insert(connection, patch))
    book.keep(patch, ())
    with bus.subscribe(PatchChanged) as events:
        for template in (PENDING, "patched"):
            progress = replace(progress_of(patch), template=template)
            book.put(replace(patch, state="done", rollout_plan=progress_text(progress)))
            await book.flush()
        told = [await events.get() for _ in range(2)]
    assert [(event.state, event.detail) for event in told] == [("done", ""), ("done", "template patched")]
