"""Groups of errors over a real ledger: what is one error, what is news, and what an operator says of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from master.bus import EventBus
from master.configuration.settings import DatabaseSettings
from master.events import AlertRaised, ErrorGrouped, NodeExited
from master.ledger.database import Ledger
from master.ledger.rows import error_events, error_groups, nodes
from master.ledger.rows.retention import prune
from master.services.core.actors import Actor
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.healing import group_alerts, groups
from master.services.healing.error_book import ErrorBook
from master.services.healing.errors import NoSuchErrorGroup
from master.services.healing.group_alerts import GroupAlerts
from master.services.healing.groups import ErrorGroups
from master.services.healing.library import SolutionLibrary
from master.services.healing.sighting import SeenIn, Sighting
from tests.conftest import TurnableClock
from tests.ledger.test_database import a_node

ADA = Actor(face="cli", identity="ada", name="ada")
TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/atlas/cogs/mod.py", line {line}, in ban
    await member.ban()
  File "/srv/venv/lib/python3.11/site-packages/discord/http.py", line 1, in request
    raise Forbidden(response, data)
discord.errors.Forbidden: 403 Forbidden (error code: {code}): Missing {what}"""
ACCESS = TRACEBACK.format(line=7, code=50001, what="Access")
PERMISSIONS = TRACEBACK.format(line=9, code=50013, what="Permissions")
SOLUTION = """\
id = "no_permission"
title = "The bot lacks a permission"
applies_to = ["stderr"]
patterns = ['^discord\\.errors\\.Forbidden: 403 Forbidden \\(error code: 50013\\)']
[action]
name = "notify"
[samples]
match = ["discord.errors.Forbidden: 403 Forbidden (error code: 50013): Missing Permissions"]
"""


class Room:
    """Groups of errors with what is around them, and what they told."""

    def __init__(self, ledger: Ledger, clock: TurnableClock, folder: Path) -> None:
        self.ledger, self.clock, self.bus = ledger, clock, EventBus()
        self.alerts: list[AlertRaised] = []
        self.events: list[ErrorGrouped] = []
        self.arrived = asyncio.Event()
        self.bus.on(AlertRaised, self._on_alert)
        self.bus.on(ErrorGrouped, self.events.append)
        directory = NodeDirectory(self.bus, clock)
        for node_id, name in (("01A", "atlas"), ("01B", "borealis")):
            directory.put(a_node(node_id, name, 2**60 + ord(name[0])))
        self.groups = ErrorGroups(
            ledger=ledger,
            clock=clock,
            bus=self.bus,
            book=ErrorBook(ledger, clock, SolutionLibrary(folder, folder / "none")),
            alerts=GroupAlerts(Alerts(self.bus, directory, clock), directory, clock),
        )
        self.task = asyncio.create_task(self.groups.run())

    def _on_alert(self, alert: AlertRaised) -> None:
        self.alerts.append(alert)
        self.arrived.set()

    def take(self, text: str, *, node: str = "01A", seen_in: SeenIn = SeenIn.STDERR, **more: Any) -> str:
        return self.groups.take(Sighting(node_id=node, at=self.clock.now(), seen_in=seen_in, text=text, **more))

    async def tell(self) -> list[str]:
        """Return the titles of the alerts that come when it is their time."""
        self.alerts.clear()
        self.clock.turn(group_alerts.WAIT_S + 0.1)
        await self.turn()
        return [alert.title for alert in self.alerts]

    async def turn(self) -> None:
        """Let the task work off what is due."""
        self.groups._changed.set()
        await self.ledger.flush()
        for _ in range(5):
            await asyncio.sleep(0)
        await self.ledger.read(lambda connection: None)
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def room(ledger: Ledger, clock: TurnableClock, tmp_path: Path) -> AsyncIterator[Room]:
    def add(connection: Any) -> None:
        nodes.insert(connection, a_node("01A", "atlas", 1))
        nodes.insert(connection, a_node("01B", "borealis", 2))

    await ledger.write(add)
    made = Room(ledger, clock, tmp_path)
    await made.turn()
    yield made
    await made.end()


async def again(room: Room, folder: Path) -> Room:
    """Return what the next master has."""
    await room.end()
    await room.ledger.flush()
    made = Room(room.ledger, room.clock, folder)
    await made.turn()
    return made


