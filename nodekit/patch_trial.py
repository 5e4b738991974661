"""The node's side of an import check: a process that tries the patch's modules, and is killed if it hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import marshal
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import msgspec
from discord.gateway import KeepAliveHandler

import handshake
import nodekit
from nodekit import patch_checking
from nodekit.patch_checking import RESULT_BYTES, Check

log = logging.getLogger("node")

TIMEOUT_S = 10.0
_WORKERS_END_WITHIN_S = 0.5
_ENDS_WITHIN_S = 5.0
_UNHEARD = "the import check ended without a result: a module ends or crashes the process that imports it"


async def try_imports(check: Check, *, timeout_s: float = TIMEOUT_S, token_variable: str = "") -> str:
    """Try to import what a patch brings, in another process; returns what is wrong, or nothing.

    Parameters
    ----------
    token_variable
        Variable in which the program expects its token; an interpreter of its own gets a placeholder.
    """
    began = time.monotonic()
    reading, writing = os.pipe()
    try:
        forks = await _can_fork()
        if forks:
            pid = _fork(check, reading, writing)
        else:
            pid = await asyncio.to_thread(_start_interpreter, check, writing, token_variable)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        line = await _read_line(reading, timeout_s)
    except TimeoutError:
        return f"the import check was ended after {timeout_s:g} s: a module does not come to an end when it is imported"
    finally:
        os.close(reading)
        await _end(pid)
        how = "a fork" if forks else "an interpreter of its own"
        log.info("the import check took %.0f ms, in %s", 1000 * (time.monotonic() - began), how)
    try:
        return str(json.loads(line)["problem"])
    except (ValueError, KeyError):
        return _UNHEARD


async def _can_fork() -> bool:
    """Tell whether a fork of this process would find no lock held by a thread that it does not have.

    Idle workers of the event loop are sent home, which makes new ones when it needs them; discord.py's heartbeat only
    sleeps, and holds nothing then. Any other thread is the program's or a library's.
    """
    loop = asyncio.get_running_loop()
    executor = getattr(loop, "_default_executor", None)
    # One that the program has set is its own affair.
    if isinstance(executor, ThreadPoolExecutor) and executor._thread_name_prefix == "asyncio":
        loop._default_executor = None  # type: ignore[attr-defined]
        executor.shutdown(wait=False)
        until = loop.time() + _WORKERS_END_WITHIN_S
        # There is no event for the end of a thread, and joining one would block the loop.
        while any(thread.is_alive() for thread in executor._threads) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    known = [t for t in threading.enumerate() if t is threading.main_thread() or isinstance(t, KeepAliveHandler)]
    if threading.current_thread() is not threading.main_thread() or len(known) != threading.active_count():
        return False
    try:
        return len(os.listdir("/proc/self/task")) == len(known)
    except OSError:
        return False


def _fork(check: Check, reading: int, writing: int) -> int:
    """Fork this process; the child has the patch tried by a child of its own, and ends."""
    everything = signal.valid_signals()
    with warnings.catch_warnings():
        # Of a fork with threads; see _can_fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        # A signal that arrives before the child has its own handlers would wake up the parent's event loop.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return pid
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.close(reading)
        patch_checking.guard(check, writing, before)
    finally:
        os._exit(0)


def _start_interpreter(check: Check, writing: int, token_variable: str) -> int:
    """Start an interpreter that tries the patch. Blocks."""
    kit = {package.__name__: package.__path__[0] for package in (handshake, nodekit, msgspec)}
    environment = {**os.environ, **({token_variable: "none: an import check"} if token_variable else {})}
    process = subprocess.Popen(  # noqa: S603 - the interpreter of the node
        [sys.executable, patch_checking.__file__],
        cwd=check.folder,
        env=environment,
        stdin=subprocess.PIPE,
        pass_fds=(writing,),
        process_group=0,
    )
    request = (
        *(check.folder, dict(check.files), list(check.removed), list(check.modules)),
        *(list(check.packages), list(sys.path), kit, writing),
    )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(marshal.dumps(request))
    # It is waited for by its number, as a fork is.
    process.returncode = 0
    return process.pid


async def _read_line(reading: int, timeout_s: float) -> bytes:
    """Read up to the end of a line, or until nobody can write one any more.

    Raises
    ------
    TimeoutError
    """
    loop, line = asyncio.get_running_loop(), bytearray()
    done: asyncio.Future[None] = loop.create_future()
    os.set_blocking(reading, False)

    def read() -> None:
        try:
            got = os.read(reading, RESULT_BYTES)
        except BlockingIOError:
            return
        line.extend(got)
        if (not got or b"\n" in got or len(line) > RESULT_BYTES) and not done.done():
            done.set_result(None)

    loop.add_reader(reading, read)
    try:
        async with asyncio.timeout(timeout_s):
            await done
    finally:
        loop.remove_reader(reading)
    return bytes(line)


async def _end(pid: int) -> None:
    """End an import check, with all that modules have started when they were imported: it has the node's sockets."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # A program that ignores SIGCHLD has no children to wait for.
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        loop.remove_reader(descriptor)
        ended.set_result(None)

    loop.add_reader(descriptor, end)
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            await asyncio.wait({ended}, timeout=_ENDS_WITHIN_S)
            if ended.done():
                break
            log.warning("an import check did not end within %g s of signal %d", _ENDS_WITHIN_S, number)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        _reap(pid)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
