"""Lines and tracebacks of a hostile program: whatever they are, grouping them stays bounded in time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

from master.bus import EventBus
from master.ledger.database import Ledger
from master.ledger.rows import nodes
from master.services.healing import groups
from master.services.healing.error_book import ErrorBook
from master.services.healing.groups import ErrorGroups
from master.services.healing.library import SolutionLibrary
from master.services.healing.sighting import SeenIn, Sighting
from master.services.healing.templates import CAPACITY, Templates, looks_like_error
from nodekit.fingerprints import read_error
from tests.conftest import TurnableClock
from tests.hostile.effort import rounds
from tests.ledger.test_database import a_node

SIGNS = "abcdef0123456789 ////'''\"\"\"@@..::<>*\\-_()[]\x00\x1bé\u202e"
WORDS = (
    "Traceback (most recent call last):",
    '  File "/srv/bot.py", line 1, in f',
    '  File "' + "/" * 300 + '", line 9',
    "ValueError: boom",
    "  | ",
    "  +-+---------------- 1 ----------------",
    "    at x (/a.js:1:2)",
    "TypeError: x",
    "ERROR ",
    "(error code: 50013)",
    "\n",
    "403 Forbidden (error code: " * 3,
)


def lines(chance: random.Random, count: int) -> list[str]:
    """Return lines of signs that patterns look for, of any length."""
    found = []
    for _ in range(count):
        signs = "".join(chance.choices(SIGNS, k=chance.randrange(600)))
        found.append(f"ERROR {signs}" if chance.random() < 0.7 else chance.choice(WORDS) + signs[:50])
    return found


def test_templates_stay_few_and_small() -> None:
    chance, templates = random.Random(4), Templates()  # noqa: S311 - repeatable
    hostile = lines(chance, rounds(1_500))
    began = time.perf_counter()
    found = {templates.take(line) for line in hostile if looks_like_error(line)}
    seconds = time.perf_counter() - began
    assert len(templates) <= CAPACITY
    again = Templates()
    tracemalloc.start()
    for line in hostile[:500]:
        again.take(line)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 500 * 8_192, "a template is as long as a title, at most"
    print(f"{len(hostile)} hostile lines, {len(found)} templates: {len(hostile) / seconds:.0f} lines/s")


def test_no_text_ends_the_reader_of_tracebacks() -> None:
    chance, count, read = random.Random(5), rounds(300), 0  # noqa: S311 - repeatable
    slowest = 0.0
    for _ in range(count):
        text = lines(chance, chance.randrange(30))
        chance.shuffle(text)
        began = time.perf_counter()
        error = read_error(text)
        slowest = max(slowest, time.perf_counter() - began)
        if error is not None:
            read += 1
            assert len(error.fingerprint) == 16
    print(f"{count} hostile tracebacks, {read} read as errors; the slowest took {slowest * 1e3:.1f} ms")


async def test_a_node_that_writes_errors_of_all_kinds_fills_neither_memory_nor_ledger(
    ledger: Ledger, clock: TurnableClock, tmp_path: Path
) -> None:
    await ledger.write(lambda connection: nodes.insert(connection, a_node()))
    book = ErrorBook(ledger, clock, SolutionLibrary(tmp_path, tmp_path))
    kept = ErrorGroups(ledger=ledger, clock=clock, bus=EventBus(), book=book)
    chance, before = random.Random(6), ledger.statistics.writes  # noqa: S311 - repeatable
    hostile = [f"ERROR {line}" for line in lines(chance, rounds(1_500))]
    began = time.perf_counter()
    for number, line in enumerate(hostile):
        seen_in = chance.choice((SeenIn.STDERR, SeenIn.STDERR, SeenIn.EXIT, SeenIn.STATE))
        kept.take(Sighting(node_id="01A", at=clock.now(), seen_in=seen_in, text=line))
        clock.turn(0.0001 * (number % 7))
    seconds = time.perf_counter() - began
    kept.write_now()
    await ledger.flush()
    found = await kept.list_groups(limit=5_000)
    hours = int(clock.monotonic() - TurnableClock().monotonic()) // 3_600 + 1
    assert len(found) <= groups.NEW_EACH_NODE * hours + 1
    writes = ledger.statistics.writes - before
    print(f"{len(hostile)} hostile errors: {len(found)} groups, {writes} writes, {len(hostile) / seconds:.0f} a second")
    assert writes < 20 + 4 * len(hostile) // 1_000
