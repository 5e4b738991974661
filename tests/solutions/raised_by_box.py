"""Errors of the box: disk, memory, files, made to happen."""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
from pathlib import Path
from typing import NoReturn

from tests.solutions.raising import Place, Shown, raises, run_program, shows

# CROSS raised_at_ends ['_run']


@raises("disk_full", where="on_message", source="event")
async def disk_full(place: Place) -> None:
    Path("/dev/full").write_bytes(b"x")


@raises("disk_full", where="on_message", source="event")
async def disk_full_for_sqlite(place: Place) -> None:
    database = sqlite3.connect(place.folder / "full.db")
    try:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    finally:
        database.close()


@raises("too_many_open_files", where="on_message", source="event")
async def too_many_open_files(place: Place) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = max(int(one) for one in os.listdir("/proc/self/fd"))
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 8, limits[1]))
    try:
        while True:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for one in opened:
            os.close(one)


@raises("memory_error", where="on_message", source="event")
async def memory_error(place: Place) -> None:
    bytearray(1 << 62)


@shows("threads_exhausted")
async def threads_exhausted(place: Place) -> list[Shown]:
    # With 60 MB of address space there is none for a thread's stack of 64 MB.
    code = (
        "import resource, threading\n"
        "threading.stack_size(1 << 30)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "threading.Thread(target=print).start()\n"
    )
    return await run_program(place, "-c", code)


@raises("file_missing", where="on_message", source="event")
async def file_missing(place: Place) -> None:
    (place.folder / "settings.json").read_text("utf-8")


@shows("file_missing")
async def program_missing(place: Place) -> list[Shown]:
    return await run_program(place, str(place.folder / "bot.py"))


@raises("permission_denied", where="on_message", source="event")
async def permission_denied(place: Place) -> NoReturn:
    # Tests may run as root, whom no file is refused.
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place.folder / "data.json"))


@raises("read_only_file_system", where="on_message", source="event")
async def read_only_file_system(place: Place) -> NoReturn:
    # A mount would need root.
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "data.json")


@raises("encoding_error", where="on_message", source="event")
async def decoding_error(place: Place) -> None:
    b"\xff\xfe".decode()


@raises("encoding_error", where="on_message", source="event")
async def encoding_error(place: Place) -> None:
    "\U0001f389".encode("latin-1")


@raises("json_damaged", where="on_message", source="event")
async def json_empty(place: Place) -> None:
    json.loads("")


@raises("json_damaged", where="on_message", source="event")
async def json_damaged(place: Place) -> None:
    json.loads('{"prefix": "!",}')


@raises("recursion_error", where="on_message", source="event")
async def recursion_error(place: Place) -> None:
    def again() -> None:
        again()

    again()


@shows("native_crash")
async def native_crash(place: Place) -> list[Shown]:
    silent, ended = await run_program(place, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert not silent.text
    return [ended]


@shows("native_crash")
async def native_crash_told_by_faulthandler(place: Place) -> list[Shown]:
    return await run_program(
        place, "-X", "faulthandler", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    )
