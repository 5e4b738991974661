"""One running process of a node: exit as an event-loop event, signals without a pid race."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from master.supervision.details import DetailsSource

log = logging.getLogger(__name__)

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
REPORT_TIMEOUT_S = 1.0
NODE_ID_VARIABLE = "FLEET_NODE_ID"
"""Set in a node's environment: identifies its process before it has sent any message."""


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How a process ended, and what it used; code and signal are None when it was not our child."""

    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    @property
    def used(self) -> str:
        """Its resource usage as text; empty when not measured."""
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
    """Stopped by a signal (SIGSTOP), not by a debugger."""


def parse_stat(content: bytes) -> Usage:
    """Parse /proc/PID/stat: proc(5), fields 3, 14, 15, 20, 22 and 24."""
    # The command (field 2) may contain blanks and parentheses: field 3 starts after the last parenthesis.
    fields = content[content.rindex(b")") + 2 :].split(b" ", 22)
    return Usage(
        (int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        int(fields[21]) * _PAGE_BYTES,
        int(fields[17]),
        int(fields[19]) / _TICKS_PER_S,
        fields[0] == b"T",
    )


class HeldBoot(Protocol):
    """A boot document that is held back until its process is recorded."""

    def release(self) -> None:
        """Send the document to the process."""
        ...

    def close(self) -> None:
        """Discard the document."""
        ...


class NodeProcess:
    """A process that is watched through a pidfd.

    Must be created inside a running event loop.

    Parameters
    ----------
    pid
        Leader of its own session and process group.
    reap
        Our own child: a function called once after the exit, which returns the report. A child of the zygote: a future
        of the zygote's report. None for any other process.
    pidfd
        A pidfd of the process, opened before it could be reaped; closed here.
    boot
        The boot document that the process waits for; see :meth:`release`.
    bounded_output
        Whether the process limits the rate of its own log; adopted and foreign ones do not.

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
        self.isolated = False
        """Whether the kernel keeps it from the files of the fleet; noted by who starts or adopts it."""
        self._boot = boot
        self.on_stopped: Callable[[], None] | None = None
        """Called when a signal has stopped the process."""
        self._reap = reap
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        self._stat = -1
        self._details: list[int] = []
        self._last_stat = b""
        self._usage: Usage | None = None
        self.started_at = 0.0
        try:
            self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            self.started_at = parse_stat(os.pread(self._stat, 4096, 0)).started_at
        except OSError:
            # It has ended already. With a pidfd from the zygote its exit is still reported.
            if pidfd is None:
                self._release()
                raise ProcessLookupError(pid) from None
        self._open_details()
        self.exited: asyncio.Future[ExitReport] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._on_exit)
        if isinstance(reap, asyncio.Future):
            reap.add_done_callback(self._on_zygote_report)

    def _open_details(self) -> None:
        """Open what a process that hides its memory will show to nobody but root, before it does."""
        for name, flags in (("smaps_rollup", os.O_RDONLY), ("fd", os.O_RDONLY | os.O_DIRECTORY)):
            try:
                self._details.append(os.open(f"/proc/{self.pid}/{name}", flags | os.O_CLOEXEC))
            except OSError:
                return  # Adopted, and so hidden already; or it has ended.

    def details_source(self) -> DetailsSource:
        """Return where its details are read; to be closed."""
        rollup, descriptors = map(os.dup, self._details) if len(self._details) == 2 else (None, None)
        return DetailsSource(self.pid, rollup, descriptors)

    def _on_zygote_report(self, report: asyncio.Future[ExitReport]) -> None:
        # The zygote's report may arrive before the pidfd event. An empty report only means that the zygote is gone.
        if not report.cancelled() and report.result() != ExitReport():
            self._close()
            self._resolve_exit(report.result())

    def _on_exit(self) -> None:
        if isinstance(self._reap, asyncio.Future):
            # The zygote kills the group and reaps; its report is on the way, unless the zygote is gone.
            self._close()
            delay_s = 0.0 if self._reap.done() else REPORT_TIMEOUT_S
            self._loop.call_later(delay_s, self._resolve_exit, ExitReport())
            return
        # Until the leader is reaped its pid, and so the group's, cannot be reused: kill the rest of the group now.
        self.kill_group(signal.SIGKILL)
        report = self._reap() if self._reap is not None else ExitReport()
        self._close()
        self._resolve_exit(report)

    def _resolve_exit(self, report: ExitReport) -> None:
        if self.exited.done():
            return
        if report == ExitReport():
            # The zygote is gone: the exit status is unknown, and the rest of the group still runs.
            self.kill_group(signal.SIGKILL)
        self.exited.set_result(report)

    def release(self) -> None:
        """Send the process its boot document, now that it is recorded."""
        if self._boot is not None:
            self._boot.release()

    def notify_stopped(self) -> None:
        """Call ``on_stopped``: a signal has stopped the process."""
        if self.on_stopped is not None:
            self.on_stopped()

    def detach(self) -> None:
        """Stop watching without ending the process."""
        self._close()
        self.exited.cancel()

    def _close(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            self._release()

    def _release(self) -> None:
        if self._boot is not None:
            self._boot.close()
        for descriptor in (self._pidfd, self._stat, *self._details):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfd = self._stat = -1
        self._details.clear()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; does nothing when it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill_group(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the whole process group; does nothing when it is empty."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # Just forked, and not yet the leader of its own group.
            self.send_signal(number)
        except PermissionError:
            log.warning("no permission to signal a process group", extra={"pid": self.pid})

    def usage(self) -> Usage | None:
        """Read the current usage; None when the process has ended, the very same object when nothing changed."""
        if self._stat < 0:
            return None
        try:
            content = os.pread(self._stat, 4096, 0)
            # For an idle process the kernel returns the same bytes, or all but: page faults.
            if content != self._last_stat:
                found, self._last_stat = parse_stat(content), content
                if found != self._usage:
                    self._usage = found
        except (OSError, ValueError):
            return None
        return self._usage


def gains_no_privilege(pid: int) -> bool:
    """Tell whether a process runs under ``no_new_privs``, as every isolated one does; False when it has ended."""
    try:
        return "\nNoNewPrivs:\t1\n" in Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        return False


def is_process(pid: int, started_at: float, folder: Path, node_id: str = "") -> bool:
    """Tell whether ``pid`` is still the recorded process: same start (seconds since boot), same folder or node's id.

    A program may have gone to another folder since; it was begun with the id in its environment.

    A node that hides its memory shows its folder to root alone. To any other master it is the recorded process by its
    start alone, which is exact to 10 ms, and by being a process of the same user that hides something.
    """
    try:
        if abs(parse_stat(Path(f"/proc/{pid}/stat").read_bytes()).started_at - started_at) >= 0.011:
            return False
        try:
            if Path(os.readlink(f"/proc/{pid}/cwd")) == folder.resolve():
                return True
            mark = f"{NODE_ID_VARIABLE}={node_id}".encode()
            return bool(node_id) and mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except PermissionError:
            owners = re.search(r"^Uid:\t(\d+)\t", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            return owners is not None and int(owners[1]) == os.getuid()
    except (OSError, ValueError):
        return False
