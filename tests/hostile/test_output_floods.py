"""Nodes that write what nobody can read: floods, binary, endless lines, triggers in a row, logs that are none."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from master.services.healing.error_blocks import FIRST_LINES, LAST_LINES, MAX_FOLLOWING, ErrorBlocks
from master.services.healing.matching import Matcher
from master.services.healing.output_tail import PIECE_BYTES, Tail
from master.services.healing.output_watch import MAX_BLOCKS
from master.services.healing.sighting import SeenIn
from master.supervision.logs import NodeLogs
from tests.hostile.effort import rounds
from tests.services.healing.intake import Intake

MB = 1_000_000
PARTS = (
    b"Traceback (most recent call last):\n",
    b"  + Exception Group Traceback (most recent call last):\n",
    b'  File "/bots/x.py", line 7, in f\n',
    b"    raise ValueError(1)\n",
    b"ValueError: known trouble\n",
    b"  | ValueError: one\n",
    b"\nDuring handling of the above exception, another exception occurred:\n\n",
    b"TRIGGER this\n",
    b"2026-11-22 17:00:00.123 TRIGGER\tthat\r\n",
    b"[2026-11-22 17:00:00] [ERROR   ] discord.client: Ignoring exception\n",
    b"\n",
    b"\0\xff\xfe\x80" * 9,
    b"\r",
    b"    at x (bot.js:1:1)\n",
    "Ошибка \u202e Error\n".encode(),
    b"Error " * 1_000,
)


def test_whatever_is_written_is_cut_into_bounded_errors(tmp_path: Path) -> None:
    rng, matcher = random.Random(13), Matcher()  # noqa: S311
    made = lines = 0
    for _ in range(rounds(300)):
        blocks, found = ErrorBlocks(), 0
        for _ in range(rng.randint(1, 20)):
            chunk = b"".join(rng.choices(PARTS, k=rng.randint(1, 40)))
            if rng.random() < 0.2:
                chunk += rng.randbytes(rng.randint(1, 2_000))
            lines += chunk.count(b"\n") + 1
            for block in blocks.feed(chunk, matcher.scan(SeenIn.STDERR, chunk)):
                found += 1
                assert 0 < len(block.lines) <= max(FIRST_LINES + LAST_LINES + 1, MAX_FOLLOWING + 1)
                assert block.text.isprintable() or block.text
        found += len(list(blocks.flush()))
        assert not blocks.is_open
        made += found
    print(f"{lines} lines cut into {made} errors")


def test_whatever_becomes_of_a_log_its_next_line_is_read(tmp_path: Path) -> None:
    rng = random.Random(13)  # noqa: S311
    logs = NodeLogs(tmp_path, max_bytes=50_000, files=3)
    path = logs.paths("atlas")[1]
    tail, read_bytes = Tail(path, 0), 0

    def append(content: bytes) -> None:
        if path.is_symlink() or path.is_fifo() or path.is_dir():
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        with path.open("ab") as stream:
            stream.write(content)

    for number in range(rounds(400)):
        match rng.randint(0, 9):
            case 0:
                logs.rotate(["atlas"])
            case 1:
                logs.flush("atlas") if path.is_file() and not path.is_symlink() else None
            case 2 if path.is_file():
                os.truncate(path, rng.randint(0, path.stat().st_size))
            case 3:
                path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
                rng.choice((os.mkfifo, os.mkdir, lambda at: os.symlink("/etc/hostname", at)))(path)
            case 4:
                append(rng.randbytes(rng.randint(0, 60_000)))
            case 5:
                append(b"x" * rng.randint(1, 3 * PIECE_BYTES))
            case _:
                append(b"line\n" * rng.randint(1, 5_000))
        for piece in tail.read([rng.randint(0, 100_000)]):
            assert len(piece.content) <= PIECE_BYTES
            read_bytes += len(piece.content)
        if rng.random() < 0.1:
            tail.take_unfinished()
        append(b"\n")
        list(tail.read())
        append(b"line %d\n" % number)
        assert b"line %d\n" % number in b"".join(piece.content for piece in tail.read())
    print(f"{read_bytes} bytes read of what {rounds(400)} steps left")


def flood(kind: str) -> bytes:
    """Return 1 MB of what a node may write without end."""
    match kind:
        case "lines":
            return b"".join(
                b"2026-11-22 17:00:00.123 INFO request %d took 12 ms\n" % number for number in range(19_000)
            )
        case "errors":
            return b"".join(b"KeyError: 'user %d'\n" % number for number in range(50_000))
        case "triggers":
            return b"TRIGGER restart\n" * 62_500
        case "tracebacks":
            return (b"Traceback (most recent call last):\n" + b'  File "x.py", line 1, in f\n' * 30) * 1_100
        case "binary":
            return random.Random(13).randbytes(MB)  # noqa: S311
        case _:
            return b"\0" * MB


@pytest.mark.parametrize("kind", ["lines", "errors", "triggers", "tracebacks", "binary", "one endless line"])
async def test_a_flood_of_50_mb_holds_up_nobody_and_its_end_is_seen(tmp_path: Path, kind: str) -> None:
    intake = Intake(tmp_path)
    intake.add("flooding")
    intake.add("atlas")
    content, began = flood(kind), time.monotonic()
    async with intake.running():
        cpu_began = time.process_time()
        written = 0
        for number in range(50):
            await asyncio.to_thread(intake.write, "flooding", content)
            written += len(content)
            if number == 25:
                intake.write("atlas", "RuntimeError: of a quiet node\n\n\n\n\n")
                asked_at = time.monotonic()
        quiet = await intake.seen("of a quiet node")
        waited_s = time.monotonic() - asked_at
        intake.write("flooding", "\nRuntimeError: the last words\n\n\n\n\n")
        await intake.seen("the last words", timeout_s=60)
        cpu_s, took_s = time.process_time() - cpu_began, time.monotonic() - began
    assert quiet.node_id == "atlas"
    # However fast it is written, what reaches the loop is bounded by rounds.
    most = (took_s / 0.1 + 2) * 2 * MAX_BLOCKS
    assert len(intake.grouped.sightings) <= most
    assert len(intake.findings) <= most
    print(
        f"{kind}: {written / 1e6:.0f} MB in {took_s:.1f} s, {cpu_s:.2f} s of processor time with the writing;"
        f" {intake.watch.skipped_bytes['flooding'] / 1e6:.1f} MB passed by; {len(intake.grouped.sightings)} errors,"
        f" {len(intake.findings)} findings, {intake.watch.left_out['flooding']} left out;"
        f" the quiet node's after {waited_s:.2f} s"
    )
