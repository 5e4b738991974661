"""One running process of a node: its exit as an event of the loop, its signals without a race over its pid."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

log = logging.getLogger(__name__)

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REPORT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How a process ended, and what it used; both None when it was not our child, so that nobody told us."""

    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    @property
    def used(self) -> str:
        """What it used, in words; empty when nobody measured."""
        if not self.peak_rss_bytes:
            return ""
        return f"used {self.cpu_s:.1f} CPU-s and {self.peak_rss_bytes >> 20} MB at most"

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                return f"killed by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"killed by signal {self.signal}"
        return "exited" if self.exit_code is None else f"exited with code {self.exit_code}"


class Usage(NamedTuple):
    """One reading of /proc/PID/stat."""

    cpu_s: float
    rss_bytes: int
    threads: int
    started_at: float
    """Seconds since boot."""
    stopped: bool
    """Stopped by a signal (SIGSTOP); not by a debugger."""


def parse_stat(content: bytes) -> Usage:
    """Read what we need of /proc/PID/stat: proc(5), fields 3, 14, 15, 20, 22 and 24."""
    # The command (field 2) may hold blanks and parentheses: everything behind the last one counts from field 3.
    fields = content[content.rindex(b")") + 2 :].split(b" ", 22)
    return Usage(
        (int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        int(fields[21]) * _PAGE_BYTES,
        int(fields[17]),
        int(fields[19]) / _TICKS_PER_S,
        fields[0] == b"T",
    )


class HeldBoot(Protocol):
    """A boot document that waits for its process to be on record."""

    def release(self) -> None:
        """Hand it over."""
        ...

    def close(self) -> None:
        """Keep it for good."""
        ...


class NodeProcess:
    """A process that is watched through a pidfd.

    Must be made inside a running event loop.

    Parameters
    ----------
    pid
        Leader of its own session and process group.
    reap
        For our own child: called once, when the process has ended; tells how. For a child of the zygote, which reaps
        it: the future that will tell. None for anybody else's.
    pidfd
        Of that very process, opened before anybody could reap it; it is closed here.
    boot
        What the process waits for; see :meth:`release`.
    bounded_output
        It keeps its log to a rate by itself; what somebody else started, or runs foreign code alone, does not.

    Raises
    ------
    ProcessLookupError
        There is no such process.
    """

    def __init__(
        self,
        pid: int,
        reap: Callable[[], ExitReport] | asyncio.Future[ExitReport] | None = None,
        *,
        pidfd: int | None = None,
        boot: HeldBoot | None = None,
        bounded_output: bool = False,
    ) -> None:
        self.pid = pid
        self.bounded_output = bounded_output
        self._boot = boot
        self.on_stopped: Callable[[], None] | None = None
        """Told when a signal stopped the process, by whoever noticed."""
        self._reap = reap
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        self._stat = -1
        self._read = b""
        self._usage: Usage | None = None
        self.started_at = 0.0
        try:
            self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            self.started_at = parse_stat(os.pread(self._stat, 4096, 0)).started_at
        except OSError:
            # With a pidfd from the zygote its end is told even so: too short a life to be looked at.
            if pidfd is None:
                self._release()
                raise ProcessLookupError(pid) from None
        self.exited: asyncio.Future[ExitReport] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._on_exit)
        if isinstance(reap, asyncio.Future):
            reap.add_done_callback(self._on_report)

    def _on_report(self, report: asyncio.Future[ExitReport]) -> None:
        # The zygote's word may be here before the pidfd's. That it is gone itself says nothing of the node.
        if not report.cancelled() and report.result() != ExitReport():
            self._close()
            self._settle(report.result())

    def _on_exit(self) -> None:
        if isinstance(self._reap, asyncio.Future):
            # The zygote ends the group and reaps; its word is on the way, unless it is gone.
            self._close()
            patience = 0.0 if self._reap.done() else REPORT_TIMEOUT_S
            self._loop.call_later(patience, self._settle, ExitReport())
            return
        # Before the leader is reaped its pid, and so the group's, cannot be anyone else's: what it left goes now.
        self.kill_group(signal.SIGKILL)
        report = self._reap() if self._reap is not None else ExitReport()
        self._close()
        self._settle(report)

    def _settle(self, report: ExitReport) -> None:
        if self.exited.done():
            return
        if report == ExitReport():
            # The zygote is gone: nobody knows how it ended, and nobody ended what it left.
            self.kill_group(signal.SIGKILL)
        self.exited.set_result(report)

    def release(self) -> None:
        """Return the process its boot document, now that it is on record."""
        if self._boot is not None:
            self._boot.release()

    def was_stopped(self) -> None:
        """Pass on that a signal stopped the process."""
        if self.on_stopped is not None:
            self.on_stopped()

    def detach(self) -> None:
        """Stop watching, and leave the process as it is."""
        self._close()
        self.exited.cancel()

    def _close(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            self._release()

    def _release(self) -> None:
        if self._boot is not None:
            self._boot.close()
        for descriptor in (self._pidfd, self._stat):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfd = self._stat = -1

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process itself; nothing happens when it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill_group(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the whole process group; nothing happens when it is empty."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Forked a moment ago, and not yet the leader of a group of its own.
            self.send_signal(number)
        except PermissionError:
            log.warning("a process group may not be signalled", extra={"pid": self.pid})

    def usage(self) -> Usage | None:
        """Read what the process uses now; None when it has ended, and the very same reading when nothing changed."""
        if self._stat < 0:
            return None
        try:
            content = os.pread(self._stat, 4096, 0)
            # Of a process that did nothing since then the kernel says the same, byte for byte, or all but: page faults.
            if content != self._read:
                found, self._read = parse_stat(content), content
                if found != self._usage:
                    self._usage = found
        except (OSError, ValueError):
            return None
        return self._usage


def is_process(pid: int, started_at: float, folder: Path) -> bool:
    """Tell whether ``pid`` is the very process that was noted: same start (seconds since boot), same folder."""
    try:
        same_start = abs(parse_stat(Path(f"/proc/{pid}/stat").read_bytes()).started_at - started_at) < 0.011
        return same_start and Path(f"/proc/{pid}/cwd").resolve() == folder.resolve()
    except (OSError, ValueError):
        return False
