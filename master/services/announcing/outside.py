"""Places outside Discord: each attempt is a child process (:mod:`master.services.announcing.child`)."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence

import msgspec

from master.services.announcing.child_messages import Answer, Known, Task
from master.services.announcing.outcomes import Fate, Outcome

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""For one attempt; apprise's own time-outs are four seconds for a connection and for each wait."""
_AT_ONCE = 3
"""Processes: each costs 60 MB for a second or two."""
_MAX_ANSWER_BYTES = 1 << 20
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Outside:
    """Send to addresses, and ask what they take."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, timeout_s: float = TIMEOUT_S) -> None:
        self._environment = environment
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def send(self, url: str, title: str, text: str, key: str) -> Outcome:
        """Send a text to one address, and return what became of it."""
        answer = await self._run(Task(urls=(url,), send=True, title=title, text=text, key=key))
        if isinstance(answer, str) or answer.outcome is None:
            return Outcome(fate=Fate.UNKNOWN, detail=str(answer)[:200])
        return answer.outcome

    async def know(self, urls: Sequence[str]) -> tuple[Known, ...]:
        """Return what addresses take, in their order."""
        if not urls:
            return ()
        answer = await self._run(Task(urls=tuple(urls), send=False))
        if isinstance(answer, str) or len(answer.known) != len(urls):
            return tuple(Known(detail="apprise did not say what it takes") for _ in urls)
        return answer.known

    async def _run(self, task: Task) -> Answer | str:
        """Return what the child says, or why it says nothing."""
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "master.services.announcing.child",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._child_environment(),
            )
            try:
                async with asyncio.timeout(self._timeout_s):
                    said, _ = await process.communicate(msgspec.json.encode(task))
            except TimeoutError:
                return f"it had not finished after {self._timeout_s:g} s"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        try:
            return msgspec.json.decode(said, type=Answer)
        except msgspec.DecodeError:
            log.warning("the process that sends announcements failed", extra={"status": process.returncode})
            return f"the process that sends it ended with status {process.returncode}"

    def _child_environment(self) -> dict[str, str]:
        """Return what the child needs of the environment; its modules are found as this process finds them."""
        wanted = {*_PASSED_ON, *_PROXIES, *(name.upper() for name in _PROXIES)}
        passed = {name: value for name, value in self._environment.items() if name in wanted}
        return passed | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
