"""The zygote: imports the heavy modules once, then forks a node in milliseconds with copy-on-write memory.

A process of its own (``python -m master.supervision.zygote SOCKET MODULE...``): one thread, no event loop, no secret.
It gets requests with passed descriptors over an inherited socket, forks, reaps, and tells how each node ended. A node's
boot document goes through it as an open pipe that it never reads. When the socket closes, the master is gone: the
zygote ends, and its nodes live on.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from typing import Literal, NoReturn

import msgspec

MAX_MESSAGE_BYTES = 64 * 1024


class ForkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Fork a node. With it come three descriptors: boot document, standard output, standard error."""

    ticket: int
    name: str
    folder: str
    entry: str
    environment: dict[str, str]
    boot_variable: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the zygote tells its master.

    ``ready`` once; ``forked`` or ``failed`` for a ticket; ``exited`` for each node, with what it used.
    """

    kind: Literal["ready", "forked", "failed", "exited"]
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
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)

    def serve(self) -> None:
        """Serve until the master hangs up."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        # Ctrl-C in a terminal is the master's to handle.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        waiting.register(self._wake_read, select.POLLIN)
        self._tell(Answer(kind="ready", pid=os.getpid()))
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if self._wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        payload, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 3)
        if not payload:
            return False
        try:
            request = msgspec.json.decode(payload, type=ForkRequest)
            self._tell(self._fork(request, descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, request: ForkRequest, descriptors: list[int]) -> Answer:
        if threading.active_count() != 1 or len(descriptors) != 3:
            return Answer(
                kind="failed", ticket=request.ticket, problem="not single-threaded, or descriptors are missing"
            )
        try:
            pid = os.fork()
        except OSError as error:
            # EAGAIN, ENOMEM: an answer, not a crash.
            return Answer(kind="failed", ticket=request.ticket, problem=error.strerror or str(error))
        if pid == 0:
            self._become(request, descriptors)
        return Answer(kind="forked", ticket=request.ticket, pid=pid)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            # While its leader is not reaped the group's number is nobody else's: what the node left goes now.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)
            pid, status, used = os.wait4(ended.si_pid, 0)
            self._tell(
                Answer(
                    kind="exited",
                    pid=pid,
                    status=status,
                    cpu_s=round(used.ru_utime + used.ru_stime, 3),
                    peak_rss_bytes=used.ru_maxrss * 1024,
                )
            )

    def _tell(self, answer: Answer) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._control.send(msgspec.json.encode(answer))

    def _become(self, request: ForkRequest, descriptors: list[int]) -> NoReturn:
        """Turn the forked process into the node; never returns."""
        code = 70
        try:
            self._leave_the_zygote_behind()
            boot, stdout, stderr = descriptors
            os.setsid()
            os.umask(0o022)
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.close(stdout)
            os.close(stderr)
            os.set_inheritable(boot, False)
            os.chdir(request.folder)
            environment = {**request.environment, request.boot_variable: str(boot)}
            os.environ.clear()
            os.environ.update(environment)
            _name_process(f"fleet: {request.name}")
            _open_streams()
            sys.argv = [request.entry]
            sys.path.insert(0, request.folder)
            # Copies made before the fork are the same in every node.
            random.seed()
            gc.enable()
            code = _run(request.entry)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _leave_the_zygote_behind(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


def _name_process(title: str) -> None:
    """Show the node's name in ps and top."""
    import setproctitle

    setproctitle.setproctitle(title)


def _open_streams() -> None:
    """Make the text streams anew: unbuffered, so that a log shows a line when it was printed."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = os.fdopen(descriptor, "wb", 0, closefd=False)
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run(entry: str) -> int:
    """Run the node's entry file as ``python entry`` would; gives its exit code."""
    import logging

    try:
        runpy.run_path(entry, run_name="__main__")
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
    return 0


def main() -> None:
    """Warm up and serve: arguments are the socket's number and the modules to import."""
    gc.disable()
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    import setproctitle

    setproctitle.setproctitle("fleet: zygote")
    gc.collect()
    gc.freeze()
    Zygote(control).serve()


if __name__ == "__main__":
    main()
