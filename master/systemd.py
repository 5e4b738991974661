"""Telling systemd that the master is up and alive: sd_notify(3), which is one datagram, and so needs no library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


def notify(environment: Mapping[str, str], state: str) -> bool:
    """Send a state (``READY=1``) to the service manager; False when there is none, or it does not listen."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(1.0)
            sending.sendto(state.encode(), address.replace("@", "\0", 1))
    except OSError as error:
        log.warning("systemd does not listen", extra={"why": error.strerror})
        return False
    return True


def reloading() -> str:
    """Return the state of a program that begins anew under the same pid (sd_notify(3), RELOADING=1)."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """Return how often the service manager wants a sign of life, halved as sd_watchdog_enabled(3) advises."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6


async def feed_watchdog(environment: Mapping[str, str]) -> None:
    """Say that the event loop turns, until cancelled; returns at once when nobody wants to know."""
    interval_s = watchdog_interval_s(environment)
    while interval_s is not None:
        notify(environment, "WATCHDOG=1")
        await asyncio.sleep(interval_s)
