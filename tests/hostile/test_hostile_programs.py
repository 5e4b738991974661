"""Files of variables, logs and command lines that somebody made to break what reads them.

``FLEET_FUZZ=100000 pytest tests/hostile/test_hostile_programs.py -s`` runs for long, and prints counts.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from master.configuration.programs import ProgramRefused, check_command, compile_pattern, read_ready_sign
from master.configuration.settings import NodeSettings
from master.services.fleet.environment_files import (
    EnvironmentRefused,
    check_environment,
    read_environment,
    write_environment,
)
from master.services.fleet.program import program_of
from master.services.fleet.ready_signs import MAX_LINE_BYTES, _has_line, _Start, _Tail
from master.supervision.errors import FileMissing, SpawnFailed
from tests.hostile.effort import rounds

PIECES = [
    "'",
    '"',
    "\\",
    "\n",
    "\r",
    " ",
    "#",
    "=",
    "$",
    "{A}",
    "\t",
    "é",
    "\u2028",
    "\ufeff",
    "x",
    "A=1",
    "export ",
    "`",
]


def test_variables_come_back_as_they_were_given_or_are_refused(tmp_path: Path) -> None:
    rng, kept, refused = random.Random(12), 0, 0  # noqa: S311 - no secret
    path = tmp_path / "env" / "web.env"
    for _ in range(rounds(400)):
        values = {f"V{n}": "".join(rng.choices(PIECES, k=rng.randrange(8))) for n in range(rng.randrange(1, 4))}
        try:
            write_environment(path, values)
        except EnvironmentRefused:
            refused += 1
            continue
        assert read_environment(path, tmp_path / "bot").values == values
        kept += 1
    print(f"variables: {kept} files read as they were written, {refused} refused")
    assert kept > 10 * refused


def test_a_file_of_variables_is_read_or_refused_whatever_is_in_it(tmp_path: Path) -> None:
    rng, read, refused = random.Random(12), 0, 0  # noqa: S311 - no secret
    path = tmp_path / "own.env"
    path.touch(mode=0o600)
    for _ in range(rounds(400)):
        text = "".join(rng.choices(PIECES, k=rng.randrange(60))).encode()
        path.write_bytes(text if rng.random() < 0.7 else text + rng.randbytes(20))
        try:
            check_environment(read_environment(path, tmp_path).values)
        except SpawnFailed:
            refused += 1
        else:
            read += 1
    print(f"files of variables: {read} read, {refused} refused")


def test_a_file_of_variables_does_not_lead_out_of_the_nodes_folder(tmp_path: Path) -> None:
    home, bot = tmp_path / "fleet", tmp_path / "bot"
    (home / "conf").mkdir(parents=True)
    bot.mkdir()
    (home / "conf" / "own.env").write_text("MASTER_SECRET=1\n")
    (bot / "own.env").symlink_to(home / "conf" / "own.env")
    (bot / "conf").symlink_to(home / "conf")
    (bot / "real.env").write_text("A=1\n")
    (bot / "inner.env").symlink_to(bot / "real.env")
    for name in ("own.env", "conf/own.env", "inner.env", "conf/../../fleet/conf/own.env"):
        with pytest.raises(SpawnFailed):
            read_environment(bot / name, bot)
    assert read_environment(bot / "real.env", bot).values == {"A": "1"}


def test_the_line_is_found_however_it_is_written_and_rotated(tmp_path: Path) -> None:
    rng, found = random.Random(12), 0  # noqa: S311 - no secret
    for number in range(rounds(60)):
        path = tmp_path / f"{number}.log"
        path.write_bytes(b"ready as yesterday\n")
        start = _Start("a", 1, read_ready_sign("log:^ready as \\w+#\\d+$"), compile_pattern("^ready as \\w+#\\d+$"))
        start.tails = [_Tail(path, path.stat().st_size)]
        text = b"".join(rng.choices([b"noise\n", b"\xff\xfe", b"ready as\n", b"x" * 9_000, b"\0"], k=rng.randrange(6)))
        text += b"\nready as web#12\n"
        while text:
            size = rng.randrange(1, len(text) + 1)
            with path.open("ab") as stream:
                stream.write(text[:size])
            text = text[size:]
            if rng.random() < 0.1 and text:
                path.write_bytes(b"")  # Rotated.
                _has_line(start)
            elif text:
                _has_line(start)
        # A part of the line may have been lost with a rotation, but nothing of what came in one piece.
        if not _has_line(start):
            with path.open("ab") as stream:
                stream.write(b"\nready as web#12\n")
            assert _has_line(start)
        found += 1
        assert all(len(tail.unfinished) <= MAX_LINE_BYTES for tail in start.tails)
    print(f"logs: the line was found in {found}")


def test_command_lines_are_split_or_refused_and_what_they_name_is_found_or_missing(tmp_path: Path) -> None:
    rng, found, refused, missing = random.Random(12), 0, 0, 0  # noqa: S311 - no secret
    hints: set[bool] = set()
    words = [*PIECES, "sleep", "./x", "/", "~", "~nobody/x", "..", "1", "sh", "\0"]
    for _ in range(rounds(400)):
        text = "".join(rng.choices(words, k=rng.randrange(1, 6)))
        try:
            check_command(text)
            program = program_of(tmp_path, "", NodeSettings(command=text), {"PATH": "/usr/bin:/bin"})
        except ProgramRefused:
            refused += 1
        except FileMissing as error:
            hints.add(bool(error.hint))
            missing += 1
        else:
            assert Path(program.command[0]).is_file()
            found += 1
    assert hints == {True}
    print(f"command lines: {found} found, {missing} missing, {refused} refused")
