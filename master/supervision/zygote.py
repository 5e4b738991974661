"""The zygote: imports the heavy modules once, then forks nodes in milliseconds with copy-on-write memory.

A separate process (``python -m master.supervision.zygote SOCKET MODULE...``) with one thread, no event loop and no
secret. It receives requests with file descriptors over an inherited socket, forks, reaps, and reports how each node
ended. A node's boot document passes through it as an open pipe that it never reads. When the socket closes, the master
is gone: the zygote ends, and its nodes keep running.

One spare child is forked in advance and waits for the next request, because fork() takes a third of the time from a
node's exit to its successor. A new spare is forked when the zygote is idle.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import logging
import os
import random
import resource
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn

import msgspec
import setproctitle

from master.supervision import landlock
from master.supervision.pages import allow_merging, collapse
from nodekit.output import LineStream, OutputLimit, StreamOrder

MERGE_MEMORY = "--merge-memory"
PACKAGES_VARIABLE = "FLEET_PACKAGES"
"""Folders of packages that were installed for a node, as on a search path."""
RELEASES = ".releases"
"""The folder, in a node's, of what patches changed."""
MAX_MESSAGE_BYTES = 64 * 1024
MAX_DESCRIPTORS = 8
_WARMUP_ROUNDS = 3
"""Warm-up rounds before the first fork: adaptive bytecode needs a few."""
_SPARE_AFTER_MS = 20
"""Idle time before a spare child is forked: the start of a fleet must not fork twice as often."""


class ForkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Request to fork a node. It carries descriptors: standard output, standard error, one for each of ``inherit``."""

    ticket: int
    name: str
    folder: str
    entry: str
    environment: dict[str, str]
    inherit: tuple[str, ...] = ()
    """Environment variables for the numbers of the further descriptors."""
    cgroup: bool = False
    """Whether the last descriptor is a ``cgroup.procs``, which the node enters before it runs its own code."""
    open_files: int = 0
    data_bytes: int = 0
    niceness: int = 0
    log_bytes_s: int = 0
    linked: bool = False
    """nodekit joins its program to the fleet, which knows nothing of one."""
    isolated: bool = False
    """Whether it may open ``readable`` and ``writable`` alone."""
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message from the zygote to its master.

    ``ready`` once; ``forked`` or ``failed`` for each ticket; ``stopped`` when a signal stopped a node; ``exited`` for
    each node, with its resource usage.
    """

    kind: Literal["ready", "forked", "failed", "stopped", "exited"]
    ticket: int = 0
    pid: int = 0
    status: int = 0
    """As from wait(2)."""
    problem: str = ""
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0


