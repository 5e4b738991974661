"""Client of the control socket, for the command line: blocking, small, without asyncio."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from handshake.sockets import short_path
from master.control.key import known_key
from master.control.protocol import MAX_LINE_BYTES, Answer, Request
from master.errors import ExitCode, FleetError
from master.operations.operation import Operation

T = TypeVar("T")
E = TypeVar("E")
P = TypeVar("P", bound=msgspec.Struct)

CONNECT_TIMEOUT_S = 3.0
_CONNECT_AGAIN_S = 0.05


class NoMaster(FleetError):
    """No master runs in this home."""

    code: ClassVar[str] = "no_master"
    exit_code: ClassVar[ExitCode] = ExitCode.NO_MASTER


class ControlTimedOut(FleetError):
    """The master did not answer in time."""

    code: ClassVar[str] = "control_timed_out"
    exit_code: ClassVar[ExitCode] = ExitCode.TIMED_OUT


class ControlBroken(FleetError):
    """The master's answer was not valid or incomplete."""

    code: ClassVar[str] = "control_broken"


class ControlRefused(FleetError):
    """The master belongs to another user."""

    code: ClassVar[str] = "control_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class NotText(FleetError):
    """A parameter has bytes that are no text."""

    code: ClassVar[str] = "not_text"
    exit_code: ClassVar[ExitCode] = ExitCode.REFUSED


