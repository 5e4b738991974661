"""The state machine of a roll-out, over a real ledger, real folders and a hand-turned clock.

The nodes are played: what matters here is what the master makes of what 8 of them say, in which order, and whether the
next master goes on. Real nodes are in tests/journeys, real programs in test_silent_programs.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.errors import Refused
from handshake.messages import MessageType, PatchStatus
from handshake.patch_document import PatchedFile
from handshake.redaction import Secret
from handshake.signing import Message
from master.bus import EventBus
from master.configuration.settings import DatabaseSettings, PatchSettings, Settings
from master.errors import FleetError
from master.events import AlertRaised
from master.ledger.database import Ledger
from master.ledger.rows import nodes as node_rows
from master.ledger.rows import patch_keys, patch_tracking, patches
from master.ledger.rows.records import Node, Patch, PatchNode, PatchTrack
from master.services.core.alerts import Alerts
from master.services.core.directory import NodeDirectory
from master.services.patches.book import PatchBook
from master.services.patches.driving import DriveTools
from master.services.patches.errors import PatchNotNow
from master.services.patches.patches import Patches
from master.services.patches.receiving import Receiving
from master.services.patches.rollout import RollOuts
from master.services.patches.statuses import PatchStatuses
from master.services.patches.targets import Targets
from master.services.patches.trusting import LedgerAcceptance, key_names
from master.services.patches.verdict import Outcome, Verdict
from master.services.patches.ways import Told, Way
from master.services.trust.orders import OrderFailed
from master.services.trust.source import Source
from tests.conftest import TurnableClock
from tests.ledger.test_database import a_node
from tests.services.patches.authors import UNIX, Author, document_of, zipped

OLD, NEW = b"x = 1\n", b"x = 2\n"
NAMES = ("atlas", "deneb", "lyra", "mira", "rigel", "sirius", "spica", "vega")
TRACEBACK = "Traceback (most recent call last):\nTypeError: no ranks"
OPERATOR, SECOND = "cli:ada", "discord:7"


@dataclass
class Played:
    """Nodes that do as they are told, unless a test says otherwise."""

    script: dict[str, str] = field(default_factory=dict)
    """By name: ``fails``, ``silent``, ``crashes``, ``stuck`` (does not go back), ``away`` (does not run),
    ``mute`` (takes the order), ``undecided`` (never calls it good)."""
    orders: list[tuple[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    installing: asyncio.Event | None = None
    """While it is not set, what a patch requires is being installed."""
    holding: asyncio.Event | None = None
    """While it is not set, ordered nodes say nothing."""
    busy: int = 0
    """So many orders about a message are not taken."""
    has_it: set[str] = field(default_factory=set)
    _busy: int = 0

    def way_of(self, node: Node) -> Way:
        return Way.LATER if self.script.get(node.name) == "away" else Way.ORDER

    def busyness(self, node: Node) -> tuple[bool, int]:
        return self.way_of(node) is Way.LATER, 0

    async def provide(self, node: Node, patch: Patch) -> None:
        self.orders.append(("install", node.name))
        if self.installing is not None:
            await self.installing.wait()

    async def give(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        self.orders.append(("patch", node.name))
        self._busy += 1
        self.most_at_once = max(self.most_at_once, self._busy)
        try:
            if self.holding is not None:
                await self.holding.wait()
            match self.script.get(node.name):
                case "mute":
                    pass
                case "silent":
                    raise OrderFailed(f"{node.name} did not fetch the order")
                case "fails":
                    told(row, "received", "", 0)
                    told(row, "failed", TRACEBACK, 0)
                case _:
                    self.has_it.add(node.name)
                    for number, state in enumerate(("received", "staged", "applied", "healthy")):
                        await asyncio.sleep(0)
                        told(row, state, "", int(number > 1))  # type: ignore[arg-type]
        finally:
            self._busy -= 1

    async def take_back(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        self.orders.append(("back", node.name))
        self._busy += 1
        self.most_at_once = max(self.most_at_once, self._busy)
        await asyncio.sleep(0.02)  # the others that were told at the same time
        self._busy -= 1
        if self.script.get(node.name) == "stuck":
            told(row, "rollback_failed", "its disk is full", 1)
        else:
            self.has_it.discard(node.name)
            told(row, "rolled_back", "", 0)

    async def mark_good(self, node: Node, patch: Patch, row: PatchNode, told: Told) -> None:
        self.orders.append(("good", node.name))
        if self.script.get(node.name) == "undecided":
            return
        told(row, "good", "", 1)

    async def tell_message(self, node: Node, patch: Patch) -> None:
        if self.busy:
            self.busy -= 1
            raise OrderFailed(f"{node.name} has another order under way")
        self.orders.append((f"message {patch.message_id}", node.name))

    async def restart(self, node: Node) -> None:
        self.orders.append(("restart", node.name))

    def release(self, node: Node) -> None:
        self.orders.append(("release", node.name))


@dataclass
class Scripted:
    """A judge that says what a test wants."""

    verdict: Verdict = field(default_factory=lambda: Verdict(outcome=Outcome.GOOD))
    asked: int = 0

    async def baseline(self, node_id: str) -> str:
        return "{}"

    async def judge(self, patch: Patch, plan: object, baselines: object, soaked_s: float) -> Verdict:
        self.asked += 1
        return self.verdict


class NoTemplate:
    """A template that is left as it is."""

    async def apply(self, patch: Patch) -> str:
        return ""

    async def take_back(self, patch: Patch) -> str:
        return ""


@dataclass
class Scene:
    """A master's roll-outs."""

    ledger: Ledger
    directory: NodeDirectory
    played: Played
    judge: Scripted
    clock: TurnableClock
    settings: Settings
    author: Author
    folder: Path
    alerts: list[AlertRaised] = field(default_factory=list)
    watched: set[str] = field(default_factory=set)
    """Names of nodes with WATCH."""
    patches: Patches = field(init=False)
    rollouts: RollOuts = field(init=False)
    statuses: PatchStatuses = field(init=False)
    book: PatchBook = field(init=False)
    version: int = 0
    _task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin as a master does that knows nothing but the ledger."""
        bus, clock = EventBus(), self.clock
        bus.on(AlertRaised, self.alerts.append)
        self.book = book = PatchBook(self.ledger, bus, clock)
        self.statuses = PatchStatuses(book, clock)
        acceptance = LedgerAcceptance(self.ledger, clock)
        tools = DriveTools(
            book=book,
            statuses=self.statuses,
            directory=self.directory,
            targets=Targets(
                self.ledger,
                self.directory,
                lambda node: self.folder / node.name,
                lambda node: node.name in self.watched,
            ),
            ways=self.played,  # type: ignore[arg-type]
            template=NoTemplate(),  # type: ignore[arg-type]
            judge=self.judge,
            alerts=Alerts(bus, self.directory, clock),
            clock=clock,
            ready_timeout_s=lambda: 5.0,
        )
        self.rollouts = RollOuts(
            tools, ledger=self.ledger, bus=bus, settings=lambda: self.settings, acceptance=acceptance
        )
        self.patches = Patches(
            ledger=self.ledger,
            directory=self.directory,
            book=book,
            receiving=Receiving(self.ledger, clock, lambda: self.settings, acceptance),
            rollouts=self.rollouts,
            key_names=key_names,
        )
        self._task = asyncio.create_task(self.patches.run())

    async def die(self) -> None:
        """End as a killed master does: nothing more is done, and what is in memory is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def bundle(self, **fields: Any) -> str:
        self.version += 1
        digests = [hashlib.sha256(text).hexdigest() for text in (OLD, NEW)]
        file = PatchedFile(path="cogs/one.py", sha256=digests[1], length=len(NEW), base=digests[0])
        files = {"cogs/one.py": NEW}
        archive = zipped(files)
        document = document_of(files, archive, **{"version": self.version, **fields})
        content = self.author.sign(msgspec.json.encode(replace(document, files=(file,))), archive)
        path = self.folder / f"{self.version}.fleetpatch"
        path.write_bytes(content)
        return str(path)

    async def deploy(self, **given: Any) -> str:
        view = await self.patches.receive(self.bundle(), actor=OPERATOR)
        await self.patches.deploy(view.id, actor=OPERATOR, **given)
        return view.id

    async def until(self, patch_id: str, *states: str, reason: str = "") -> Patch:
        """Let the loop run until the patch is in one of these states on record; the clock stands still."""
        async with asyncio.timeout(5):
            while True:
                found = await self.ledger.read(lambda connection: patches.get(connection, patch_id))
                if found is not None and found.state in states and reason in found.reason and self.book.is_flushed:
                    return found
                await asyncio.sleep(0.005)  # the ledger's threads are real

    async def states(self, patch_id: str) -> dict[str, str]:
        shown = await self.patches.show(patch_id)
        return {view.node: view.state for view in shown.nodes}

    async def turn(self, seconds: float, patch_id: str) -> None:
        """Let time pass, and have the roll-out look."""
        self.clock.turn(seconds)
        self.rollouts._wake(patch_id)
        await asyncio.sleep(0)


