"""The timeline of a node: rows of the ledger, told as a person would, and what is the matter now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.ledger.rows.records import AuditRow, ErrorEvent, HandshakeEvent, Outcome, ProcessRecord, SolutionRun
from master.services.core.telling_views import TimelineEntry
from master.services.core.views import NodeStatus
from master.services.upkeep.conclusion import conclude, with_repairs
from master.services.upkeep.timeline import NodeRows, build_timeline

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def process(seconds: float, kind: str, **more: Any) -> ProcessRecord:
    return ProcessRecord(id=f"P{seconds}", at=at(seconds), node_id="01A", kind=kind, **more)


def action(seconds: float, name: str, outcome: Outcome = Outcome.DONE, detail: str = "") -> AuditRow:
    return AuditRow(
        sequence=1,
        at=at(seconds),
        actor="cli:root",
        face="cli",
        action=name,
        node_id="01A",
        outcome=outcome,
        detail=detail,
        chain=b"",
    )


def told(processes: list[ProcessRecord], **rows: Any) -> list[tuple[str, str, int]]:
    found = build_timeline("atlas", NodeRows(processes=processes[::-1], **rows), speaks=True)
    return [(entry.text + (f" by {entry.actor}" if entry.actor else ""), entry.outcome, entry.count) for entry in found]


def crash(seconds: float) -> list[ProcessRecord]:
    return [
        process(seconds, "exited", exit_code=1, detail="exited with code 1"),
        process(seconds + 0.1, "backoff", detail="exited with code 1; restart 2 in a row; next start in 1.0 s"),
        process(seconds + 1, "spawned"),
    ]


def test_fortyseven_equal_exits_are_one_entry_with_their_last_lines() -> None:
    rows = [row for number in range(47) for row in crash(number * 10.0)]
    error = ErrorEvent(
        id="E1",
        at=at(0),
        last_at=at(460),
        node_id="01A",
        source="exit",
        fingerprint="f",
        summary="exited with code 1: ValueError: boom",
        detail="Traceback (most recent call last):\n  File x\nValueError: boom",
        count=47,
    )
    found = build_timeline("atlas", NodeRows(processes=rows[::-1], errors=[error]), speaks=True)
    (entry,) = found
    assert (entry.count, entry.text, entry.outcome) == (47, "exited with code 1: ValueError: boom", "restarted")
    assert entry.lines[-1] == "ValueError: boom"
    assert (entry.first_at, entry.at) == (at(0).timestamp(), at(460).timestamp())


def test_what_an_operator_did_is_told_with_his_name_once() -> None:
    rows = [
        process(0, "spawned"),
        process(1, "ready"),
        process(10, "stopped", exit_code=0, detail="exited with code 0"),
        process(10.2, "spawned"),
        process(11, "ready"),
        process(20, "stopped", exit_code=0, detail="exited with code 0"),
        process(30, "spawned"),
        process(31, "ready"),
    ]
    actions = [action(30.1, "start"), action(20.1, "stop"), action(10.3, "restart"), action(0.1, "start")]
    assert told(rows, actions=actions) == [
        ("was started by cli:root", "ready after 1.0 s", 1),
        ("was restarted by cli:root", "ready after 1.0 s", 1),
        ("was stopped by cli:root", "", 1),
        ("was started by cli:root", "ready after 1.0 s", 1),
    ]


def test_a_start_out_of_a_crash_loop_is_not_told_of_an_earlier_process() -> None:
    rows = [process(0, "spawned"), process(1, "ready"), *crash(2), process(4, "ready")]
    assert told(rows, actions=[action(3.5, "start")]) == [
        ("was started", "ready after 1.0 s", 1),
        ("exited with code 1", "restarted", 1),
        ("was started by cli:root", "ready after 0.5 s", 1),
    ]


def test_a_hang_a_refusal_an_error_and_a_new_master_are_told() -> None:
    rows = [
        process(0, "spawned", detail="adopted"),
        process(1, "ready"),
        process(40, "degraded", detail="no pulse for 27 s"),
        process(60, "exited", signal=9, detail="no pulse for 27 s: killed by SIGKILL"),
        process(60.1, "spawned"),
        process(61, "ready"),
        process(70, "stopped", exit_code=0, detail="exited with code 0"),
    ]
    refused = HandshakeEvent(
        id="H", at=at(65), node_id="01A", message_type="x", outcome="bad_signature", transport="local"
    )
    error = ErrorEvent(
        id="E", at=at(62), last_at=at(64), node_id="01A", source="command", fingerprint="f", summary="/x: KeyError: 1"
    )
    assert told(rows, messages=[refused], errors=[error], actions=[action(80, "stop", Outcome.REFUSED, "no")]) == [
        ("went on under a new master", "ready after 1.0 s", 1),
        ("hung and was replaced: no pulse for 27 s", "ready after 1.0 s", 1),
        ("reported an error: /x: KeyError: 1", "", 1),
        ("was named by a message that was refused: bad_signature", "", 1),
        ("was stopped with its master", "", 1),
        ("was stopped: refused, no by cli:root", "", 1),
    ]


KINDS = (
    *("spawned", "ready", "degraded", "offline", "cut_off", "held", "recovered", "continued", "exited", "stopped"),
    *("killed", "backoff", "quarantined", "missing", "a kind of tomorrow"),
)
ROWS = st.lists(
    st.tuples(st.sampled_from([*KINDS, "start", "stop", "restart", "tomorrow's action"]), st.text(max_size=20)),
    max_size=60,
)


@given(ROWS)
def test_whatever_is_on_record_every_exit_is_counted_once_and_in_order(rows: list[tuple[str, str]]) -> None:
    processes, actions = list[ProcessRecord](), list[AuditRow]()
    for number, (kind, detail) in enumerate(rows):
        if kind in KINDS:
            processes.append(process(number, kind, exit_code=number % 3, detail=detail))
        else:
            actions.append(action(number, kind, detail=detail))
    found = build_timeline("atlas", NodeRows(processes=processes[::-1], actions=actions[::-1]), speaks=True)
    assert sum(one.count for one in found if one.kind == "exited") == sum(row.kind == "exited" for row in processes)
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert all(one.first_at <= one.at for one in found)
    assert all(conclude(status(state), found, at(100).timestamp())[0] for state in ("ready", "backoff", "stopped"))


def status(state: str, **more: Any) -> NodeStatus:
    return NodeStatus(
        **{
            "id": "01A",
            "name": "atlas",
            "state": state,
            "desired": "running",
            "readiness": "handshake",
            "folder": "atlas",
            "bot_user_id": "1",
            **more,
        }
    )


@pytest.mark.parametrize(
    ("found", "matter", "todo"),
    [
        (status("ready", uptime_s=60.0), "atlas is ready again, up 1m00s; 1m30s ago it exited with code 1", "mend it"),
        (status("backoff", next_start_in_s=4.0), "atlas waits before its next start: it exited", "then `fleet start"),
        (status("quarantined"), "atlas is quarantined: it exited with code 1", "then `fleet release atlas`"),
        (status("stopped", desired="stopped"), "atlas is stopped, as it should be", "`fleet start atlas`"),
        (status("stopped"), "should be running", "`fleet start atlas`"),
        (status("missing", detail="no folder"), "no folder", "put it back"),
        (status("degraded", cogs_failed=("music",)), "runs without music", "fleet restart atlas"),
        (status("ready", licence_revoked=True), "is revoked", "fleet reinstate atlas"),
        (status("ready", flag_reason="replayed"), "flagged: replayed", "fleet clear atlas"),
    ],
)
def test_the_last_sentence_says_what_is_the_matter_and_what_to_type(found: NodeStatus, matter: str, todo: str) -> None:
    entries = build_timeline("atlas", NodeRows(processes=crash(0)[::-1]), speaks=True)
    said, advice = conclude(found, entries, at(90).timestamp())
    assert matter in said
    assert todo in advice


def test_an_error_that_a_running_node_reported_is_not_nothing() -> None:
    now = at(90).timestamp()
    error = TimelineEntry(at=now - 5, first_at=now - 5, kind="error", text="reported an error: cogs/a.py")
    said, advice = conclude(status("ready", uptime_s=60.0), [error], now)
    assert said == "atlas is ready, up 1m00s; 5s ago it reported an error: cogs/a.py"
    assert advice == "`fleet logs atlas`"
    assert "nothing is the matter" in conclude(status("ready", uptime_s=3.0), [error], now)[0]  # of its predecessor


def test_of_a_node_that_is_well_nothing_is_the_matter() -> None:
    assert conclude(status("ready", uptime_s=7_200.0), [], at(0).timestamp()) == (
        "nothing is the matter: atlas is ready, up 2h00m",
        "",
    )
    old = build_timeline("atlas", NodeRows(processes=crash(0)[::-1]), speaks=True)
    assert conclude(status("ready"), old, at(7_200).timestamp())[1] == ""
    assert "nobody watches it" in conclude(status("unwatched"), [], 0.0, has_master=False)[0]


def test_what_solutions_leave_to_people_is_said_where_there_is_something_to_do() -> None:
    def run(outcome: str, seconds: float) -> SolutionRun:
        return SolutionRun(
            id="01M828834H0000000000000000",
            at=at(seconds),
            node_id="n",
            solution_id="missing_module",
            content_hash="",
            seen_in="report",
            line="",
            action="install_package",
            outcome=outcome,
        )

    now = at(4000).timestamp()
    asked = "`fleet repairs do 01M828834H` has missing_module do it (install_package); or mend it"
    assert with_repairs("mend it", [run("helped", 3990), run("asked", 0)], now) == asked
    assert (
        with_repairs("mend it", [run("told", 3000)], now) == "mend it; `fleet solutions show missing_module` has advice"
    )
    assert with_repairs("mend it", [run("told", 0), run("helped", 3990)], now) == "mend it"  # of over an hour ago
    assert with_repairs("", [run("asked", 3000)], now) == ""