class RemoteError(FleetError):
    """An error that the master returned, with its code and exit code."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message, hint=answer.hint)
        self.code = answer.code  # type: ignore[misc]
        self.exit_code = failure_code(answer.exit_code)  # type: ignore[misc]


def failure_code(number: int) -> ExitCode:
    """Return the exit code of a failure; a number that this version does not know is ``FAILED``, and never 0."""
    known = {code.value for code in ExitCode} - {ExitCode.OK.value}
    return ExitCode(number) if number in known else ExitCode.FAILED


class ControlClient:
    """Talk to a running master.

    Parameters
    ----------
    path
        The control socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, operation: Operation[P, T, Any], parameters: P, *, timeout_s: float = 60.0) -> T:
        """Run an operation in the master and return its result; events are ignored.

        Raises
        ------
        NoMaster, ControlTimedOut, ControlBroken, RemoteError
        """
        answer: type[T] = operation.result
        return self.call(operation.name, parameters, answer=answer, timeout_s=timeout_s)

    def call(self, method: str, params: Any = None, *, answer: type[T], timeout_s: float = 60.0) -> T:
        """Make a request by name and return its result; events are ignored.

        Raises
        ------
        NoMaster, ControlTimedOut, ControlBroken, RemoteError
        """
        data: Any = None
        for line in self._exchange(method, params, timeout_s):
            data = line.data  # the last line is the result
        return _decoded(data, answer)

    def follow(
        self,
        operation: Operation[P, T, Any],
        parameters: P,
        *,
        event: type[E],
        on_event: Callable[[E], None],
        timeout_s: float | None = None,
    ) -> T:
        """Run an operation in the master, show each of its events, and return its result.

        Parameters
        ----------
        event
            What the operation sends while it runs.
        on_event
            Called with each event as it arrives.

        Raises
        ------
        NoMaster, ControlTimedOut, ControlBroken, RemoteError
        """
        answer: type[T] = operation.result
        data: Any = None
        for line in self.stream(operation.name, parameters, timeout_s=timeout_s):
            if line.kind == "event":
                on_event(_decoded(line.data, event))
            data = line.data
        return _decoded(data, answer)

    def stream(self, method: str, params: Any = None, *, timeout_s: float | None = None) -> Iterator[Answer]:
        """Make a request by name and yield each line of its answer.

        Raises
        ------
        NoMaster, ControlTimedOut, ControlBroken, RemoteError
        """
        yield from self._exchange(method, params, timeout_s)

    def _exchange(self, method: str, params: Any, timeout_s: float | None) -> Iterator[Answer]:
        given = msgspec.to_builtins(params) if params is not None else {}
        shown = known_key(self._path.parent)
        try:
            yield from self._exchange_once(Request(method, given, shown), timeout_s)
        except RemoteError as error:
            # A key that was lost is made again at the first call: nothing was done yet.
            made = known_key(self._path.parent) if error.code == "no_key" else shown
            if made == shown:
                raise
            yield from self._exchange_once(Request(method, given, made), timeout_s)

    def _exchange_once(self, request: Request, timeout_s: float | None) -> Iterator[Answer]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._connect() as connection:
            connection.settimeout(timeout_s)
            _send(connection, _encoded(request))
            with connection.makefile("rb") as lines:
                while line := self._line(connection, lines, deadline):
                    answer = _decoded_line(line)
                    if answer.kind == "error":
                        raise RemoteError(answer)
                    yield answer
                    if answer.kind == "result":
                        return
        raise ControlBroken(
            "the master closed the connection before its answer was complete",
            hint="what it had begun may be done; `fleet status` shows the fleet, and the master's log says why",
        )

    def _line(self, connection: socket.socket, lines: Any, deadline: float | None) -> bytes:
        """Return the next line; empty at the end of the connection, also in the middle of a line."""
        try:
            if deadline is not None:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
            line = bytes(lines.readline(MAX_LINE_BYTES))
        except OSError as error:
            raise _broken(error) from error
        if len(line) == MAX_LINE_BYTES:
            raise ControlBroken(f"the master's answer is longer than {MAX_LINE_BYTES} bytes")
        # A line without its end may be a whole one of a shorter answer: nobody knows what was to follow.
        return line if line.endswith(b"\n") else b""

    def _connect(self) -> socket.socket:
        until = time.monotonic() + CONNECT_TIMEOUT_S
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(CONNECT_TIMEOUT_S)
            try:
                with short_path(self._path) as name:
                    connection.connect(name)
                return connection
            except OSError as error:
                connection.close()
                # A Unix socket with a full queue says EAGAIN at once, also to callers that would wait (connect(2)).
                if error.errno != errno.EAGAIN or time.monotonic() > until:
                    raise self._unreachable(error) from error
            time.sleep(_CONNECT_AGAIN_S)

    def _unreachable(self, error: OSError) -> FleetError:
        if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
            return ControlTimedOut("the master does not accept connections", hint="`fleet doctor` looks closer")
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return NoMaster(f"no master is running in {self._path.parent.parent}", hint="`fleet up` starts one")
        if isinstance(error, PermissionError):
            return ControlRefused(
                f"you may not use {self._path}", hint="run the command as the user who runs the master, or as root"
            )
        if isinstance(error, ConnectionRefusedError):
            return NoMaster(
                f"the master that made {self._path} is gone ({error.strerror})",
                hint="`fleet up` starts a new one; it replaces the socket and takes its nodes back",
            )
        return ControlBroken(f"{self._path} cannot be used: {error.strerror}", hint="`fleet doctor` looks closer")


def _encoded(request: Request) -> bytes:
    try:
        return msgspec.json.encode(request) + b"\n"
    except UnicodeEncodeError:
        raise NotText("a name or a path is not valid UTF-8", hint="give one that is") from None


def _send(connection: socket.socket, request: bytes) -> None:
    try:
        connection.sendall(request)
    except OSError as error:
        # Not passed on: the command line takes a BrokenPipeError for a closed standard output, which is no failure.
        raise _broken(error) from error


def _broken(error: OSError) -> FleetError:
    if isinstance(error, TimeoutError):
        return ControlTimedOut("the master did not answer in time", hint="`fleet doctor` looks closer")
    return ControlBroken(f"the connection to the master broke: {error.strerror}", hint="`fleet doctor` looks closer")


def _decoded_line(line: bytes) -> Answer:
    try:
        return msgspec.json.decode(line, type=Answer)
    except msgspec.MsgspecError as error:
        raise ControlBroken(f"the master's answer is not valid: {error}") from error


def _decoded(data: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ControlBroken(
            f"the master's answer is not valid: {error}", hint="is it of another version? restart it"
        ) from error
