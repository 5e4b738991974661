"""What a hostile node tries, each attempt with its outcome. Runs inside a node: standard library, nothing of ours.

Reads ``targets.json`` in the folder that it stands in, and writes ``outcomes.json`` there: by attempt ``done``, or why
it was refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import multiprocessing
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
SYS_PIDFD_GETFD, SYS_PROCESS_VM_READV = 438, 310
IS_X86_64 = os.uname().machine == "x86_64"


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def checked(result: int) -> int:
    """Return the result of a system call.

    Raises
    ------
    OSError
        It failed.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def libc() -> ctypes.CDLL:
    """Return the C library."""
    return ctypes.CDLL(None, use_errno=True)


def read(path: Path) -> None:
    """Read a file."""
    path.read_bytes()


def append(path: Path) -> None:
    """Write to a file."""
    with path.open("ab") as stream:
        stream.write(b"#\n")


def create(path: Path) -> None:
    """Create a file, and remove it again."""
    path.write_text("mine")
    path.unlink()


def through_symlink(path: Path) -> None:
    """Read a file through a link in the own folder."""
    link = Path("link")
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    read(link)


def through_hard_link(path: Path) -> None:
    """Read a file by a second name in the own folder."""
    link = Path("hard")
    link.unlink(missing_ok=True)
    os.link(path, link)
    read(link)


def replace_by_pipe(path: Path) -> None:
    """Put a pipe in a file's place."""
    path.unlink()
    os.mkfifo(path)


def trace(pid: int) -> None:
    """Attach to a process as a debugger, and detach."""
    checked(libc().ptrace(PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, 0)
    libc().ptrace(PTRACE_DETACH, pid, None, None)


def read_memory(pid: int) -> None:
    """Read another process's memory through /proc."""
    span = Path(f"/proc/{pid}/maps").read_text().splitlines()[0].split("-")[0]
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(int(span, 16))
        memory.read(16)


def read_memory_by_call(pid: int) -> None:
    """Read another process's memory with process_vm_readv(2)."""
    buffer = ctypes.create_string_buffer(16)
    here, there = Vector(ctypes.addressof(buffer), 16), Vector(ctypes.addressof(buffer), 16)
    number = SYS_PROCESS_VM_READV if IS_X86_64 else 270
    result = libc().syscall(
        number, *map(ctypes.c_ulong, (pid, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0))
    )
    # Nothing is mapped at that address there: the kernel looked, and so it would have let us.
    if result < 0 and ctypes.get_errno() == 14:
        return
    checked(result)


def take_descriptor(pid: int) -> None:
    """Take an open descriptor out of another process."""
    pidfd = os.pidfd_open(pid)
    try:
        os.close(checked(libc().syscall(SYS_PIDFD_GETFD, pidfd, 0, 0)))
    finally:
        os.close(pidfd)


def ask(path: Path, key: str) -> None:
    """Steer the fleet through the control socket."""
    with socket.socket(socket.AF_UNIX) as control:
        folder = os.open(path.parent, os.O_PATH)
        control.connect(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        control.sendall(json.dumps({"method": "status", "key": key}).encode() + b"\n")
        answer = json.loads(control.makefile("rb").readline())
    if answer["kind"] == "error":
        raise PermissionError(1, answer["code"])


def reach_abstract(name: str) -> None:
    """Connect to an abstract Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + name)


def make_device() -> None:
    """Make the memory device in the own folder."""
    os.mknod("device", 0o600 | stat.S_IFCHR, os.makedev(1, 1))
    Path("device").unlink()


def by_another_program(path: Path) -> None:
    """Have another program read a file."""
    subprocess.run(["/bin/cat", str(path)], check=True, capture_output=True)  # noqa: S603 - a path of the test's


def by_a_child(path: Path) -> None:
    """Read a file in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            read(path)
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise PermissionError(13, "in the child")


def reopen(descriptor: int) -> None:
    """Open once more, for reading, what is open for appending."""
    os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY))


def own_file() -> None:
    """Write, map, rename and remove in the own folder."""
    Path("data").mkdir(exist_ok=True)
    own = Path("data/own")
    own.write_bytes(bytes(4096))
    with own.open("r+b") as stream, mmap.mmap(stream.fileno(), 4096) as mapped:
        mapped[0] = 1
    os.truncate(own, 10)
    own.rename("data/renamed")
    Path("data/renamed").unlink()


def own_temporary() -> None:
    """Use a temporary file."""
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(b"x")


def own_child() -> None:
    """Run Python, and signal it."""
    done = subprocess.run([sys.executable, "-c", "import json, asyncio"], check=True, capture_output=True)
    assert done.returncode == 0
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        child.send_signal(signal.SIGTERM)


