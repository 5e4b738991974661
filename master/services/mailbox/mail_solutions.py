"""Runs solutions for mails: in their modes and within their limits, as for an error."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from master.errors import FleetError
from master.ledger.rows.records import SolutionRun
from master.services.core.actors import Actor
from master.services.mailbox.acting import CannotTell, Deed, Job, NotYet
from master.services.mailbox.errors import MailRefused
from master.services.mailbox.mail_tools import MailTools

_CLOCK_MOVES = timedelta(minutes=10)
AT_ONCE_S = 5.0
"""An action may take minutes: other mails do not wait for it."""


class MailSolutions:
    """Run solutions for mails. The run names its mail, so that a second try finds the first."""

    def __init__(self, tools: MailTools) -> None:
        self._tools = tools
        self._running: dict[str, asyncio.Task[SolutionRun]] = {}
        """By mail."""

    @property
    def deed(self) -> Deed:
        """``solution``."""
        return Deed(self._do, self._find)

    async def _find(self, job: Job) -> str:
        if job.mail.id in self._running:
            return ""
        since = job.action.changed_at - _CLOCK_MOVES
        run = await self._tools.repair.asked_for(_reason(job), since=since)
        return "" if run is None else _told(run)

    async def _do(self, job: Job) -> str:
        if not job.mail.is_trusted:
            raise MailRefused("its sender is not vouched for")
        task = self._running.get(job.mail.id)
        if task is None:
            node = self._tools.ticketing.tools.directory.find(job.plan.node)
            actor = Actor(face="system", identity=f"mail/{job.mail.mailbox}", name=job.mail.mailbox)
            call = self._tools.repair.run_for(job.plan.solution, node.id, reason=_reason(job), actor=actor)
            task = self._running[job.mail.id] = asyncio.create_task(call, name=f"solution for mail {job.mail.id}")
        await asyncio.wait({task}, timeout=AT_ONCE_S)
        if not task.done():
            raise NotYet(f"{job.plan.solution} is still at it")
        del self._running[job.mail.id]
        try:
            return _told(task.result())
        except FleetError as error:
            raise MailRefused(error.message, hint=error.hint) from error


def _told(run: SolutionRun) -> str:
    match run.outcome:
        case "running" | "interrupted":
            raise CannotTell(f"{run.solution_id} was cut off while it acted: `fleet repairs` has it")
        case "failed" | "skipped":
            raise MailRefused(f"{run.solution_id}: {run.detail}")
    return f"{run.solution_id}, repair {run.id}"


def _reason(job: Job) -> str:
    return f"asked for by mail {job.mail.id}"
