"""Carries out what mails set off: each action once, whenever the master ends.

An action is ``doing`` before it is begun. What is found so was begun by a master that ended, or failed for Discord: it
is looked up first, and begun again only if it was not done. Where nobody can look it up, an operator is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec
from sqlalchemy import Connection

from master.errors import FleetError
from master.events import AlertLevel, GatewayConnected, LedgerReturned
from master.ledger.errors import LedgerError
from master.ledger.rows import mails
from master.ledger.rows.mail_records import ActionState, Mail, MailAction
from master.services.core.errors import DiscordUnavailable
from master.services.mailbox.errors import MailboxError
from master.services.mailbox.mail_content import MailContent
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.plans import Plan, decoded
from master.wording import as_markdown

log = logging.getLogger(__name__)

AGAIN_FIRST_S, AGAIN_LAST_S = 2.0, 300.0
_AT_A_TIME, _DETAIL, _RESULT = 50, 400, 120


class NotYet(MailboxError):
    """It waits for something else: a channel, room, Discord."""


class CannotTell(MailboxError):
    """It may have been done before, and there is no way to look it up."""


class Job(msgspec.Struct, frozen=True):
    """An action with its mail."""

    mail: Mail
    content: MailContent
    action: MailAction
    plan: Plan


class Deed(msgspec.Struct, frozen=True):
    """How one kind of action is done.

    Parameters
    ----------
    do
        Does it; returns what it made.
    find
        Returns what a begun one made; empty if it was not done. Raises :class:`CannotTell`.
    """

    do: Callable[[Job], Awaitable[str]]
    find: Callable[[Job], Awaitable[str]]


class Acting:
    """Carry out actions, the oldest mail's first; of one mail one after the other."""

    def __init__(self, tools: MailTools, deeds: Mapping[str, Deed]) -> None:
        self._tools, self._deeds = tools, deeds
        self.woken = asyncio.Event()
        self._again: dict[str, tuple[float, float]] = {}
        """By mail: when it is tried again, in monotonic seconds, and after how long a pause."""
        tools.bus.on(GatewayConnected, lambda _event: self.now())
        tools.bus.on(LedgerReturned, lambda _event: self.now())

    def now(self) -> None:
        """Try all again at once that wait."""
        self._again = {mail_id: (0.0, AGAIN_FIRST_S) for mail_id in self._again}
        self.woken.set()

    async def run(self) -> None:
        """Act until cancelled."""
        while True:
            self.woken.clear()
            try:
                await self.step()
            except LedgerError as error:
                log.info("mails wait for the ledger", extra={"why": error.message})
                await self._tools.ledger.wait_available()
                await asyncio.sleep(AGAIN_FIRST_S)
                continue
            due = [at for at, _ in self._again.values()]
            pause_s = max(0.0, min(due) - self._tools.clock.monotonic()) if due else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.woken.wait()

    async def step(self) -> None:
        """Do all that is to be done now.

        Raises
        ------
        LedgerError
        """
        passed = ""
        while found := await self._tools.ledger.read(partial(mails.open_actions, after=passed, limit=_AT_A_TIME)):
            for action in found:
                if action.mail_id <= passed or not self._is_due(action.mail_id):
                    continue
                if await self._take(action):
                    # What comes next of this mail is another one now.
                    break
                # Those before it are looked at again in the next round, each once, however many wait.
                passed = action.mail_id
            else:
                passed = found[-1].mail_id

    def _is_due(self, mail_id: str) -> bool:
        at, _ = self._again.get(mail_id, (float("-inf"), 0.0))
        return at <= self._tools.clock.monotonic()

    async def _take(self, action: MailAction) -> bool:
        """Take one action a step further; tells whether it is over."""
        mail = await self._tools.ledger.read(lambda connection: mails.get(connection, action.mail_id))
        if mail is None or not mail.content:
            await self._end(action, "failed", detail="what was in the mail is not on record any more")
            return True
        job = Job(mail, msgspec.json.decode(mail.content, type=MailContent), action, decoded(action.plan))
        try:
            result = await self._carry_out(job)
        except (NotYet, DiscordUnavailable) as error:
            self._later(action.mail_id)
            log.info("a mail's action waits", extra={"mail": action.mail_id, "why": error.message})
            return False
        except CannotTell as error:
            await self._ask(job, error)
        except LedgerError:
            raise
        except FleetError as error:
            await self._fail(job, " ".join(filter(None, (error.message, error.hint))))
        else:
            await self._end(action, "done", result=result[:_RESULT])
            self._tools.tell_act(mail.id, mail.mailbox, action.rule, action.action, result)
        self._again.pop(action.mail_id, None)
        return True

    async def _carry_out(self, job: Job) -> str:
        deed = self._deeds.get(job.action.action)
        if deed is None:
            raise MailboxError(f"nobody knows the action {job.action.action!r}")
        if job.action.state == "doing":
            found = await deed.find(job)
            if found:
                return found
        else:
            await self._change(job.action, ("planned",), "doing")
        return await deed.do(job)

    # What became of it

    async def _end(self, action: MailAction, state: ActionState, *, result: str = "", detail: str = "") -> None:
        """Write down what became of an action, and with the last one what became of its mail."""
        now = self._tools.clock.now()

        def write(connection: Connection) -> None:
            was: tuple[ActionState, ...] = ("planned", "doing")
            values = {"state": state, "result": result, "detail": detail[:_DETAIL]}
            mails.change_action(connection, action.mail_id, action.number, was=was, at=now, **values)
            states = {one.state for one in mails.actions_of(connection, (action.mail_id,))}
            if states.isdisjoint(was):
                if states == {"done"}:
                    mails.change(connection, action.mail_id, at=now, state="done", detail="", content="")
                else:
                    # Its content stays, should somebody want it tried again.
                    mails.change(connection, action.mail_id, at=now, state="failed", detail=detail[:_DETAIL])

        await self._tools.ledger.write(write)

    async def _change(self, action: MailAction, was: tuple[ActionState, ...], state: ActionState) -> None:
        now = self._tools.clock.now()
        await self._tools.ledger.write(
            lambda connection: mails.change_action(
                connection, action.mail_id, action.number, was=was, at=now, state=state
            )
        )

    async def _fail(self, job: Job, why: str) -> None:
        await self._end(job.action, "failed", detail=why)
        # Of a ticket that could not be opened nothing can be written in it.
        await self._give_up_others(job, "what comes before it failed")
        self._alert(job, AlertLevel.ERROR, "could not be acted on", why)

    async def _ask(self, job: Job, error: CannotTell) -> None:
        await self._end(job.action, "asked", detail=error.message)
        await self._give_up_others(job, "what comes before it is open")
        self._alert(job, AlertLevel.WARNING, "may have been acted on before", error.message)

    async def _give_up_others(self, job: Job, why: str) -> None:
        found = await self._tools.ledger.read(lambda connection: mails.actions_of(connection, (job.mail.id,)))
        for one in found:
            if one.state in ("planned", "doing") and one.number > job.action.number:
                await self._end(one, "failed", detail=why)

    def _alert(self, job: Job, level: AlertLevel, what: str, why: str) -> None:
        mail, action = job.mail, job.action
        self._tools.alerts.raise_alert(
            level,
            f"A mail to {mail.mailbox} {what}",
            # One a mailbox and kind, however many mails: the list has them all.
            key=f"mail:{mail.mailbox}:{action.action}:{what}",
            text=f"{action.action}: {why}"[:1_000]
            + f"\n`fleet mailbox mails --failed` lists them, `fleet mailbox again {mail.id}` does it again.",
            fields=(("Subject", as_markdown(mail.subject[:200]) or "-"), ("Rule", as_markdown(action.rule) or "-")),
        )

    def _later(self, mail_id: str) -> None:
        _, before = self._again.get(mail_id, (0.0, AGAIN_FIRST_S / 2))
        pause = min(before * 2, AGAIN_LAST_S)
        self._again[mail_id] = (self._tools.clock.monotonic() + pause, pause)

    # Operators

    async def again(self, mail_id: str) -> None:
        """Do again what failed, or what only a person can say was not done.

        Raises
        ------
        LedgerError
        """
        now = self._tools.clock.now()

        def write(connection: Connection) -> None:
            for one in mails.actions_of(connection, (mail_id,)):
                was = ("failed", "asked")
                mails.change_action(connection, mail_id, one.number, was=was, at=now, state="planned", detail="")
            mails.change(connection, mail_id, at=now, state="acting", detail="")

        await self._tools.ledger.write(write)
        self._again.pop(mail_id, None)
        self.woken.set()
