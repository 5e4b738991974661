"""A node hides its memory before it reads its secrets, from all processes of its user but root's."""

from __future__ import annotations

import json
import subprocess
import sys

# Run in a process of its own, which gives up root first: root is not held by it.
SCRIPT = """\
import ctypes, json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from handshake.boot import BOOT_FD_VARIABLE, BootDocument, encode_boot, read_boot
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
reading, writing = os.pipe()
told, tells = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(writing)
    os.write(tells, b"%d" % dumpable())
    boot = read_boot({BOOT_FD_VARIABLE: str(reading)})
    os.write(tells, b"%d" % dumpable())
    os.read(told, 0)
    __import__("signal").pause()
def shows(name):
    try:
        with open(f"/proc/{pid}/{name}", "rb") as stream:
            stream.read(10)
    except OSError as error:
        return error.strerror
    return "shown"
assert os.read(told, 1) == b"1"
before = shows("environ")
held = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY)
os.write(writing, encode_boot(BootDocument(node_id="A", name="a", token="t", key=bytes(32), key_epoch=1)))
os.close(writing)
assert os.read(told, 1) == b"0"
after = {name: shows(name) for name in ("environ", "smaps_rollup", "stat", "cmdline")}
pss = b"Pss:" in os.pread(held, 4096, 0)
os.kill(pid, 9)
print(json.dumps([before, after, pss]))
"""


def test_a_node_hides_its_memory_before_its_secrets_arrive() -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", SCRIPT, json.dumps(sys.path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    before, after, pss = json.loads(done.stdout)
    assert before == "shown"
    assert after == {
        "environ": "Permission denied",
        "smaps_rollup": "Permission denied",
        "stat": "shown",
        "cmdline": "shown",
    }
    # What the master opened before is read on: its figures need no root.
    assert pss