async def test_a_new_error_is_one_event_and_one_alert(room: Room) -> None:
    found = {room.take(ACCESS) for _ in range(50)}
    assert len(found) == 1
    assert [(event.state, event.node_id) for event in room.events] == [("new", "01A")]
    assert await room.tell() == ["atlas: Forbidden in mod.py:ban: 403 Forbidden (error code: 50001): Missing Access"]
    assert room.alerts[0].quote == ACCESS
    assert dict(room.alerts[0].fields)["Times"] == "50"
    assert [button.label for button in room.alerts[0].buttons] == ["Mute 1 h", "Show lines"]
    room.take(ACCESS)
    assert await room.tell() == []


async def test_errors_of_one_place_are_told_apart(room: Room) -> None:
    assert room.take(ACCESS) != room.take(PERMISSIONS)
    assert len(await room.tell()) == 2


async def test_two_nodes_with_one_error_are_told_of_together(room: Room) -> None:
    assert room.take(ACCESS) == room.take(ACCESS.replace("/srv/atlas", "/srv/borealis"), node="01B")
    assert len(await room.tell()) == 1
    assert room.alerts[0].title.startswith("atlas and borealis: Forbidden")
    (group,) = await room.groups.list_groups()
    assert [(one.node, one.count) for one in group.nodes] == [("atlas", 1), ("borealis", 1)]
    assert group.count == 2


async def test_a_report_its_traceback_and_the_exit_are_one_error(room: Room) -> None:
    text = f"command /ban: Forbidden: 403 Forbidden (error code: 50001): Missing Access\n{ACCESS[-300:]}"
    fingerprint = room.take(ACCESS)
    assert room.take(text, seen_in=SeenIn.REPORT, exception="Forbidden", fingerprint=fingerprint) == fingerprint
    cut = "exited with code 1; used 0.1 CPU-s and 42 MB at most\n" + "\n".join(ACCESS.splitlines()[-3:])
    assert room.take(cut, seen_in=SeenIn.EXIT) == fingerprint, "its traceback was seen whole a moment ago"
    (group,) = await room.groups.list_groups()
    assert (group.count, group.kind, group.nodes[0].count) == (1, "exception", 1)


async def test_what_a_repair_or_the_crash_watch_tells_is_not_told_twice(room: Room) -> None:
    room.groups.told(room.take(ACCESS))
    assert await room.tell() == []
    room.take(PERMISSIONS)
    room.take(f"exited with code 1; used 0.1 CPU-s and 42 MB at most\n{PERMISSIONS}", seen_in=SeenIn.EXIT)
    assert await room.tell() == []


async def test_an_error_that_a_solution_knows_waits_for_its_alert(room: Room) -> None:
    room.groups.known_to_solution(room.take(ACCESS))
    assert await room.tell() == []
    room.clock.turn(group_alerts.REPAIR_TOLD_IN_S)
    assert len(await room.tell()) == 1, "nobody told of it"


async def test_an_error_just_before_an_exit_waits_for_the_crash_watch(room: Room) -> None:
    fingerprint = room.take(ACCESS)
    room.take(PERMISSIONS)
    room.bus.publish(NodeExited(at=room.clock.now(), node_id="01A", pid=1, exit_code=1, detail="exited with code 1"))
    assert await room.tell() == []
    room.groups.told(fingerprint)
    room.clock.turn(group_alerts.CRASH_TOLD_IN_S)
    (told,) = await room.tell()
    assert "50013" in told, "the other one is told in the end"


async def test_an_exit_is_a_group_that_others_tell_of(room: Room) -> None:
    one = room.take(
        "exited with code 3; used 0.1 CPU-s and 42 MB at most\nbye, 17 users were here", seen_in=SeenIn.EXIT
    )
    assert (
        room.take("exited with code 3; used 9.1 CPU-s and 99 MB at most\nbye, 4 users were here", seen_in=SeenIn.EXIT)
        == one
    )
    assert (
        room.take("exited with code 4; used 0.1 CPU-s and 42 MB at most\nbye, 4 users were here", seen_in=SeenIn.EXIT)
        != one
    )
    killed = room.take(
        "out of memory: over 64 MB: killed by SIGKILL; used 1.1 CPU-s and 64 MB at most\nlast line", seen_in=SeenIn.EXIT
    )
    assert room.take("killed by SIGKILL\nlast line", seen_in=SeenIn.EXIT) == "", "somebody outside killed it"
    assert await room.tell() == []
    assert [event.title for event in room.events] == [
        "exited with code 3: bye, … users were here",
        "exited with code 4: bye, … users were here",
        "out of memory: over … MB: killed by SIGKILL",
    ]
    assert (await room.groups.show(killed)).group.kind == "exit"


