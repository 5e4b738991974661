"""Real conversations of the command line with a master, recorded, to be broken off anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import typer.main

from master.cli import app as application

_BUILT = typer.main.get_command(application.build_app())
_ALIASES = {command.name for command in application._COMMANDS if command.is_alias}
"""Other spellings of commands, which are not in it."""
"""What ``run`` builds anew at each call, which takes longer than the command itself."""

Death = Literal["hang up", "reset", "torn line", "silence"]
"""How a master ends: it closes, closes with something unread, writes half a line as a whole one, or is not there."""


@dataclass
class Told:
    """What one command ended with."""

    code: int
    out: str
    err: str

    def check(self, what: object) -> None:
        """Fail if it was a traceback, or an exit code that no document has."""
        assert "Traceback" not in self.out + self.err, (what, self)
        assert self.code in (*range(11), 130), (what, self)


def typed(arguments: Sequence[str], stdin: str = "") -> Told:
    """Run a command in this process; an exception that reaches the top is a traceback, and fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patched.setattr(sys, "argv", ["fleet", *arguments])
        patched.setattr(sys, "stdin", io.StringIO(stdin))
        if not set(arguments[:1]) & _ALIASES:
            patched.setattr(application, "build_app", lambda _typed: _BUILT)
        code = application.run()
    return Told(int(code), out.getvalue(), err.getvalue())


@dataclass
class Conversation:
    """What a master said in the connections of one command, in their order."""

    answers: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.answers))


@contextlib.asynccontextmanager
async def recorder(path: Path, master: Path, *, at_most_lines: int | None = None) -> AsyncIterator[Conversation]:
    """Listen at ``path``, and pass everything on to a real master and back.

    Parameters
    ----------
    at_most_lines
        Hang up after that many lines of an answer, for those that never end.
    """
    heard = Conversation()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_master, to_master = await asyncio.open_unix_connection(str(master), limit=1 << 24)
        index = len(heard.answers)
        heard.answers.append(b"")
        with contextlib.suppress(ConnectionError):
            to_master.write(await reader.readline())
            count = 0
            while (at_most_lines is None or count < at_most_lines) and (line := await from_master.readline()):
                count += 1
                heard.answers[index] += line
                writer.write(line)
                await writer.drain()
        writer.close()
        to_master.close()

    server = await asyncio.start_unix_server(relay, str(path), limit=1 << 24)
    try:
        yield heard
    finally:
        server.close()
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def dying_master(path: Path, conversation: Conversation, *, after: int, death: Death) -> Iterator[None]:
    """Say the first ``after`` bytes of a conversation, and die; with all of them said, stay and say the last again."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        left, connections = after, 0
        with contextlib.suppress(OSError):
            while True:
                whole = conversation.answers[min(connections, len(conversation.answers) - 1)]
                answer = whole[:left] if connections < len(conversation.answers) else whole
                dies = len(answer) < len(whole)
                if dies and death == "silence":
                    listener.close()
                    return
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    if not dies or death != "reset":
                        _read_request(connection)
                    # Not where that would make the line whole.
                    torn = dies and death == "torn line" and whole[len(answer) : len(answer) + 1] != b"\n"
                    connection.sendall(answer + b"\n" * torn)
                if dies:
                    listener.close()
                    return
                left -= len(answer)
                connections += 1

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join(10)


def _read_request(connection: socket.socket) -> None:
    while (chunk := connection.recv(65_536)) and not chunk.endswith(b"\n"):
        pass
