"""What patches are read with may be used first by two threads at once: the ledger's reader, and the loop."""

from __future__ import annotations

import asyncio
import sys

from tests.hostile.effort import rounds

PROCESSES = 4
FIRST_USE = """
import sys, threading
from types import SimpleNamespace
import msgspec
from handshake.patch_bundle import read_document
from master.services.patches.manifest import Manifest, read_manifest
from master.services.patches.progress import progress_of
from tests.services.patches.authors import document_of, zipped

document = msgspec.json.encode(document_of({"bot.py": b""}, zipped({"bot.py": b""})))
manifest = SimpleNamespace(manifest=msgspec.json.encode(
    Manifest(uid="", kind="node", subject="", generation=0, at=0, cause="clone")))
plan = SimpleNamespace(rollout_plan=b'{"canary":1,"waves":[100],"soak_s":0,"most_soak_s":0,"most_failed":0,'
    b'"answer_within_s":1,"at_once":1,"back_at_once":1,"approvals":1,"memory_slope_mb_h":1}')
sys.setswitchinterval(1e-6)
for deed in (lambda: read_document(document), lambda: progress_of(plan), lambda: read_manifest(manifest)):
    barrier = threading.Barrier(16)

    def read():
        barrier.wait()
        for _ in range(20):
            deed()

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


async def test_two_threads_that_are_the_first_to_read_a_patch_do_not_end_the_process() -> None:
    for _ in range(rounds(PROCESSES)):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", FIRST_USE)
        # Without decoders that are made at import, -11: SIGSEGV.
        assert await process.wait() == 0
