"""Alerts on their way: budgets, what was left out, and what a file of them withstands."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.bus import EventBus
from master.events import AlertLevel, AlertRaised, GatewayConnected, TaskFailed
from master.services.core import alert_limiter, alert_outbox, lasting
from master.services.core.alert_limiter import EACH_FLEET, EACH_NODE, AlertLimiter
from master.services.core.alert_outbox import CAPACITY, AlertOutbox
from master.supervision.clock import SystemClock
from tests.conftest import TurnableClock

WAIT_S = 10.0
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def alert(key: str, *, node: str = "", is_security: bool = False, text: str = "") -> AlertRaised:
    return AlertRaised(
        at=NOW, level=AlertLevel.ERROR, key=key, title=key, text=text, node=node, is_security=is_security
    )


def test_the_same_alert_is_shown_once_in_an_interval_and_then_with_its_number(clock: TurnableClock) -> None:
    limiter = AlertLimiter(clock)
    assert limiter.admit(alert("a")) is not None
    assert [limiter.admit(alert("a")) for _ in range(3)] == [None] * 3
    clock.turn(alert_limiter.INTERVAL_S + 1)
    admitted = limiter.admit(alert("a"))
    assert admitted is not None
    assert admitted.held_back == 3
    assert limiter.left_out() is None


@given(
    st.lists(st.tuples(st.sampled_from(["noisy", "loud", "", "atlas"]), st.booleans()), max_size=300),
    st.sampled_from(["europa", ""]),
    st.booleans(),
)
def test_whatever_others_do_a_quiet_nodes_first_alert_and_forgery_are_shown(
    flood: list[tuple[str, bool]], node: str, is_security: bool
) -> None:
    """Three nodes cannot use up what all nodes share, and errors cannot use up what forgeries have."""
    limiter = AlertLimiter(TurnableClock())
    for number, (name, security) in enumerate(flood):
        if name != node and not (security and not name):
            limiter.admit(alert(f"{number}", node=name, is_security=security))
    assert limiter.admit(alert("quiet", node=node, is_security=is_security)) is not None


def test_what_was_left_out_is_said_by_node_when_its_minute_is_over(clock: TurnableClock) -> None:
    limiter = AlertLimiter(clock)
    assert limiter.left_out_due_s() is None
    for number in range(EACH_NODE + 7):
        limiter.admit(alert(f"e{number}", node="noisy"))
    limiter.admit(alert("f1", node="atlas", is_security=True))
    limiter.admit(alert("f1", node="atlas", is_security=True))
    assert limiter.left_out_due_s() == alert_limiter.INTERVAL_S
    clock.turn(alert_limiter.INTERVAL_S)
    assert limiter.left_out_due_s() == 0.0
    left_out = limiter.left_out()
    assert left_out is not None
    assert (left_out.of_nodes, left_out.security, left_out.count) == ((("noisy", 7), ("atlas", 1)), 1, 8)
    assert limiter.left_out_due_s() is None


def test_the_whole_fleet_failing_at_once_stays_below_discords_limit(clock: TurnableClock) -> None:
    limiter = AlertLimiter(clock)
    shown = [limiter.admit(alert(f"q{number}", node=f"n{number}")) for number in range(100)]
    assert sum(one is not None for one in shown) == EACH_FLEET
    # And the outage that is the reason for it is shown all the same.
    assert limiter.admit(alert("box:offline")) is not None


def test_no_flood_of_errors_hides_a_forgery_in_the_name_of_the_same_node(clock: TurnableClock) -> None:
    limiter = AlertLimiter(clock)
    for number in range(3_000):
        limiter.admit(alert(f"e{number}", node=f"n{number % 100}"))
    for node in ("n0", "n99", ""):
        assert limiter.admit(alert(f"refused:{node}", node=node, is_security=True)) is not None


def outbox(path: Path) -> AlertOutbox:
    return AlertOutbox(path, EventBus(), SystemClock(), lambda: True)


async def stay_away(box: AlertOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one post fail."""
    monkeypatch.setattr(box, "_retry_s", 0.0)
    await box.wait_for_return()


async def test_the_digest_comes_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(alert_limiter, "INTERVAL_S", 0.1)
    box = outbox(tmp_path / "alerts.json")
    box._limiter = AlertLimiter(SystemClock(), interval_s=0.1)
    for number in range(EACH_NODE + 2):
        box.put(alert(f"e{number}", node="noisy"))
    for _ in range(EACH_NODE):
        box.posted(await box.next())
    async with asyncio.timeout(WAIT_S):
        (one,) = (await box.next()).alerts
    assert one.alert.title == "2 alerts were not shown"
    assert "noisy: 2" in one.alert.text


async def test_a_full_outbox_drops_what_is_not_about_security_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = outbox(tmp_path / "alerts.json")
    forged = alert("forged", is_security=True)
    box._add(forged, 0)
    for number in range(CAPACITY + 49):
        box._add(alert(f"a{number}"), 0)
    await stay_away(box, monkeypatch)
    due = await box.next()
    assert (len(due.alerts), due.dropped, due.grouped) == (CAPACITY, 50, True)
    assert due.alerts[0].alert == forged
    box.posted(due)
    assert len(box) == 0


async def test_what_comes_while_a_group_is_posted_is_posted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = outbox(tmp_path / "alerts.json")
    for number in range(6):
        box._add(alert(f"a{number}"), 0)
    await stay_away(box, monkeypatch)
    due = await box.next()
    box._add(alert("a1", text="newer"), 0)
    box._add(alert("new"), 0)
    box.posted(due)
    assert {one.alert.key for one in (await box.next()).alerts} <= {"a1", "new"}
    assert len(box) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"waiting":[{}]}', b"\xff\x00", b'{"waiting":null}'])
def test_a_damaged_file_is_no_reason_not_to_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alerts.json"
    path.write_bytes(content)
    assert len(outbox(path)) == 0


async def test_an_outage_is_on_disk_before_the_master_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_outbox, "SAVE_AFTER_S", 0.0)
    path = tmp_path / "alerts.json"
    box = outbox(path)
    saving = asyncio.create_task(box.run())
    box.put(alert("quarantined", node="atlas"))
    async with asyncio.timeout(WAIT_S):
        while not path.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    # As after kill -9: nothing is saved at the end.
    assert len(outbox(path)) == 1
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)


async def test_a_disk_that_takes_nothing_costs_the_copy_not_the_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = outbox(tmp_path / "gone" / "alerts.json")
    box.put(alert("a"))
    box._save(box._content())
    assert len(box) == 1


async def test_a_connection_ends_the_wait(tmp_path: Path) -> None:
    bus = EventBus()
    box = AlertOutbox(tmp_path / "alerts.json", bus, SystemClock(), lambda: True)
    box._retry_s = 3600.0
    waiting = asyncio.create_task(box.wait_for_return())
    await asyncio.sleep(0)
    bus.publish(GatewayConnected(at=NOW))
    await asyncio.wait_for(waiting, WAIT_S)


async def test_a_task_that_must_live_is_told_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "FIRST_PAUSE_S", 0.0)
    bus, told, runs = EventBus(), list[TaskFailed](), 0
    bus.on(TaskFailed, told.append)

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ZeroDivisionError("as it must")

    await asyncio.wait_for(lasting.keep_running("chores", work, bus, SystemClock()), WAIT_S)
    assert [(event.task, event.error) for event in told] == [("chores", "ZeroDivisionError: as it must")] * 2
