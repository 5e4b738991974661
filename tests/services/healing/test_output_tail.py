"""What is added to a log: whole lines, over rotations, and whatever the node makes of its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from master.services.healing.output_tail import MAX_HEAD_BYTES, MAX_TAIL_BYTES, PIECE_BYTES, Tail, size_of
from master.supervision.logs import NodeLogs


@pytest.fixture
def logs(tmp_path: Path) -> NodeLogs:
    return NodeLogs(tmp_path, max_bytes=100_000, files=3)


def read(tail: Tail, ends: tuple[int, ...] = ()) -> bytes:
    return b"".join(piece.content for piece in tail.read(ends))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(content)


def test_whole_lines_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "atlas.err.log"
    path.write_bytes(b"old\n")
    tail = Tail(path, size_of(path))
    assert read(tail) == b""
    append(path, b"one\ntwo\nthr")
    assert read(tail) == b"one\ntwo\n"
    assert tail.is_unfinished
    append(path, b"ee\n")
    assert read(tail) == b"three\n"
    assert not tail.is_unfinished


def test_a_line_without_an_end_is_taken_when_nothing_follows_or_its_process_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "atlas.err.log"
    tail = Tail(path, 0)
    append(path, b"killed in the midd")
    end = size_of(path)
    append(path, b"the next process\nasks: ")
    assert [piece.content for piece in tail.read((end,))] == [b"killed in the midd", b"the next process\n"]
    assert tail.take_unfinished() == b"asks: "
    append(path, b"an answer\nmore\n")
    assert read(tail) == b"more\n"


def test_a_rotation_loses_nothing_that_was_kept(logs: NodeLogs) -> None:
    path = logs.paths("atlas")[1]
    append(path, b"seen\n" * 100)
    tail = Tail(path, 0)
    read(tail)
    append(path, b"unseen before the rotation\n" * 5_000)
    logs.rotate(["atlas"])
    append(path, b"after it\n")
    content = read(tail)
    assert content.endswith(b"unseen before the rotation\n[fleet] 0.0 MB of output dropped\nafter it\n")
    assert b"seen\n" not in content.replace(b"unseen", b"").splitlines(keepends=True)
    append(path, b"next before the rotation\n" * 4_001)
    logs.rotate(["atlas"])
    lines = read(tail).splitlines()
    assert set(lines) == {b"next before the rotation"}
    assert len(lines) >= 3_990


def test_a_log_that_was_emptied_has_nothing_new_in_its_rotated_files(logs: NodeLogs) -> None:
    path = logs.paths("atlas")[1]
    append(path, b"long ago\n" * 12_000)
    logs.rotate(["atlas"])
    append(path, b"a few lines\n" * 10)
    tail = Tail(path, 0)
    read(tail)
    os.truncate(path, 0)
    append(path, b"new\n")
    assert read(tail) == b"new\n"


def test_a_log_that_grew_beyond_where_it_was_read_after_a_rotation_is_another_file(logs: NodeLogs) -> None:
    path = logs.paths("atlas")[1]
    append(path, b"x" * 50 + b"\n")
    tail = Tail(path, 0)
    read(tail)
    logs.flush("atlas")
    append(path, b"".join(b"line %d\n" % number for number in range(100)))
    assert read(tail).startswith(b"line 0\nline 1\n")


def test_of_a_flood_head_and_end_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "atlas.err.log"
    tail = Tail(path, 0)
    lines = [b"line %07d\n" % number for number in range(500_000)]
    append(path, b"".join(lines))
    content = read(tail).splitlines(keepends=True)
    assert content[0] == lines[0]
    assert content[-1] == lines[-1]
    assert set(content) <= set(lines)
    read_bytes = sum(map(len, content))
    assert read_bytes <= MAX_HEAD_BYTES + MAX_TAIL_BYTES
    assert tail.skipped_bytes == pytest.approx(len(lines) * 13 - read_bytes, abs=PIECE_BYTES)


def test_of_a_line_without_end_the_beginning_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "atlas.err.log"
    tail = Tail(path, 0)
    append(path, b"begin" + b"\0" * 10_000_000)
    content = read(tail)
    assert content.startswith(b"begin")
    assert len(content) <= PIECE_BYTES
    append(path, b"\0" * 1_000 + b"\nnext\n")
    assert read(tail) == b"next\n"


def test_a_pipe_or_a_link_instead_of_the_log_holds_up_nobody(tmp_path: Path) -> None:
    path, secret = tmp_path / "atlas.err.log", tmp_path / "secret"
    secret.write_bytes(b"secret\n")
    tail = Tail(path, 0)
    assert read(tail) == b""
    os.mkfifo(path)
    assert read(tail) == b""
    path.unlink()
    path.symlink_to(secret)
    assert read(tail) == b""
    path.unlink()
    append(path, b"a file again\n")
    assert read(tail) == b"a file again\n"


def test_who_ceases_to_read_gets_the_rest_later(tmp_path: Path) -> None:
    path = tmp_path / "atlas.err.log"
    append(path, b"line\n" * 20_000)
    tail = Tail(path, 0)
    pieces = tail.read()
    first = next(pieces).content
    pieces.close()
    assert tail.is_unfinished
    assert len(first) + len(read(tail)) == 100_000
    tail.skip(0)
    append(path, b"cut off\n" * 10_000)
    tail.skip(tail.added_bytes - 100)
    assert set(read(tail).splitlines()) == {b"cut off"}