async def test_lines_that_tell_of_no_error_are_no_group(room: Room) -> None:
    assert room.take("INFO ready") == ""
    assert await room.groups.list_groups() == []


async def test_ids_in_lines_do_not_split(room: Room) -> None:
    found = {room.take(f"ERROR no member {10**17 + number} in guild {number}") for number in range(200)}
    assert len(found) == 1
    (group,) = await room.groups.list_groups()
    assert (group.title, group.count, group.kind) == ("ERROR no member … in guild …", 200, "line")


async def test_what_comes_back_after_it_was_resolved_is_news(room: Room) -> None:
    fingerprint = room.take(ACCESS)
    await room.tell()
    view = await room.groups.resolve(fingerprint[:6], ADA)
    assert (view.state, view.changed_by) == ("resolved", "cli:ada")
    room.take(ACCESS)
    assert [event.state for event in room.events] == ["new", "regressed"]
    assert len(await room.tell()) == 1
    assert "is back" in room.alerts[0].text
    (group,) = await room.groups.list_groups()
    assert (group.state, group.count) == ("regressed", 2)


async def test_what_was_not_seen_for_a_month_is_resolved_by_itself(room: Room) -> None:
    room.take(ACCESS)
    room.clock.turn(timedelta(days=2).total_seconds())
    assert [group.state for group in await room.groups.list_groups()] == ["known"]
    room.clock.turn(timedelta(days=29).total_seconds())
    assert [group.state for group in await room.groups.list_groups()] == ["resolved"]
    room.take(ACCESS)
    assert room.events[-1].state == "regressed"


async def test_a_muted_group_is_silent_until_its_time(room: Room) -> None:
    fingerprint = room.take(ACCESS)
    await room.tell()
    muted = await room.groups.mute(fingerprint, room.clock.now() + timedelta(hours=1), ADA)
    assert muted.state == "muted"
    assert muted.muted_until is not None
    room.take(ACCESS)
    assert room.groups.is_muted(fingerprint)
    assert await room.tell() == []
    room.clock.turn(3_600)
    assert not room.groups.is_muted(fingerprint)
    room.take(ACCESS)
    assert len(await room.tell()) == 1
    assert "mute is over" in room.alerts[0].text


async def test_muted_for_good_and_unmuted(room: Room) -> None:
    fingerprint = room.take(ACCESS)
    await room.groups.mute(fingerprint, None, ADA)
    assert await room.tell() == [], "it was muted before its alert"
    room.clock.turn(timedelta(days=60).total_seconds())
    room.take(ACCESS)
    assert await room.tell() == []
    assert (await room.groups.unmute(fingerprint, ADA)).state == "known"
    assert (await room.groups.unmute(fingerprint, ADA)).state == "known"


async def test_the_next_master_knows_them(room: Room, tmp_path: Path) -> None:
    line = [room.take(f"ERROR user {name} is gone") for name in ("ada", "bob", "cyd", "dan")]
    fingerprint = room.take(ACCESS)
    await room.groups.resolve(fingerprint, ADA)
    next_room = await again(room, tmp_path)
    try:
        assert next_room.take("ERROR user zoe is gone") == line[0]
        assert next_room.events == []
        next_room.take(ACCESS)
        assert [event.state for event in next_room.events] == ["regressed"]
    finally:
        await next_room.end()


async def test_a_group_that_is_not_in_memory_is_looked_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "CAPACITY", 2)
    found = [room.take(f"ERROR {word}") for word in ("one", "two two", "three three three")]
    await room.tell()
    room.clock.turn(10)
    assert room.take("ERROR one") == found[0], "forgotten, and known all the same"
    assert await room.tell() == []
    assert len(room.events) == 3


