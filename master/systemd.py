"""Notifications to systemd: sd_notify(3), which is one datagram, and so needs no library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


def notify(environment: Mapping[str, str], state: str) -> bool:
    """Send a state (``READY=1``) to the service manager; False when there is none or the socket fails."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
            sending.settimeout(1.0)
            sending.sendto(state.encode(), address.replace("@", "\0", 1))
    except OSError as error:
        log.warning("systemd could not be notified", extra={"why": error.strerror})
        return False
    return True


def reloading() -> str:
    """Return the state of a program that re-executes under the same pid (sd_notify(3), RELOADING=1)."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """Return the interval of watchdog messages: half the time-out, as sd_watchdog_enabled(3) advises."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6


async def feed_watchdog(environment: Mapping[str, str]) -> None:
    """Send watchdog messages from the event loop until cancelled; returns at once without a watchdog."""
    interval_s = watchdog_interval_s(environment)
    while interval_s is not None:
        notify(environment, "WATCHDOG=1")
        await asyncio.sleep(interval_s)