def attempts(targets: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Return what is tried, by name; what begins with ``own`` has to work for every node."""
    home, other, master, sibling = (targets[name] for name in ("home", "other", "master", "sibling"))
    base, beside = Path(home), Path(other)
    state, pids = base / "state", {"the master": int(master), "another node": int(sibling)}
    found: dict[str, Callable[[], object]] = {
        "read .env": lambda: read(base / ".env"),
        "read config.py": lambda: read(base / "config.py"),
        "read the ledger": lambda: read(state / "ledger.db"),
        "read the control key": lambda: read(state / "control.key"),
        "read .env through a link": lambda: through_symlink(base / ".env"),
        "read .env by a second name": lambda: through_hard_link(base / ".env"),
        "read .env with another program": lambda: by_another_program(base / ".env"),
        "read .env in a child": lambda: by_a_child(base / ".env"),
        "write config.py": lambda: append(base / "config.py"),
        "cut a file of the fleet": lambda: os.truncate(base / "decoy", 0),
        "create a file in the home": lambda: create(base / "planted"),
        "list the home": lambda: os.listdir(base),
        "list the bots": lambda: os.listdir(base / "bots"),
        "read another node's program": lambda: read(beside / "bot.py"),
        "read another node's manifest": lambda: read(beside / "node.json"),
        "write another node's program": lambda: append(beside / "bot.py"),
        "create a file in another node's folder": lambda: create(beside / "planted.py"),
        "read another node's session": lambda: read(state / "sessions" / targets["other_id"]),
        "read another node's log": lambda: read(state / "logs" / f"{beside.name}.err.log"),
        "replace a log by a pipe": lambda: replace_by_pipe(state / "logs" / "decoy.err.log"),
        "write beside the own folder": lambda: create(base / "bots" / "planted"),
        "write the user's home": lambda: create(Path(targets["user_home"]) / ".fleet-planted"),
        "read the user's home": lambda: read(Path(targets["user_home"]) / ".fleet-decoy"),
        "write /tmp": lambda: create(Path("/tmp/fleet-planted")),  # noqa: S108 - tried, not used
        "write the system": lambda: create(Path("/usr/local/fleet-planted")),
        "make a device": make_device,
        "use the control socket without its key": lambda: ask(state / "control.sock", ""),
        "use the control socket with a guess": lambda: ask(state / "control.sock", "A" * 43),
        "reach an abstract socket": lambda: reach_abstract(targets["abstract"]),
    }
    for who, pid in pids.items():
        found |= {
            f"trace {who}": lambda pid=pid: trace(pid),  # type: ignore[misc]
            f"read memory of {who}": lambda pid=pid: read_memory(pid),  # type: ignore[misc]
            f"read memory of {who} by call": lambda pid=pid: read_memory_by_call(pid),  # type: ignore[misc]
            f"read the environment of {who}": lambda pid=pid: read(Path(f"/proc/{pid}/environ")),  # type: ignore[misc]
            f"read the folder of {who}": lambda pid=pid: os.listdir(f"/proc/{pid}/cwd/"),  # type: ignore[misc]
            f"take a descriptor of {who}": lambda pid=pid: take_descriptor(pid),  # type: ignore[misc]
            f"signal {who}": lambda pid=pid: os.kill(pid, 0),  # type: ignore[misc]
        }
    return found | {
        "own files": own_file,
        "own temporary files": own_temporary,
        "own programs": own_child,
        "own log, opened again": lambda: reopen(2),
        "own certificates": ssl.create_default_context,
        "own names": lambda: socket.getaddrinfo("localhost", 80),
        "own locks": multiprocessing.Lock,
        "own library, imported late": lambda: __import__("wsgiref.simple_server"),
    }


def outcome_of(attempt: Callable[[], object]) -> str:
    """Try; returns ``done``, or why it was refused."""
    try:
        attempt()
    except subprocess.CalledProcessError as error:
        return f"exit code {error.returncode}"
    except OSError as error:
        return error.strerror or str(error)
    return "done"


def main() -> None:
    """Try everything, and write the outcomes."""
    targets = json.loads(Path("targets.json").read_text())
    outcomes = {name: outcome_of(attempt) for name, attempt in attempts(targets).items()}
    # The limit of Landlock that docs/security.md tells: modes and times of files can be changed.
    limit = "change the mode of a file of the fleet"
    outcomes[limit] = outcome_of(lambda: (Path(targets["home"]) / "decoy").chmod(0o644))
    Path("outcomes.new").write_text(json.dumps(outcomes))
    with contextlib.suppress(FileNotFoundError):
        Path("outcomes.new").rename("outcomes.json")


async def setup(bot: object) -> None:
    """Try everything as a cog that is loaded."""
    main()


if __name__ == "__main__":
    main()
