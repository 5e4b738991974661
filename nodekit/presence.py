"""Minimal handshake for a bot that nodekit cannot link: reports that it runs, so that it counts as ready.

Implements the required part of the protocol (docs/protocol.md) with the standard library of Python 3.8, in its own
thread: verification and pulses over the local socket. Tests compare it with ``handshake.signing``.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import hmac
import json
import os
import platform
import secrets
import select
import socket
import struct
import sys
import threading
import time
from typing import Any

ANSWER_TIMEOUT_S = 10.0
EXIT_CONFIGURATION, EXIT_LICENCE = 64, 67
_MAX_BYTES = 65_536


def announce_unlinked(why: str) -> None:
    """Set the program's token variable, count its IDENTIFY, and start the thread that reports to the master.

    Raises
    ------
    SystemExit
        With code 64: there is no boot document.
    """
    boot = _read_boot()
    # As nodekit.linking.set_private_variable: not visible to child processes.
    environment: Any = os.environ
    environment._data[os.fsencode(boot["token_variable"])] = os.fsencode(boot["token"])
    os.environ.pop("FLEET_SESSION_FD", None)
    _count_identify(os.environ.pop("FLEET_IDENTIFY_FD", ""))
    if boot.get("socket_path") is None:
        print("[fleet] the master cannot be told that it runs: that takes the local socket", file=sys.stderr)
        return
    threading.Thread(target=Presence(boot, why).run, name="fleet", daemon=True).start()


def _read_boot() -> dict[str, Any]:
    number = os.environ.pop("FLEET_BOOT_FD", "")
    payload = b""
    if number.isdecimal():
        with os.fdopen(int(number), "rb") as stream:
            # As handshake.boot: no other process of this user reads this one's memory (PR_SET_DUMPABLE), from now on.
            waiting = select.poll()
            waiting.register(stream, select.POLLIN)
            waiting.poll()
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
            payload = stream.read(_MAX_BYTES)
    if not payload:
        print("[fleet] no boot document: the master is gone", file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION)
    boot: dict[str, Any] = json.loads(payload)
    return boot


def _count_identify(number: str) -> None:
    """Record one IDENTIFY, in nodekit.identify_budget's format; further ones of the program cannot be seen here."""
    if number.isdecimal():
        with os.fdopen(int(number), "r+b") as stream:
            stream.seek(0, os.SEEK_END)
            stream.write(struct.pack(">Q", int(time.time() * 1000)))


class Presence:
    """Verify a node, and send its pulses.

    Parameters
    ----------
    boot
        The boot document.
    why
        Why the program is not linked, for the master.
    """

    def __init__(self, boot: dict[str, Any], why: str) -> None:
        self._boot = boot
        self._why = why
        self._key = base64.b64decode(boot["key"])
        self._began = time.time()
        self._sequence = 0
        with open("node.json", "rb") as stream:
            self._licence = json.load(stream)["licence"]

    def run(self) -> None:
        """Verify and pulse for as long as the program runs."""
        while True:
            try:
                with self._connect() as connection:
                    self._verify_and_pulse(connection)
            except OSError:
                time.sleep(self._boot["pulse_interval_s"])
            except Exception as error:
                # Without its pulses the node would be replaced: whatever it is, it must not end this thread.
                print("[fleet] the handshake failed, and begins anew:", repr(error), file=sys.stderr)
                time.sleep(self._boot["pulse_interval_s"])

    def _connect(self) -> socket.socket:
        folder, name = os.path.split(self._boot["socket_path"])
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Connect through the folder's descriptor: the path may be too long for a socket address.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(f"/proc/self/fd/{descriptor}/{name}")
        except BaseException:
            connection.close()
            raise
        finally:
            os.close(descriptor)
        return connection

    def _verify_and_pulse(self, connection: socket.socket) -> None:
        """Verify the node, then pulse; any answer to a pulse is a request to verify again."""
        while True:
            self._send(connection, "verification_request", self._request())
            answer = self._receive(connection, ANSWER_TIMEOUT_S)
            if answer is not None and answer.get("accepted") is False:
                print("[fleet] the master does not accept this node:", answer.get("reason", ""), file=sys.stderr)
                os._exit(EXIT_LICENCE)
            while True:
                self._send(connection, "heartbeat", {"uptime_s": round(time.time() - self._began, 1)})
                if self._receive(connection, self._boot["pulse_interval_s"]) is not None:
                    break

    def _request(self) -> dict[str, Any]:
        user_id = base64.urlsafe_b64decode(self._boot["token"].partition(".")[0] + "==")
        return {
            "licence": self._licence,
            "version": "",
            "pid": os.getpid(),
            "pid_started_at": 0.0,
            "bot_user_id": int(user_id),
            "started_at": self._began,
            "python": platform.python_version(),
            "library": f"not linked: {self._why}"[:100],
        }

    def _send(self, connection: socket.socket, kind: str, body: dict[str, Any]) -> None:
        connection.sendall(self.sign(kind, body).encode() + b"\n")

    def _receive(self, connection: socket.socket, timeout_s: float) -> dict[str, Any] | None:
        """Return the answer to the last message; None if there is none in time.

        Raises
        ------
        OSError
            The master closed the connection.
        """
        if not select.select([connection], [], [], timeout_s)[0]:
            return None
        line = b""
        while not line.endswith(b"\n"):
            received = connection.recv(_MAX_BYTES)
            if not received or len(line) > _MAX_BYTES:
                raise OSError("the master hung up")
            line += received
        return self._open(line.split(b"\n")[0])

    def _open(self, text: bytes) -> dict[str, Any] | None:
        signed, _, signature = text.rpartition(b".")
        if not hmac.compare_digest(_decode(signature), hmac.new(self._key, signed, hashlib.sha256).digest()):
            return None
        claims = json.loads(_decode(signed.partition(b".")[2]))
        body: dict[str, Any] = claims["body"]
        return body if claims.get("re") == self._token_id else None

    def sign(self, kind: str, body: dict[str, Any]) -> str:
        """Return a signed message."""
        boot, now = self._boot, int(time.time())
        self._sequence += 1
        self._token_id = secrets.token_urlsafe(12)
        header = {"alg": "HS256", "kid": f"{boot['node_id']}.{boot['key_epoch']}", "typ": kind}
        claims = {
            "iss": boot["node_id"],
            "aud": "master",
            "iat": now,
            "exp": now + 60,
            "jti": self._token_id,
            "seq": self._sequence,
            "body": body,
        }
        signed = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        return (signed + b"." + _encode(hmac.new(self._key, signed, hashlib.sha256).digest())).decode()


def _encode(payload: bytes) -> bytes:
    return base64.urlsafe_b64encode(payload).rstrip(b"=")


def _decode(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