class Zygote:
    """Serve fork requests.

    Parameters
    ----------
    control
        A SOCK_SEQPACKET socket to the master.
    warmups
        Functions that the spare child calls before it waits.
    """

    def __init__(self, control: socket.socket, warmups: Sequence[Callable[[], None]] = ()) -> None:
        self._control = control
        self._warmups = warmups
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        self._spare: _Spare | None = None

    def serve(self) -> None:
        """Serve until the master closes the socket."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # The master handles Ctrl-C in a terminal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        waiting.register(self._wake_read, select.POLLIN)
        self._send(Answer(kind="ready", pid=os.getpid()))
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll(_SPARE_AFTER_MS if self._spare is None else None)}
            if not ready:
                self._fork_spare()
            if self._wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        payload, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not payload:
            return False
        try:
            request = msgspec.json.decode(payload, type=ForkRequest)
            if len(descriptors) != 2 + len(request.inherit) + request.cgroup:
                self._send(Answer(kind="failed", ticket=request.ticket, problem="descriptors are missing"))
            else:
                self._start(request, payload, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, request: ForkRequest, payload: bytes, descriptors: list[int]) -> None:
        """Start a node, and report it with a pidfd, which is opened before the child could be reaped."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.is_alive:
            spare.close()
            spare = None
        try:
            pid = spare.pid if spare is not None else self._fork()
            if pid == 0:
                _run_node(request, descriptors)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            # EAGAIN, ENOMEM, EMFILE: reported, not a crash. A spare whose socket is closed ends.
            if spare is not None:
                spare.close()
            self._send(Answer(kind="failed", ticket=request.ticket, problem=error.strerror or str(error)))
            return
        # Tell the master first: it still has to send the boot document. If the spare ends now, the node exited.
        self._send(Answer(kind="forked", ticket=request.ticket, pid=pid), pidfd)
        if spare is not None:
            spare.start(payload, descriptors)

    def _fork(self) -> int:
        """Fork; the child is detached from the zygote and in a session of its own."""
        if threading.active_count() != 1:
            raise OSError(0, "the zygote is not single-threaded")
        pid = os.fork()
        if pid == 0:
            try:
                self._detach_child()
            except BaseException:
                os._exit(70)
        return pid

    def _fork_spare(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = self._fork()
        except OSError:
            # No memory for a spare: requests fork without one, and report it when that fails too.
            ours.close()
            theirs.close()
            return
        if pid == 0:
            ours.close()
            _run_spare(theirs, self._warmups)
        theirs.close()
        self._spare = _Spare(pid, ours)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                # Until the leader is reaped the group's id cannot be reused: kill the rest of the group now.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(ended.si_pid, signal.SIGKILL)
                self._reap_child(ended.si_pid)
        # A separate call: with WSTOPPED alone, waitid fails with ECHILD once all children have ended.
        with contextlib.suppress(ChildProcessError):
            while (stopped := os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)) is not None:
                self._send(Answer(kind="stopped", pid=stopped.si_pid))

    def _reap_child(self, pid: int) -> None:
        _, status, used = os.wait4(pid, 0)
        if self._spare is not None and self._spare.pid == pid:
            self._spare.close()
            self._spare = None
            return
        self._send(
            Answer(
                kind="exited",
                pid=pid,
                status=status,
                cpu_s=round(used.ru_utime + used.ru_stime, 3),
                peak_rss_bytes=used.ru_maxrss * 1024,
            )
        )

    def _send(self, answer: Answer, pidfd: int | None = None) -> None:
        try:
            socket.send_fds(self._control, [msgspec.json.encode(answer)], [] if pidfd is None else [pidfd])
        except (BrokenPipeError, ConnectionResetError):
            return  # The next read detects that too.
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def _detach_child(self) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._spare is not None:
            self._spare.close()


class _Spare:
    """A child that was forked in advance, and waits for a request."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; if not, its parent reaps it later."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def start(self, payload: bytes, descriptors: list[int]) -> None:
        """Send it the request; does nothing when it has ended, which its parent will notice."""
        try:
            socket.send_fds(self._control, [payload], descriptors)
        except OSError:
            return
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket; a spare without a request ends."""
        self._control.close()


def _run_spare(control: socket.socket, warmups: Sequence[Callable[[], None]]) -> NoReturn:
    """Run the spare child: wait for a request and run that node; end when the zygote ends."""
    try:
        setproctitle.setproctitle("fleet: spare")
        # Write in advance to pages that the node will write to: they are copied before the request arrives.
        for warm_up in (*warmups, landlock.warm_up):
            warm_up()
        payload, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
        control.close()
        if payload:
            _run_node(msgspec.json.decode(payload, type=ForkRequest), descriptors)
    finally:
        os._exit(0)


