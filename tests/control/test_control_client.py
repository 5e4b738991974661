"""The command line against masters that hang up too early."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.control import client
from master.control.client import ControlBroken, ControlClient, ControlTimedOut
from master.operations import nodes
from master.operations.parameters import NamesParams
from master.services.core.views import ActionResult
from tests.cli.test_commands import fleet

ONE_OF_THREE = b'{"kind":"event","data":{"node":"a","ok":true,"state":"stopped"}}\n'
MORE_THAN_A_BUFFER = ["x" * 100_000] * 10
"""Names whose sending cannot end before somebody reads."""


@contextmanager
def master_that_hangs_up(home: Path, *, after: bytes = b"") -> Iterator[Path]:
    """Serve one caller: read its request and answer that, or hang up without either."""
    path = home / "state" / "control.sock"
    path.parent.mkdir(parents=True)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            if after:
                lines.readline()
                connection.sendall(after)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield path
        serving.join(10)


def test_a_request_that_is_not_taken_is_a_broken_connection(tmp_path: Path) -> None:
    with master_that_hangs_up(tmp_path) as path, pytest.raises(ControlBroken, match="broke"):
        ControlClient(path).run(nodes.stop, NamesParams(names=tuple(MORE_THAN_A_BUFFER)))


def test_a_stream_without_its_result_is_a_broken_connection(tmp_path: Path) -> None:
    with master_that_hangs_up(tmp_path, after=ONE_OF_THREE) as path:
        told: list[ActionResult] = []
        with pytest.raises(ControlBroken, match="complete"):
            ControlClient(path).follow(nodes.stop, NamesParams(all=True), event=ActionResult, on_event=told.append)
        assert [result.node for result in told] == ["a"]


def test_nothing_done_is_no_success(tmp_path: Path) -> None:
    with master_that_hangs_up(tmp_path):
        told = fleet("stop", *MORE_THAN_A_BUFFER, home=tmp_path)
    assert told.returncode == 1
    assert "the connection to the master broke" in told.stderr


def test_one_node_of_three_is_no_success(tmp_path: Path) -> None:
    with master_that_hangs_up(tmp_path, after=ONE_OF_THREE):
        told = fleet("stop", "a", "b", "c", home=tmp_path)
    assert told.returncode == 1
    assert "✓ a" in told.stdout
    assert "before its answer was complete" in told.stderr


def test_events_say_that_the_master_has_ended(tmp_path: Path) -> None:
    event = b'{"kind":"event","data":{"kind":"ready","at":1.0,"node":"atlas","detail":""}}\n'
    with master_that_hangs_up(tmp_path, after=event):
        told = fleet("events", home=tmp_path)
    assert told.returncode == 1
    assert "atlas" in told.stdout
    assert "before its answer was complete" in told.stderr


def test_a_master_that_takes_nobody_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_TIMEOUT_S", 0.1)
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        # The queue is full: Linux says EAGAIN at once, which is no refusal.
        with pytest.raises(ControlTimedOut, match="does not accept"):
            ControlClient(path).run(nodes.stop, NamesParams(all=True))


def test_a_reader_that_leaves_does_not_change_what_is_said_of_the_end(tmp_path: Path) -> None:
    refused = b'{"kind":"error","code":"x","message":"not done","exit_code":4}\n'
    with master_that_hangs_up(tmp_path, after=ONE_OF_THREE + refused):
        told = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", f"({sys.executable} -m master.cli stop --all --yes; echo $? >&2) | true"],
            env={**os.environ, "FLEET_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "error: not done" in told.stderr
    assert told.stderr.rstrip().endswith("4")
    assert "Exception ignored" not in told.stderr
