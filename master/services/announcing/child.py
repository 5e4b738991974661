"""Sends to one address: ``python -m master.services.announcing.child``, which reads a task on its standard input.

A process of its own, for apprise costs 38 MB once its services are loaded, and an address holds passwords: it comes
over a pipe, and is neither in the arguments nor in the environment. A process sends once, or says what addresses take.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from master.services.announcing.child_messages import Answer, Known, Task
from master.services.announcing.devto import DEVTO_LIMITS, SCHEME, publish
from master.services.announcing.outcomes import Fate, Outcome
from master.services.announcing.texts import Limits, fit

if TYPE_CHECKING:
    from master.services.announcing.answers import Witness

NOT_INSTALLED = (
    f"apprise is missing: `FLEET_EXTRAS=announce {Path(__file__).resolve().parents[3] / 'fleet'} doctor` installs it"
)
_MAX_TEXT = 32_768
"""Of a service that names no limit of its own."""


def main() -> None:
    """Do what standard input asks for; the answer is one line of standard output."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    answer = Answer(outcome=_send(task)) if task.send else Answer(known=tuple(_know(url) for url in task.urls))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _know(url: str) -> Known:
    if url.startswith(SCHEME):
        return Known(limits=DEVTO_LIMITS)
    try:
        service = _service_of(url)
    except ModuleNotFoundError:
        return Known(detail=NOT_INSTALLED)
    if service is None:
        return Known(detail="apprise does not know such an address")
    return Known(limits=_limits_of(service))


def _service_of(url: str) -> Any:
    """Return apprise's service of an address; None if there is none."""
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="Fleetmaster", app_desc="Fleetmaster", async_mode=False)
    return Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


def _limits_of(service: Any) -> Limits:
    text = int(service.body_maxlen or 0) or _MAX_TEXT
    return Limits(text=text, title=int(service.title_maxlen or 0), service=str(service.service_name))


def _send(task: Task) -> Outcome:
    url = task.urls[0]
    if url.startswith(SCHEME):
        return publish(url, fit(task.title, task.text, DEVTO_LIMITS))
    try:
        service = _service_of(url)
    except ModuleNotFoundError:
        return Outcome(fate=Fate.REFUSED, detail=NOT_INSTALLED)
    if service is None:
        return Outcome(fate=Fate.REFUSED, detail="apprise does not know such an address")
    return _notify(service, task)


def _notify(service: Any, task: Task) -> Outcome:
    """Send through apprise. It says yes or no; why not, and where it is now, is read of what passes below it."""
    from apprise import NotifyFormat, NotifyType

    from master.services.announcing.answers import Witness

    fitted = fit(task.title, task.text, _limits_of(service))
    with Witness(task.key) as witness:
        done = service.notify(
            body=fitted.text, title=fitted.title, notify_type=NotifyType.INFO, body_format=NotifyFormat.TEXT
        )
    return _judged(witness, done=bool(done))


def _judged(witness: Witness, *, done: bool) -> Outcome:
    return Outcome(fate=Fate.SENT, url=witness.url) if done else witness.failure()


if __name__ == "__main__":
    main()