def _run_node(request: ForkRequest, descriptors: list[int]) -> NoReturn:
    """Run the node in the forked process; never returns."""
    code = 70
    try:
        stdout, stderr, *passed = descriptors
        if request.cgroup:
            _enter_cgroup(passed.pop())
        os.umask(0o022)
        for descriptor, target in ((stdout, 1), (stderr, 2)):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        for variable, descriptor in zip(request.inherit, passed, strict=True):
            os.set_inheritable(descriptor, False)
            os.environ[variable] = str(descriptor)
        setproctitle.setproctitle(f"fleet: {request.name}")
        _open_streams(request.log_bytes_s)
        _apply_limits(request)
        sys.argv = [request.entry]
        sys.path.insert(0, request.folder)
        # Behind all others: they are there for what the libraries do not have.
        sys.path += filter(None, os.environ.pop(PACKAGES_VARIABLE, "").split(os.pathsep))
        # The state copied by the fork is the same in every node.
        random.seed()
        gc.enable()
        if request.isolated and not _isolate(request):
            os._exit(landlock.EXIT_NOT_ISOLATED)
        code = _run(request.entry, linked=request.linked)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _isolate(request: ForkRequest) -> bool:
    """Restrict the node to what it may open; False when the kernel refuses."""
    try:
        landlock.restrict(request.readable, request.writable)
    except OSError as error:
        print(f"[fleet] not run, it could not be isolated: {error.strerror}", file=sys.stderr)
        return False
    # Its own folder for temporary files is named in its environment; the zygote may have looked before.
    tempfile.tempdir = None
    return True


def _enter_cgroup(descriptor: int) -> None:
    try:
        os.write(descriptor, b"0")
    except OSError as error:
        print(f"[fleet] not in its cgroup: {error.strerror}", file=sys.stderr)
    os.close(descriptor)


def _apply_limits(request: ForkRequest) -> None:
    for which, wanted in ((resource.RLIMIT_NOFILE, request.open_files), (resource.RLIMIT_DATA, request.data_bytes)):
        if wanted:
            _, hard = resource.getrlimit(which)
            resource.setrlimit(which, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    if request.niceness:
        os.setpriority(os.PRIO_PROCESS, 0, request.niceness)


def _open_streams(bytes_s: int) -> None:
    """Replace stdout and stderr: unbuffered, with a timestamp on each line, and a rate limit."""
    limit, order = OutputLimit(bytes_s), StreamOrder()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = LineStream(descriptor, limit, order=order)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(entry: str, *, linked: bool) -> int:
    """Run the node's entry file as ``python entry`` would, with its cached bytecode; returns its exit code."""
    path = os.path.abspath(entry)
    try:
        if os.path.isdir(RELEASES):
            # Before any of its code is read: it may be half new.
            importlib.import_module("nodekit.settling").settle_here()
        if linked:
            # Loaded before the fork where there is a fleet; the zygote itself needs no discord.py.
            importlib.import_module("nodekit.linking").link_program()
        code = importlib.machinery.SourceFileLoader("__main__", path).get_code("__main__")
        module = types.ModuleType("__main__")
        module.__file__ = path
        sys.modules["__main__"] = module
        exec(code, module.__dict__)  # type: ignore[arg-type]  # noqa: S102 - the node's own program
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return (ending.code or 0) & 0xFF
        print(ending.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, LineStream):
                stream.finish()
    return 0


def main() -> None:
    """Warm up and serve.

    Arguments: the number of the socket, then modules to import; ``module.function()`` is called as a warm-up.
    ``--merge-memory`` lets the kernel merge equal pages of the zygote and its nodes.
    """
    gc.disable()
    control = socket.socket(fileno=int(sys.argv[1]))
    warmups = []
    for argument in sys.argv[2:]:
        if argument == MERGE_MEMORY:
            allow_merging()
        elif argument.endswith("()"):
            module, _, function = argument.removesuffix("()").rpartition(".")
            warmups.append(getattr(importlib.import_module(module), function))
        else:
            importlib.import_module(argument)
    for warm_up in _WARMUP_ROUNDS * warmups:
        warm_up()
    setproctitle.setproctitle("fleet: zygote")
    # No collection first: every node would fill the freed memory, and so copy its pages.
    gc.freeze()
    collapse()
    Zygote(control, warmups).serve()


if __name__ == "__main__":
    main()
