"""Kernel same-page merging: the zygote's marks, and control of KSM."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from master.bus import EventBus
from master.events import MemoryMerged
from master.supervision.clock import SystemClock
from master.supervision.details import DetailsSource, read_details
from master.supervision.merging import KSM, PACE, SCANS, PageMerging
from master.supervision.zygote_spawner import ZygoteSpawner
from tests.supervision.test_zygote import ENVIRONMENT, request_for

needs_ksm = pytest.mark.skipif(not KSM.exists(), reason="this fake_ksm cannot merge pages (no KSM)")
needs_ksm_control = pytest.mark.skipif(
    not all(os.access(KSM / name, os.W_OK) for name in ("run", "pages_to_scan")), reason="this user may not control KSM"
)

MARKED = """\
import json, re, signal
marked = re.findall(r"^VmFlags:.* mg(?: |$)", open("/proc/self/smaps").read(), re.MULTILINE)
print(json.dumps({"marked": len(marked)}))
"""
COLLAPSES = """\
import json, re
from master.supervision.pages import collapse
held = [bytes(400) for _ in range(60_000)]
had_room = collapse()
found = re.findall(r"^AnonHugePages: +([0-9]+) kB", open("/proc/self/smaps").read(), re.MULTILINE)
print(json.dumps({"had_room": had_room, "huge_kb": sum(map(int, found))}))
"""
MARKS_MAPPINGS = f"""\
from master.supervision.pages import mark_mappings
held = [bytes(100) for _ in range(100_000)]
assert mark_mappings()
{MARKED}
"""


def fake_ksm(folder: Path) -> Path:
    """Make a folder like the fake_ksm's, for tests that have no permission for the real one."""
    folder.mkdir()
    for name, value in {"run": "0", "full_scans": "7", "pages_sharing": "1000", "pages_to_scan": "100"}.items():
        (folder / name).write_text(f"{value}\n")
    return folder


@asynccontextmanager
async def running(merging: PageMerging) -> AsyncIterator[None]:
    task = asyncio.create_task(merging.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_for_content(path: Path, wanted: str) -> None:
    async with asyncio.timeout(30):
        while path.read_text().strip() != wanted:  # noqa: ASYNC110 - a file of the fake_ksm's has no event
            await asyncio.sleep(0.01)


@needs_ksm
@pytest.mark.parametrize("merge", [True, False])
async def test_nodes_of_a_zygote_are_marked_if_configured(tmp_path: Path, merge: bool) -> None:
    spawner = ZygoteSpawner(ENVIRONMENT, merge_memory=merge)
    await spawner.warm()
    process = await spawner.spawn(request_for(tmp_path, MARKED))
    process.release()
    await asyncio.wait_for(process.exited, 20)
    await spawner.close()
    result = json.loads("{" + (tmp_path / "logs" / "atlas.out.log").read_text().partition("{")[2])
    assert (result["marked"] > 5) is merge


@needs_ksm
def test_before_linux_6_4_the_mappings_are_marked_one_by_one() -> None:
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", MARKS_MAPPINGS], capture_output=True, check=True, timeout=60
    )
    assert json.loads(result.stdout)["marked"] >= 2


MARKS_A_MAPPING_THAT_IS_GONE = f"""\
import ctypes, mmap
from master.supervision import pages
gone = mmap.mmap(-1, 1 << 24)
start = ctypes.addressof(ctypes.c_char.from_buffer(gone))
listed = pages._mappings()
gone.close()
pages._mappings = lambda: [*listed, (start, 1 << 24)]
assert pages.mark_mappings()
{MARKED}
"""


@needs_ksm
def test_a_mapping_that_is_gone_since_it_was_listed_is_no_refusal() -> None:
    # What vanishes between the listing and the marking cannot be timed: it is put into the list.
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", MARKS_A_MAPPING_THAT_IS_GONE], capture_output=True, check=True, timeout=60
    )
    assert json.loads(result.stdout)["marked"] >= 1


def test_memory_is_collapsed_into_huge_pages_where_supported() -> None:
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", COLLAPSES], capture_output=True, check=True, timeout=60
    )
    found = json.loads(result.stdout)
    if not found["had_room"]:
        pytest.skip("this fake_ksm has no MADV_COLLAPSE (Linux 6.1)")
    assert found["huge_kb"] >= 8192


def merging_at(marker: Path, *, bus: EventBus | None = None, **options: Any) -> PageMerging:
    return PageMerging(marker, bus=bus or EventBus(), clock=SystemClock(), **options)


