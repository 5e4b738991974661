"""Messages of the control socket. Both ends import this module, so it imports nothing heavy.

A method is the name of an operation (:mod:`master.operations`); ``params`` are the operation's parameters.

One connection carries one request, as one line of JSON::

    {"method": "restart", "params": {"names": ["atlas"]}}

The answer is any number of ``event`` lines (progress, or a stream such as ``events``), then exactly one ``result``
or ``error`` line; a connection that ends without one has broken. A caller that closes its side ends an operation that
only follows, and no other. The caller is identified by the kernel (SO_PEERCRED), not by anything in the request; its
``key`` only shows that it may read the state folder (:mod:`master.control.key`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Largest answer line: enough for the status of some thousands of nodes."""
MAX_REQUEST_BYTES = 64 * 1024


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request."""

    method: str
    params: dict[str, Any] = {}
    key: str = ""

    def __repr__(self) -> str:
        return f"Request(method={self.method!r})"  # params may contain a token


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an answer."""

    kind: Literal["event", "result", "error"]
    data: Any = None
    code: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int = 0