def _insert(node: Node, connection: Connection) -> None:
    node_rows.insert(connection, node)


@asynccontextmanager
async def a_scene(
    tmp_path: Path, empty_ledger: Path, house_settings: Settings, **patching: Any
) -> AsyncIterator[Scene]:
    file = tmp_path / "played.db"
    shutil.copy(empty_ledger, file)
    bus, clock = EventBus(), TurnableClock(UNIX + 60.0)
    ledger = await Ledger.open(DatabaseSettings(url=Secret(f"sqlite:///{file}")), bus=bus)
    directory = NodeDirectory(bus, clock)
    given: dict[str, Any] = {
        "canary": 1,
        "waves": (50, 100),
        "soak_s": 60.0,
        "most_soak_s": 240.0,
        "answer_within_s": 20.0,
    }
    settings = replace(house_settings, patches=PatchSettings(**given))
    for number, name in enumerate(NAMES):
        node = replace(a_node(), id=f"{number:026d}", name=name, folder=name, bot_user_id=100 + number)
        await ledger.write(partial(_insert, node))
        directory.put(node)
        (tmp_path / name / "cogs").mkdir(parents=True)
        (tmp_path / name / "cogs" / "one.py").write_bytes(OLD)
    author = Author()
    await ledger.write(lambda connection: patch_keys.insert(connection, author.key()))
    made = Scene(ledger, directory, Played(), Scripted(), clock, settings, author, tmp_path)
    made.begin()
    try:
        yield made
    finally:
        await made.die()
        await ledger.close()