async def test_a_pass_begins_once_nodes_are_settled_and_ends_after_its_scans(tmp_path: Path) -> None:
    ksm, marker = fake_ksm(tmp_path / "ksm"), tmp_path / "merging"
    bus, result = EventBus(), asyncio.Event()
    bus.on(MemoryMerged, lambda _merged: result.set())
    merging = merging_at(marker, enabled=True, ksm=ksm, settle_s=0.2, poll_s=0.01, bus=bus)
    async with running(merging):
        await asyncio.sleep(0)
        assert (ksm / "run").read_text().strip() == "0"
        merging.request()
        await wait_for_content(ksm / "run", "1")
        assert marker.read_text() == "100"
        assert int((ksm / "pages_to_scan").read_text()) == PACE
        (ksm / "pages_sharing").write_text("9000\n")
        (ksm / "full_scans").write_text(f"{7 + SCANS}\n")
        await asyncio.wait_for(result.wait(), 10)
        assert (ksm / "run").read_text().strip() == "0"
    assert not marker.exists()
    assert (ksm / "pages_to_scan").read_text().strip() == "100"
    assert merging.saved_bytes() == 9000 * os.sysconf("SC_PAGE_SIZE")


async def test_merging_left_on_by_a_killed_master_is_turned_off_and_so_is_ours_at_the_end(tmp_path: Path) -> None:
    ksm, marker = fake_ksm(tmp_path / "ksm"), tmp_path / "merging"
    marker.write_text("64")
    (ksm / "run").write_text("1\n")
    (ksm / "pages_to_scan").write_text(f"{PACE}\n")
    merging = merging_at(marker, enabled=True, ksm=ksm, settle_s=0.0, poll_s=0.01)
    async with running(merging):
        await wait_for_content(ksm / "pages_to_scan", "64")
        assert (ksm / "run").read_text().strip() == "0"
        merging.request()
        await wait_for_content(ksm / "run", "1")
    assert (ksm / "run").read_text().strip() == "0"
    assert not marker.exists()


async def test_somebody_elses_merging_is_left_alone(tmp_path: Path) -> None:
    ksm, marker = fake_ksm(tmp_path / "ksm"), tmp_path / "merging"
    (ksm / "run").write_text("1\n")
    merging = merging_at(marker, enabled=True, ksm=ksm, settle_s=0.0, poll_s=0.01)
    async with running(merging):
        merging.request()
        async with asyncio.timeout(10):
            while merging.requested:  # noqa: ASYNC110 - it is taken by the task
                await asyncio.sleep(0.01)
    assert (ksm / "run").read_text() == "1\n"
    assert not marker.exists()


async def test_without_leave_or_wish_nothing_is_driven(tmp_path: Path) -> None:
    assert not merging_at(tmp_path / "merging", enabled=True, ksm=tmp_path / "none").can_control
    unprivileged = merging_at(tmp_path / "merging", enabled=True, ksm=tmp_path / "none", settle_s=0.0)
    async with running(unprivileged):
        unprivileged.request()
        async with asyncio.timeout(10):
            while unprivileged.requested:  # noqa: ASYNC110 - it is taken by the task
                await asyncio.sleep(0.01)
    assert not (tmp_path / "none").exists()
    off = merging_at(tmp_path / "merging", enabled=False, ksm=fake_ksm(tmp_path / "ksm"))
    assert not off.can_control
    assert off.saved_bytes() is None
    await asyncio.wait_for(off.run(), 5)


def proportional_bytes(pid: int) -> int:
    details = read_details(DetailsSource(pid), connections=False)
    assert details is not None
    return details.pss_bytes


@needs_ksm
@needs_ksm_control
async def test_the_kernel_merges_what_equal_processes_hold(tmp_path: Path) -> None:
    if (KSM / "run").read_text().strip() != "0":
        pytest.skip("somebody else has the fake_ksm merge")
    pace = (KSM / "pages_to_scan").read_text()
    spawner = ZygoteSpawner(ENVIRONMENT, merge_memory=True)
    await spawner.warm()
    # Each writes the same to memory of its own: 4 MB that only merging can save.
    script = "import signal; held = bytearray(b'same page' * 466_034); print('here', flush=True); signal.pause()"
    nodes = [await spawner.spawn(request_for(tmp_path, script, name=f"node-{n}")) for n in range(4)]
    merging = merging_at(tmp_path / "merging", enabled=True, settle_s=0.0, poll_s=0.05, scans=6)
    try:
        for number, node in enumerate(nodes):
            node.release()
            log = tmp_path / "logs" / f"node-{number}.out.log"
            async with asyncio.timeout(10):
                while not (log.exists() and "here" in log.read_text()):  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(0.02)
        before = sum(proportional_bytes(node.pid) for node in nodes)
        async with running(merging), asyncio.timeout(30):
            merging.request()
            while sum(proportional_bytes(node.pid) for node in nodes) > before - 8 * 2**20:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert merging.saved_bytes()
        assert (KSM / "pages_to_scan").read_text() == pace
        assert not (tmp_path / "merging").exists()
    finally:
        for node in nodes:
            node.kill_group()
            await asyncio.wait_for(node.exited, 10)
        await spawner.close()
