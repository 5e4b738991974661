"""A node's gateway session in the file for its successor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodekit.gateway_session import (
    MAX_AGE_S,
    SESSION_FD_VARIABLE,
    GatewaySession,
    Identification,
    expect_successor,
    inherited_session,
    read_uses,
)
from tests.conftest import TurnableClock

READY = {"session_id": "abc", "resume_gateway_url": "ws://127.0.0.1/gateway", "user": {"id": "1"}}


def frame(name: str | None, data: Any, sequence: int | None, op: int = 0) -> str:
    return json.dumps({"op": op, "t": name, "s": sequence, "d": data})


def session_at(path: Path, clock: TurnableClock, since_boot: TurnableClock | None = None) -> GatewaySession:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    return GatewaySession(descriptor, clock=clock, since_boot=since_boot or clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session"


@pytest.fixture
def session(path: Path, clock: TurnableClock) -> GatewaySession:
    made = session_at(path, clock)
    assert made.take(frame("READY", READY, 1))
    made.take(frame("GUILD_CREATE", {"id": "7", "name": "HQ"}, 2))
    made.take(frame("MESSAGE_CREATE", {"content": "not kept"}, 3))
    made.take(frame(None, None, None, op=11))
    return made


def test_a_successor_finds_session_sequence_and_cache(
    session: GatewaySession, path: Path, clock: TurnableClock
) -> None:
    session.keep_answer("/users/@me", {"id": "1"})
    session.close()
    saved = session_at(path, clock).saved()
    assert saved is not None
    assert (saved.session_id, saved.sequence, saved.resume_url) == ("abc", 3, "ws://127.0.0.1/gateway")
    assert [event["t"] for event in saved.events] == ["READY", "GUILD_CREATE"]
    assert saved.answers == {"/users/@me": {"id": "1"}}
    assert "HQ" not in repr(saved)


@pytest.mark.parametrize("shard", [None, (0, 1), (3, 16)])
def test_a_successor_learns_what_the_session_was_begun_with(
    path: Path, clock: TurnableClock, shard: tuple[int, int] | None
) -> None:
    begun_with = Identification(intents=1 << 15 | 1 << 25, shard=shard)
    made = session_at(path, clock)
    made.begin_as(begun_with)
    made.take(frame("READY", READY, 1))
    made.close()
    # It appends to the same session, which is still the one of before to the next.
    second = session_at(path, clock)
    assert second.saved() is not None
    second.take(frame("GUILD_UPDATE", {"id": "7"}, 2))
    second.close()
    saved = session_at(path, clock).saved()
    assert saved is not None
    assert saved.identification == begun_with


def test_a_session_continues_over_several_successors(session: GatewaySession, path: Path, clock: TurnableClock) -> None:
    session.close()
    second = session_at(path, clock)
    assert second.saved() is not None
    assert not second.take(frame("GUILD_UPDATE", {"id": "7", "name": "HQ 2"}, 4))
    second.close()
    saved = session_at(path, clock).saved()
    assert saved is not None
    assert saved.sequence == 4
    assert [event["d"].get("name") for event in saved.events[1:]] == ["HQ", "HQ 2"]


def test_a_new_session_replaces_the_old_one(session: GatewaySession, path: Path, clock: TurnableClock) -> None:
    assert session.take(frame("READY", {**READY, "session_id": "xyz"}, 1))
    session.close()
    saved = session_at(path, clock).saved()
    assert saved is not None
    assert (saved.session_id, saved.sequence, len(saved.events)) == ("xyz", 1, 1)


def test_an_old_or_invalid_session_is_not_resumed(session: GatewaySession, path: Path, clock: TurnableClock) -> None:
    clock.turn(MAX_AGE_S + 1)
    assert session_at(path, clock).saved() is None
    session.touch()
    assert session_at(path, clock).saved() is not None
    session.forget()
    session.touch()
    assert session_at(path, clock).saved() is None


def test_a_session_ages_by_the_clock_that_nobody_sets(path: Path, clock: TurnableClock) -> None:
    since_boot = TurnableClock(1_000.0)
    writing = session_at(path, clock, since_boot)
    writing.take(frame("READY", READY, 1))
    for step in (-3600.0, 3600.0, 10 * 365 * 86_400.0, -20 * 365 * 86_400.0):
        clock.turn(step)
        assert session_at(path, clock, since_boot).saved() is not None
    since_boot.turn(MAX_AGE_S + 1)
    assert session_at(path, clock, since_boot).saved() is None


def test_after_a_reboot_the_date_is_all_there_is(path: Path, clock: TurnableClock) -> None:
    writing = session_at(path, clock)
    writing._boot = b"another!"
    writing.take(frame("READY", READY, 1))
    assert session_at(path, clock, TurnableClock(5.0)).saved() is not None
    clock.turn(-3600)
    assert session_at(path, clock, TurnableClock(5.0)).saved() is None


def test_the_master_announces_a_successor(session: GatewaySession, path: Path, clock: TurnableClock) -> None:
    def successor_expected() -> bool:
        return session.successor_expected

    assert not successor_expected()
    expect_successor(path, True)
    assert successor_expected()
    session.take(frame("GUILD_UPDATE", {"id": "7"}, 5))
    assert successor_expected()
    # A new process does not take the word away: it may have been said while it opened the file.
    assert session_at(path, clock).successor_expected
    expect_successor(path, False)
    assert not successor_expected()
    expect_successor(path.with_name("nothing"), True)


def test_what_the_master_announces_while_an_event_is_noted_stays(
    session: GatewaySession, path: Path, clock: TurnableClock
) -> None:
    class Announced(Identification):
        """Read in the middle of each note: the master may say it at any moment."""

        @property
        def intents(self) -> int:
            expect_successor(path, True)
            return 1

        @intents.setter
        def intents(self, _: int) -> None: ...

    session.begin_as(Announced(1))
    expect_successor(path, False)
    session.take(frame("MESSAGE_CREATE", {}, 4))
    assert session.successor_expected
    saved = session_at(path, clock).saved()
    assert saved is not None
    assert saved.sequence == 4


@given(junk=st.binary(max_size=400), offset=st.integers(0, 4300))
def test_a_damaged_file_means_a_new_session(tmp_path_factory: pytest.TempPathFactory, junk: bytes, offset: int) -> None:
    path, clock = tmp_path_factory.mktemp("session") / "session", TurnableClock()
    made = session_at(path, clock)
    made.take(frame("READY", READY, 1))
    made.close()
    with path.open("r+b") as damaged:
        damaged.seek(offset)
        damaged.write(junk)
    successor = session_at(path, clock)
    saved = successor.saved()
    assert saved is None or saved.session_id
    assert successor.take(frame("READY", READY, 1))
    successor.close()


def test_a_node_inherits_it_by_descriptor(session: GatewaySession, path: Path) -> None:
    session.close()
    environment = {SESSION_FD_VARIABLE: str(os.open(path, os.O_RDWR))}
    inherited = inherited_session(environment)
    assert inherited is not None
    inherited.close()
    assert environment == {}
    assert inherited_session(environment) is None


def test_what_people_do_is_counted_over_all_processes_of_a_node(
    session: GatewaySession, path: Path, clock: TurnableClock
) -> None:
    assert read_uses(path) == 1
    session.take(frame("INTERACTION_CREATE", {"id": "1"}, 4))
    session.take(frame("MESSAGE_CREATE", {"author": {"bot": True}, "content": "pulse"}, 5))
    session.take(frame("TYPING_START", {}, 6))
    session.take(frame("MESSAGE_REACTION_ADD", {}, 7))
    assert read_uses(path) == 2
    session.close()
    successor = session_at(path, clock)
    assert read_uses(path) == 2
    successor.take(frame("READY", READY, 1))
    successor.take(frame("MESSAGE_CREATE", {"author": {}, "content": "!help"}, 2))
    successor.forget()
    assert read_uses(path) == 3


def test_nothing_is_known_of_the_use_of_a_program_without_a_session(tmp_path: Path) -> None:
    assert read_uses(tmp_path / "none") is None
    (tmp_path / "empty").touch()
    assert read_uses(tmp_path / "empty") is None