@pytest.fixture
async def scene(tmp_path: Path, empty_ledger: Path, house_settings: Settings) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, empty_ledger, house_settings) as opened:
        yield opened


async def eventually(holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds; the ledger's threads are real, the clock stands still."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - a list that played nodes append to
            await asyncio.sleep(0.005)


def patched(scene: Scene) -> list[str]:
    return [name for kind, name in scene.played.orders if kind == "patch"]


async def test_a_good_patch_goes_over_the_canary_and_each_wave_after_its_soak(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    assert patched(scene) == ["atlas"]
    await scene.turn(61, patch_id)
    await eventually(lambda: len(patched(scene)) == 4)
    await scene.until(patch_id, "soaking")
    assert len(patched(scene)) == 4
    await scene.turn(61, patch_id)
    await eventually(lambda: len(patched(scene)) == 8)
    await scene.until(patch_id, "soaking")
    await scene.turn(61, patch_id)
    done = await scene.until(patch_id, "done")
    assert set((await scene.states(patch_id)).values()) == {"good"}
    assert done.finished_at is not None
    assert [name for kind, name in scene.played.orders if kind == "good"] == patched(scene)


async def test_a_canary_that_fails_is_the_only_one_that_ever_had_it(scene: Scene) -> None:
    scene.played.script["atlas"] = "fails"
    patch_id = await scene.deploy()
    ended = await scene.until(patch_id, "rolled_back")
    assert ended.reason == "it failed on atlas: TypeError: no ranks"
    assert patched(scene) == ["atlas"]
    assert (await scene.states(patch_id))["vega"] == "skipped"
    (alert,) = scene.alerts
    assert alert.title == "ranks 1 is bad, and is rolled back"
    assert alert.quote == TRACEBACK
    with pytest.raises(FleetError, match="quarantined"):
        await scene.patches.receive(str(scene.folder / "1.fleetpatch"), actor=OPERATOR)


async def test_a_patch_that_is_bad_in_a_wave_goes_back_a_few_at_a_time(scene: Scene) -> None:
    scene.settings = replace(scene.settings, patches=replace(scene.settings.patches, back_at_once=2, canary=0))
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    scene.played.most_at_once = 0
    reason = "TypeError in cogs/one.py on deneb, which unpatched nodes do not have"
    bad = scene.directory.find("deneb").id
    scene.judge.verdict = Verdict(outcome=Outcome.BAD, reason=reason, traceback=TRACEBACK, bad_nodes=(bad,))
    await scene.turn(11, patch_id)
    ended = await scene.until(patch_id, "rolled_back")
    assert ended.reason == reason
    assert not scene.played.has_it
    assert scene.played.most_at_once == 2
    shown = await scene.patches.show("ranks 1")
    assert next(view.detail for view in shown.nodes if view.node == "deneb") == TRACEBACK
    # At a glance those that went back have what they had before.
    assert {view.patch for view in (await scene.patches.list(5)).nodes} == {""}


async def test_a_node_that_says_nothing_has_failed(scene: Scene) -> None:
    scene.played.script["atlas"] = "silent"
    patch_id = await scene.deploy()
    await eventually(lambda: bool(patched(scene)))
    await scene.until(patch_id, "rolling")
    await scene.turn(21, patch_id)
    ended = await scene.until(patch_id, "rolled_back")
    assert "atlas did not fetch the order" in ended.reason
    assert ("back", "atlas") in scene.played.orders


async def test_what_is_installed_for_minutes_is_not_a_node_that_says_nothing(scene: Scene) -> None:
    scene.played.installing = asyncio.Event()
    received = await scene.patches.receive(scene.bundle(requirements=("tinymod==1.2",)), actor=OPERATOR)
    patch_id = (await scene.patches.deploy(received.id, actor=OPERATOR)).id
    await eventually(lambda: ("install", "atlas") in scene.played.orders)
    for _ in range(3):
        await scene.turn(100, patch_id)
        await asyncio.sleep(0.02)
    (atlas,) = [view for view in (await scene.patches.show(patch_id)).nodes if view.node == "atlas"]
    assert (atlas.state, atlas.detail) == ("ordered", "installs tinymod==1.2")
    scene.played.script["atlas"] = "mute"
    scene.played.installing.set()
    await eventually(lambda: patched(scene) == ["atlas"])
    await scene.turn(19, patch_id)
    await scene.until(patch_id, "rolling")
    await scene.turn(2, patch_id)
    assert "said nothing for 20 s" in (await scene.until(patch_id, "rolled_back")).reason


async def test_a_patch_that_is_done_says_which_nodes_are_on_trial_until_they_are_good(scene: Scene) -> None:
    scene.played.script["vega"] = "undecided"
    patch_id = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await eventually(lambda: len(scene.played.has_it) == 8)
    for _ in range(3):
        await scene.turn(21, patch_id)
        await asyncio.sleep(0.05)
    ended = await scene.until(patch_id, "done")
    assert ended.reason == "still on trial: vega"
    (vega,) = [row for row in scene.book.nodes(patch_id) if row.state == "healthy"]
    scene.statuses.move(vega, "good", "", release=1)
    await scene.book.flush()
    assert (await scene.until(patch_id, "done")).reason == ""


async def test_nodes_that_were_ordered_before_it_was_posted_are_told_the_message(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    scene.played.busy = 1
    await scene.patches.set_message(patch_id, 8, 7)
    await eventually(lambda: ("message 7", "atlas") in scene.played.orders)
    assert [name for order, name in scene.played.orders if order == "message 7"] == ["atlas"]


async def test_where_nothing_happens_it_soaks_longer_and_then_asks(scene: Scene) -> None:
    scene.judge.verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason="nobody used it")
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    await scene.turn(61, patch_id)
    await asyncio.sleep(0.05)
    assert (await scene.until(patch_id, "soaking")).reason == "nobody used it"
    await scene.turn(200, patch_id)
    await scene.until(patch_id, "asking")
    (alert,) = scene.alerts
    assert [button.label for button in alert.buttons] == ["Go on", "Roll back"]
    scene.judge.verdict = Verdict(outcome=Outcome.GOOD)
    await scene.patches.resume(patch_id, actor=OPERATOR)
    await eventually(lambda: len(patched(scene)) == 4)


async def test_an_operator_need_not_wait_until_a_quiet_wave_asks(scene: Scene) -> None:
    scene.judge.verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason="nobody used it")
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    with pytest.raises(PatchNotNow):
        await scene.patches.resume(patch_id, actor=OPERATOR)
    await scene.turn(61, patch_id)
    await scene.until(patch_id, "soaking", reason="nobody used it")
    await scene.patches.resume(patch_id, actor=OPERATOR)
    await eventually(lambda: len(patched(scene)) == 4)


async def test_a_paused_roll_out_orders_nobody_and_an_aborted_one_leaves_nodes_as_they_are(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    paused = await scene.patches.pause(patch_id, actor=OPERATOR, why="lunch")
    assert (paused.state, paused.reason) == ("paused", "lunch")
    await scene.turn(1_000, patch_id)
    await asyncio.sleep(0.05)
    assert patched(scene) == ["atlas"]
    with pytest.raises(FleetError, match="cannot be paused: it is paused"):
        await scene.patches.pause(patch_id, actor=OPERATOR)
    await scene.patches.resume(patch_id, actor=OPERATOR)
    await scene.turn(55, patch_id)
    await asyncio.sleep(0.05)
    assert patched(scene) == ["atlas"]  # The pause is no part of the minute for which it is watched.
    await scene.turn(6, patch_id)
    await eventually(lambda: len(patched(scene)) == 4)
    await scene.patches.abort(patch_id, actor=OPERATOR, why="not today")
    await scene.turn(1_000, patch_id)
    await asyncio.sleep(0.05)
    held = len(scene.played.has_it)
    assert held == 4
    assert not [order for order in scene.played.orders if order[0] == "back"]
    await scene.patches.retry(patch_id, actor=OPERATOR)
    for _ in range(3):
        await scene.until(patch_id, "soaking", "done")
        await scene.turn(61, patch_id)
        await asyncio.sleep(0.05)
    await scene.until(patch_id, "done")
    assert len(scene.played.has_it) == 8


async def test_two_operators_have_to_approve_where_the_settings_say_so(scene: Scene) -> None:
    scene.settings = replace(scene.settings, patches=replace(scene.settings.patches, approvals=2))
    patch_id = await scene.deploy()
    waiting = (await scene.patches.show(patch_id)).patch
    assert (waiting.state, waiting.reason) == ("received", "approved by 1 of 2")
    with pytest.raises(FleetError, match="you approved ranks 1 before"):
        await scene.patches.approve(patch_id, actor=OPERATOR)
    assert patched(scene) == []
    await scene.patches.approve(patch_id, actor=SECOND)
    await scene.until(patch_id, "soaking")


async def test_whoever_deploys_what_another_approved_begins_it(scene: Scene) -> None:
    scene.settings = replace(scene.settings, patches=replace(scene.settings.patches, approvals=2))
    received = await scene.patches.receive(scene.bundle(), actor=OPERATOR)
    approved = await scene.patches.approve(received.id, actor=SECOND)
    assert approved.reason == "approved, and nobody has asked for its roll-out yet"
    assert patched(scene) == []
    await scene.patches.deploy(received.id, actor=OPERATOR)
    await scene.until(received.id, "soaking")


async def test_an_operator_takes_a_finished_patch_back_all_at_once(scene: Scene) -> None:
    patch_id = await scene.deploy(canary=0, soak_s=0, urgent=True)
    await scene.until(patch_id, "done")
    scene.played.most_at_once = 0
    scene.played.script["vega"] = "stuck"
    await scene.patches.rollback(patch_id, actor=OPERATOR, why="users hate it")
    ended = await scene.until(patch_id, "failed")
    assert "could not go back: vega" in ended.reason
    assert scene.played.has_it == {"vega"}
    assert scene.played.most_at_once == 8
    del scene.played.script["vega"]
    await scene.patches.retry(patch_id, actor=OPERATOR)
    await scene.until(patch_id, "rolled_back")
    assert not scene.played.has_it


async def test_nodes_are_skipped_with_the_reason(scene: Scene) -> None:
    (scene.folder / "mira" / "cogs" / "one.py").write_bytes(b"x = 'edited by hand'\n")
    (scene.folder / "rigel" / "cogs" / "one.py").write_bytes(NEW)
    scene.watched.add("vega")
    patch_id = await scene.deploy(urgent=True, soak_s=0)
    await scene.until(patch_id, "done")
    shown = {view.node: view for view in (await scene.patches.show(patch_id)).nodes}
    assert shown["mira"].detail == "cogs/one.py was changed: it is not the file that the patch was made for"
    assert shown["rigel"].detail == "it is already as the patch would make it"
    assert shown["vega"].detail == "it is being developed: with WATCH a change of its files restarts it"
    assert len(scene.played.has_it) == 5


async def test_a_node_that_does_not_run_gets_it_before_it_starts_and_does_not_hold_up_the_rest(scene: Scene) -> None:
    scene.played.script["vega"] = "away"
    patch_id = await scene.deploy(urgent=True, soak_s=0)
    done = await scene.until(patch_id, "done")
    assert done.reason == "1 that does not run gets it before it starts"
    assert (await scene.states(patch_id))["vega"] == "absent"
    assert [row.patch_id for row in scene.book.absent_of(scene.directory.find("vega").id)] == [patch_id]


async def test_a_second_patch_waits_until_the_nodes_of_the_first_are_free(scene: Scene) -> None:
    first = await scene.deploy()
    await scene.until(first, "soaking")
    view = await scene.patches.receive(scene.bundle(), actor=OPERATOR)
    await scene.patches.deploy(view.id, actor=OPERATOR)
    waiting = await scene.until(view.id, "approved", reason="waits for ranks 1")
    assert waiting.reason == "waits for ranks 1, which is being rolled out on atlas and 7 more"
    assert patched(scene) == ["atlas"]
    await scene.patches.rollback(first, actor=OPERATOR)
    await scene.until(first, "rolled_back")
    await scene.until(view.id, "soaking")


@pytest.mark.parametrize("state", ["rolling", "soaking", "paused", "rolling_back", "asking"])
async def test_the_next_master_goes_on_where_the_last_one_was_killed(scene: Scene, state: str) -> None:
    scene.played.holding = asyncio.Event()
    if state != "rolling":
        scene.played.holding.set()
    if state == "asking":
        scene.judge.verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason="nobody used it")
    patch_id = await scene.deploy()
    await scene.until(patch_id, "rolling" if state == "rolling" else "soaking")
    if state == "rolling":
        await eventually(lambda: bool(patched(scene)))
        assert (await scene.states(patch_id))["atlas"] == "ordered"
    elif state == "paused":
        await scene.patches.pause(patch_id, actor=OPERATOR)
    elif state == "rolling_back":
        await scene.patches.rollback(patch_id, actor=OPERATOR)
    elif state == "asking":
        await scene.turn(300, patch_id)
        await scene.until(patch_id, "asking")
    await scene.die()
    scene.played.holding.set()
    scene.judge.verdict = Verdict(outcome=Outcome.GOOD)
    scene.begin()
    if state == "rolling_back":
        await scene.until(patch_id, "rolled_back")
        assert not scene.played.has_it
        return
    if state in ("paused", "asking"):
        await asyncio.sleep(0.05)
        await scene.until(patch_id, state)
        await scene.patches.resume(patch_id, actor=OPERATOR)
    for _ in range(3):
        await scene.until(patch_id, "soaking", "done")
        await scene.turn(61, patch_id)
        await asyncio.sleep(0.05)
    await scene.until(patch_id, "done")
    assert scene.played.has_it == set(NAMES)


async def test_nothing_is_ordered_while_the_ledger_is_away(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    # Somebody holds the lock of the file, and does not let go.
    blocker = sqlite3.connect(scene.folder / "played.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    await scene.turn(61, patch_id)
    await asyncio.sleep(0.3)
    assert patched(scene) == ["atlas"]
    blocker.execute("ROLLBACK")
    blocker.close()
    await eventually(lambda: len(patched(scene)) == 4)


def a_message(node: Node) -> Message:
    return Message(
        node_id=node.id,
        epoch=1,
        type=MessageType.PATCH_STATUS,
        body=PatchStatus(patch_id="x", status="good"),
        token_id="t",
        sequence=1,
        issued_at=0.0,
    )


async def test_a_status_of_a_patch_that_the_node_was_not_given_is_refused_and_an_old_one_changes_nothing(
    scene: Scene,
) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    vega, atlas = scene.directory.find("vega"), scene.directory.find("atlas")
    source = Source(transport="local", pid=1)
    with pytest.raises(Refused):
        await scene.statuses.handle(vega, PatchStatus(patch_id=patch_id, status="good"), a_message(vega), source)
    with pytest.raises(Refused):
        await scene.statuses.handle(vega, PatchStatus(patch_id="01ABC", status="good"), a_message(vega), source)
    assert scene.statuses.refused == 2
    await scene.statuses.handle(atlas, PatchStatus(patch_id=patch_id, status="staged"), a_message(atlas), source)
    assert (await scene.states(patch_id))["atlas"] == "healthy"


async def test_what_a_caller_no_longer_waits_for_is_written_once(scene: Scene) -> None:
    patch_id = await scene.deploy()
    await scene.until(patch_id, "soaking")
    before = len(await scene.ledger.read(lambda connection: patch_tracking.of_patch(connection, patch_id)))
    track = PatchTrack(id="01TRACK", at=scene.clock.now(), patch_id=patch_id, kind="status", status="good")
    # The write has begun, and somebody holds the file's lock.
    blocker = sqlite3.connect(scene.folder / "played.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    scene.book.track(track)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await scene.book.flush()
    blocker.execute("ROLLBACK")
    blocker.close()
    async with asyncio.timeout(10):
        await scene.book.flush()
    tracks = await scene.ledger.read(lambda connection: patch_tracking.of_patch(connection, patch_id))
    assert (len(tracks), [found.id for found in tracks].count(track.id)) == (before + 1, 1)
