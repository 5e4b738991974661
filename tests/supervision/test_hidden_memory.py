"""A master that is not root, and nodes that hide their memory: it reads what it opened before, and takes them back."""

from __future__ import annotations

import json
import subprocess
import sys

# Run in a process of its own, which gives up root first: root sees everything.
SCRIPT = """\
import asyncio, json, os, signal, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
from handshake.memory import hide_memory
from master.supervision.details import DetailsSource, read_details
from master.supervision.process import NodeProcess, is_process
import ctypes, psutil
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
async def main():
    reading, writing = os.pipe()
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reading, 1)
        hide_memory()
        os.write(tells, b"x")
        signal.pause()
    process = NodeProcess(pid)
    os.write(writing, b"x")
    os.read(told, 1)
    folder, started_at = Path.cwd(), process.started_at
    later = NodeProcess(pid)
    print(json.dumps({
        "usage": process.usage().rss_bytes > 0,
        "details": read_details(process.details_source(), connections=True) is not None,
        "adopted details": read_details(later.details_source(), connections=False) is not None,
        "is the recorded one": is_process(pid, started_at, folder),
        "is one of another start": is_process(pid, started_at + 0.02, folder),
        "init is not ours": is_process(1, 0.0, folder),
    }))
    os.kill(pid, signal.SIGKILL)
    for each in (process, later):
        each.detach()
asyncio.run(main())
"""


def test_a_master_that_is_not_root_knows_its_nodes() -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", SCRIPT, json.dumps(sys.path)], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "usage": True,
        "details": True,
        "adopted details": False,
        "is the recorded one": True,
        "is one of another start": False,
        "init is not ours": False,
    }