async def test_writes_are_few(room: Room) -> None:
    before = room.ledger.statistics.writes
    for _ in range(5_000):
        room.take(ACCESS)
    await room.turn()
    assert room.ledger.statistics.writes - before < 12
    (group,) = await room.groups.list_groups()
    assert group.count == 5_000


async def test_a_flood_of_kinds_is_one_group(room: Room) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = {room.take(f"ERROR {a}{b}{a} {b}") for a in letters for b in letters}
    assert len(found) == groups.NEW_EACH_NODE + 1
    assert room.take("ERROR something else entirely", node="01B") not in found, "of one node"
    titles = {group.title for group in await room.groups.list_groups()}
    assert "more kinds of errors than are told apart" in titles


async def test_while_the_ledger_is_away_nothing_is_lost(
    sqlite_settings: DatabaseSettings, clock: TurnableClock, tmp_path: Path
) -> None:
    ledger = await Ledger.open(sqlite_settings, spool_dir=tmp_path / "spool")
    await ledger.write(lambda connection: nodes.insert(connection, a_node("01A", "atlas", 1)))
    room = Room(ledger, clock, tmp_path)
    await room.turn()
    path = str(sqlite_settings.url.reveal()).removeprefix("sqlite:///")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    fingerprint = room.take(ACCESS)
    clock.turn(groups.WRITE_EVERY_S)
    room.take(ACCESS)
    blocker.execute("ROLLBACK")
    blocker.close()
    await ledger.wait_available()
    await ledger.flush()
    assert (await room.groups.show(fingerprint)).group.count == 2
    await room.end()
    await ledger.close()


async def test_a_group_is_shown_with_its_lines_and_the_solutions_that_know_it(room: Room, tmp_path: Path) -> None:
    (tmp_path / "no_permission.toml").write_text(SOLUTION)
    fingerprint = room.take(PERMISSIONS, lines_before=("loading", "ban 4711"))
    shown = await room.groups.show(fingerprint[:5].upper())
    assert shown.lines_before == ("loading", "ban 4711")
    assert shown.text == PERMISSIONS
    assert shown.solutions == ("no_permission",)
    assert (await room.groups.show(room.take(ACCESS))).solutions == ()


async def test_a_fingerprint_that_is_not_one_is_said(room: Room) -> None:
    room.take("ERROR x")
    room.take("ERROR y y")
    for wrong, said in (("zz", "no fingerprint"), ("0" * 16, "begins with"), ("", "no fingerprint")):
        with pytest.raises(NoSuchErrorGroup, match=said):
            await room.groups.show(wrong)
    with pytest.raises(NoSuchErrorGroup):
        await room.groups.mute("0123456789abcdef", None, ADA)


async def test_lists_are_filtered(room: Room) -> None:
    one = room.take(ACCESS)
    room.clock.turn(100)
    since = room.clock.now().timestamp()
    two = room.take(PERMISSIONS, node="01B")
    await room.groups.mute(one, None, ADA)

    async def listed(**filters: Any) -> list[str]:
        return [group.fingerprint for group in await room.groups.list_groups(**filters)]

    assert await listed() == [two, one]
    assert await listed(node="ATLAS") == [one]
    assert await listed(state="muted") == [one]
    assert await listed(since=since) == [two]
    assert await listed(limit=1) == [two]


async def test_errors_are_pruned_but_what_is_muted_stays(room: Room) -> None:
    one, two = room.take(ACCESS), room.take(PERMISSIONS)
    await room.groups.mute(one, None, ADA)
    later = datetime.now(UTC) + timedelta(days=1_000)
    assert await room.ledger.write(lambda connection: prune(connection, "error_groups", later)) == 1
    left = await room.ledger.read(lambda connection: error_groups.recent(connection, limit=9))
    assert [group.fingerprint for group in left] == [one]
    rows = await room.ledger.read(lambda connection: error_events.recent(connection))
    assert {row.fingerprint for row in rows} == {one, two}


async def test_a_group_that_is_not_in_memory_may_be_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "CAPACITY", 2)
    found = [room.take(f"ERROR {word}") for word in ("one", "two two", "three three three")]
    await room.tell()
    await room.groups.resolve(found[0], ADA)
    room.clock.turn(10)
    room.take("ERROR one")
    assert len(await room.tell()) == 1
    assert room.events[-1].state == "regressed"
    assert (await room.groups.show(found[0])).group.state == "regressed"
