"""The command line against masters that hang up too early."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from master.control.client import ControlBroken, ControlClient
from master.operations import kernel, nodes
from master.operations.parameters import EventsParams, NamesParams
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
        lines = ControlClient(path).follow(kernel.events, EventsParams())
        assert next(lines).kind == "event"
        with pytest.raises(ControlBroken, match="complete"):
            next(lines)


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
