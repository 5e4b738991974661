"""Folders whose files change: told by the kernel, or looked at where it does not tell."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from master.supervision import inotify
from master.supervision.inotify import FolderWatch


class Told:
    """What was told of a folder."""

    def __init__(self) -> None:
        self.calls: list[frozenset[str]] = []
        self._more = asyncio.Event()

    def __call__(self, names: frozenset[str]) -> None:
        self.calls.append(names)
        self._more.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._more.clear()
                await self._more.wait()

    @property
    def names(self) -> frozenset[str]:
        return frozenset[str]().union(*self.calls)


@asynccontextmanager
async def running(watch: FolderWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    await watch.watching.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quick(*, use_inotify: bool = True) -> FolderWatch:
    return FolderWatch(gather_s=0.02, poll_s=0.02, use_inotify=use_inotify)


@pytest.mark.parametrize("use_inotify", [True, False])
async def test_what_is_written_comes_or_goes_is_told_by_name(tmp_path: Path, use_inotify: bool) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "gone").write_text("gone")
    watch, told = quick(use_inotify=use_inotify), Told()
    watch.watch(tmp_path, told)
    async with running(watch):
        assert watch.is_polling is not use_inotify
        with (tmp_path / "old").open("a") as stream:
            stream.write("more")
        (tmp_path / "new").write_text("new")
        (tmp_path / "gone").unlink()
        await told.until(lambda: told.names >= {"old", "new", "gone"})


@pytest.mark.parametrize("use_inotify", [True, False])
async def test_a_folder_that_comes_later_and_one_that_is_replaced_are_watched(
    tmp_path: Path, use_inotify: bool
) -> None:
    folder = tmp_path / "solutions"
    watch, told = quick(use_inotify=use_inotify), Told()
    watch.watch(folder, told)
    async with running(watch):
        assert watch.is_polling
        folder.mkdir()
        (folder / "first").write_text("x")
        await told.until(lambda: len(told.calls) > 0)
        folder.rename(tmp_path / "aside")
        folder.mkdir()
        before = len(told.calls)
        (folder / "second").write_text("x")
        await told.until(lambda: len(told.calls) > before)
        # By name again: it is watched, whichever way.
        (folder / "third").write_text("x")
        await told.until(lambda: "third" in told.names)
        assert watch.is_polling is not use_inotify


async def test_a_thousand_writes_are_told_at_once_and_without_a_thread(tmp_path: Path) -> None:
    watch, told = FolderWatch(gather_s=0.3), Told()
    watch.watch(tmp_path, told)
    async with running(watch):
        threads = threading.active_count()
        descriptors = [os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("a", "b")]
        # In turn, so that the kernel does not fold them into one event.
        for _ in range(1_000):
            for descriptor in descriptors:
                os.write(descriptor, b"line\n")
        for descriptor in descriptors:
            os.close(descriptor)
        await told.until(lambda: bool(told.calls))
        assert told.calls == [frozenset({"a", "b"})] or told.calls == [frozenset()]
        assert threading.active_count() == threads


async def test_where_the_kernel_lost_events_anything_may_have_changed(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    watch, told = FolderWatch(gather_s=0.05), Told()
    watch.watch(tmp_path, told)
    async with running(watch):
        descriptors = [os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("a", "b")]
        for number in range(most + 100):
            os.write(descriptors[number % 2], b"x")
        for descriptor in descriptors:
            os.close(descriptor)
        await told.until(lambda: frozenset() in told.calls)
        # And it goes on by name.
        (tmp_path / "c").write_text("x")
        await told.until(lambda: "c" in told.names)


async def test_without_inotify_it_looks_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(_self: object) -> None:
        # A stand-in: reaching the box's limit would take it from all its other programs.
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(inotify._Inotify, "__init__", none_left)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    watch, told = quick(), Told()
    for folder in ("one", "two"):
        watch.watch(tmp_path / folder, told)
    for _ in range(2):
        async with running(watch):
            told.calls.clear()
            (tmp_path / "two" / "file").open("a").write("x")
            await told.until(lambda: bool(told.calls))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Too many open files" in str(caplog.records[0].__dict__["why"])


async def test_one_bad_follower_takes_nothing_from_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def bad(_names: frozenset[str]) -> None:
        raise ValueError("a bug")

    watch, told = quick(), Told()
    watch.watch(tmp_path, bad)
    async with running(watch):
        watch.watch(tmp_path, told)
        (tmp_path / "file").write_text("x")
        await told.until(lambda: "file" in told.names)
    assert "a follower of a folder failed" in caplog.text
