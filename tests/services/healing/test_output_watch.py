"""What nodes write is looked through for errors: each is seen once, wherever it shows, and soon."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from handshake.messages import ErrorReport
from master.events import (
    BoxOffline,
    BoxOnline,
    ErrorReported,
    NodeDegraded,
    NodeExited,
    NodeHeld,
    NodeQuarantined,
    NodeStopped,
)
from master.ledger.rows.records import ReadinessKind
from master.services.healing.sighting import SeenIn
from tests.services.healing.intake import Intake

TRACEBACK = """\
Traceback (most recent call last):
  File "/bots/atlas/bot.py", line 3, in <module>
    fail()
ValueError: known trouble
"""


async def test_a_line_that_a_solution_knows_is_found_with_the_lines_before_it(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.write("atlas", "TRIGGER old\n")
    intake.add("atlas")
    async with intake.running():
        intake.write("atlas", "one\ntwo\nTRIGGER this\n")
        sighting = await intake.seen("TRIGGER")
    (finding,) = intake.findings
    assert (sighting.node_id, sighting.seen_in, sighting.text) == ("atlas", SeenIn.STDERR, "TRIGGER this")
    assert sighting.lines_before == ("one", "two")
    assert [dict(match.captures) for match in finding.matches] == [{"what": "this"}]
    assert finding.sighting.fingerprint == "group1"


async def test_a_traceback_in_two_readings_is_one_error(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    half = TRACEBACK.index("    fail()") + 7
    async with intake.running():
        intake.write("atlas", "starting\n" + TRACEBACK[:half])
        # Another node shows that the first half has been read.
        intake.add("borealis")
        intake.write("borealis", "TRIGGER that\n\n\n\n\n")
        await intake.seen("TRIGGER that")
        intake.write("atlas", TRACEBACK[half:] + "next line\n")
        sighting = await intake.seen("ValueError")
    assert sighting.text == TRACEBACK.strip()
    assert (sighting.exception, sighting.lines_before) == ("ValueError", ("starting",))
    assert len(intake.grouped.sightings) == 2


async def test_what_does_not_go_on_is_taken_as_it_is(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        intake.write("atlas", TRACEBACK.rstrip())
        sighting = await intake.seen("ValueError")
    assert sighting.text == TRACEBACK.strip()


async def test_an_exit_is_told_at_once_and_its_output_does_not_count_it_again(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        intake.write("atlas", TRACEBACK)
        intake.exit("atlas")
        sighting = await intake.seen("ValueError")
        intake.write("atlas", "TRIGGER afterwards\n\n\n\n\n")
        await intake.seen("TRIGGER")
    assert (sighting.seen_in, sighting.text.splitlines()[0]) == (SeenIn.EXIT, "exit code 1")
    assert [one.seen_in for one in intake.grouped.sightings] == [SeenIn.EXIT, SeenIn.STDERR]
    assert [finding.sighting.seen_in for finding in intake.findings] == [SeenIn.EXIT, SeenIn.STDERR]


async def test_a_solution_of_the_output_alone_is_found_though_the_exit_was_counted(tmp_path: Path) -> None:
    intake = Intake(tmp_path, seen_in='["stderr"]')
    intake.add("atlas")
    found = asyncio.Event()
    intake.monitor.follow(lambda _: found.set())
    async with intake.running():
        intake.write("atlas", TRACEBACK)
        intake.exit("atlas")
        await asyncio.wait_for(found.wait(), 30)
    assert [one.seen_in for one in intake.grouped.sightings] == [SeenIn.EXIT]
    assert intake.findings[0].sighting.fingerprint == "group1"


async def test_a_crash_loop_counts_each_exit(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        for _ in range(5):
            intake.write("atlas", TRACEBACK)
            intake.exit("atlas")
        await intake.grouped.until(lambda: len(intake.grouped.sightings) == 5)
        intake.write("atlas", "TRIGGER end\n\n\n\n\n")
        await intake.seen("TRIGGER end")
    assert [one.seen_in for one in intake.grouped.sightings] == [SeenIn.EXIT] * 5 + [SeenIn.STDERR]


async def test_what_a_process_wrote_before_its_end_is_not_of_its_successor(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        intake.write("atlas", "TRIGGER before\n")
        at = intake.clock.now() - timedelta(seconds=20)
        intake.bus.publish(NodeStopped(at=at, node_id="atlas"))
        intake.write("atlas", "TRIGGER after\n")
        before, after = await intake.seen("before"), await intake.seen("after")
    assert before.at == at
    assert after.at > at


async def test_standard_output_counts_for_programs_that_do_not_speak_the_protocol(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    intake.add("plain", ReadinessKind.PROCESS)
    async with intake.running():
        for name in ("atlas", "plain"):
            intake.write(name, f"RuntimeError: printed by {name}\n", stdout=True)
        sighting = await intake.seen("printed by")
    assert (sighting.node_id, sighting.seen_in) == ("plain", SeenIn.STDOUT)
    assert len(intake.grouped.sightings) == 1


async def test_standard_output_of_all_counts_while_a_solution_applies_to_it(tmp_path: Path) -> None:
    intake = Intake(tmp_path, seen_in='["stdout"]')
    intake.add("atlas")
    async with intake.running():
        intake.write("atlas", "TRIGGER printed\n", stdout=True)
        assert (await intake.seen("TRIGGER")).seen_in is SeenIn.STDOUT


async def test_a_report_covers_what_the_node_prints_of_it(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    report = ErrorReport(
        source="event",
        where="on_message",
        exception="ValueError",
        fingerprint="0123456789abcdef",
        message="known trouble",
        traceback=TRACEBACK,
    )
    async with intake.running():
        intake.bus.publish(ErrorReported(at=intake.clock.now(), node_id="atlas", report=report))
        intake.write("atlas", "[ERROR] discord.client: Ignoring exception in on_message\n" + TRACEBACK)
        intake.write("atlas", "TRIGGER afterwards\n\n\n\n\n")
        await intake.seen("afterwards")
    assert [one.seen_in for one in intake.grouped.sightings] == [SeenIn.REPORT, SeenIn.STDERR]
    assert intake.texts[0].startswith("event on_message: ValueError: known trouble\nTraceback")


async def test_states_are_seen_and_those_that_follow_from_an_exit_make_no_group(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        now = intake.clock.now()
        intake.bus.publish(NodeQuarantined(at=now, node_id="atlas", detail="exit code 1; too many exits"))
        intake.bus.publish(NodeDegraded(at=now, node_id="atlas", detail="no pulse for 27 s"))
        await intake.seen("degraded: no pulse for 27 s")
    assert len(intake.grouped.sightings) == 1


async def test_while_the_box_is_offline_nobody_is_blamed_for_it(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    intake.add("atlas")
    async with intake.running():
        now = intake.clock.now()
        # Held: it ended for want of Discord, though the box was not yet known to be offline when it ended.
        intake.exit("atlas")
        intake.bus.publish(NodeHeld(at=now, node_id="atlas"))
        intake.write("atlas", "KeyError: 'before'\n\n\n\n\n")
        await intake.seen("before")
        intake.bus.publish(BoxOffline(at=now, why="no network"))
        intake.exit("atlas")
        intake.bus.publish(NodeDegraded(at=now, node_id="atlas", detail="no connection"))
        intake.write("atlas", "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host discord.com\n")
        intake.write("atlas", "KeyError: 'a bug of its own'\n")
        await intake.seen("a bug of its own")
        intake.bus.publish(NodeExited(at=now, node_id="atlas", signal=9, detail="signal SIGKILL"))
        await intake.seen("SIGKILL")
        intake.bus.publish(BoxOnline(at=now, since=now, duration_s=1))
        intake.exit("atlas", "exit code 3")
        await intake.seen("exit code 3")
    assert [text.splitlines()[0] for text in intake.texts] == [
        "KeyError: 'before'",
        "KeyError: 'a bug of its own'",
        "signal SIGKILL",
        "exit code 3",
    ]


async def test_a_node_that_is_renamed_or_removed_is_followed(tmp_path: Path) -> None:
    intake = Intake(tmp_path)
    node = intake.add("atlas")
    async with intake.running():
        intake.directory.discard(node.id)
        intake.add("borealis")
        intake.write("atlas", "TRIGGER of nobody\n")
        intake.write("borealis", "TRIGGER of another\n\n\n\n\n")
        await intake.seen("of another")
    assert len(intake.grouped.sightings) == 1
