"""All mailboxes: watched, paused and resumed, shown. What reads mail is imported only if there is one."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from handshake.redaction import Secret
from master.events import AlertLevel
from master.ledger.rows import mailboxes, mails
from master.ledger.rows.mail_records import Mail, MailAction, Mailbox
from master.services.core.lasting import keep_running
from master.services.core.mailbox_views import MailAnswerRow, MailboxRow, MailboxTested, MailRow
from master.services.mailbox.errors import MailRefused, NoSuchMail
from master.services.mailbox.grants import read_grant
from master.services.mailbox.mail_tools import MailTools

if TYPE_CHECKING:
    from master.ledger.rows.records import Ticket
    from master.services.mailbox.access_tokens import AccessTokens
    from master.services.mailbox.acting import Acting
    from master.services.mailbox.answering import Answering
    from master.services.mailbox.testing import MailboxTesting
    from master.services.mailbox.watcher import Watcher

log = logging.getLogger(__name__)

T = TypeVar("T")

_MISSING = "the libraries for mail are not installed: `FLEET_EXTRAS=mail ./fleet doctor` does that, then restart"
_OPEN = ("seen", "acting")


class Mailboxes:
    """Watch the mailboxes of MAILBOXES."""

    def __init__(self, tools: MailTools) -> None:
        self.tools = tools
        self._watchers: dict[str, Watcher] = {}
        self._acting: Acting | None = None
        self._testing: MailboxTesting | None = None
        self._answering: Answering | None = None
        self._tokens: AccessTokens | None = None
        self._trouble = ""

    async def run(self) -> None:
        """Watch until cancelled; without a mailbox nothing is done, and nothing imported."""
        configured = self.tools.settings().mailboxes
        if not configured:
            return
        try:
            from master.services.mailbox.house import build_house
        except ImportError as error:
            self._trouble = _MISSING if error.name in ("aioimaplib", "aiosmtplib") else str(error)
            self.tools.alerts.raise_alert(
                AlertLevel.ERROR, "No mailbox is watched", key="mailboxes", text=f"{self._trouble}."
            )
            return
        house = build_house(self.tools)
        self._watchers, self._acting, self._testing = house.watchers, house.acting, house.testing
        self._answering, self._tokens = house.answering, house.tokens
        works = {
            "mails": house.acting.run,
            "answers by mail": house.answering.run,
            **{f"mailbox {name}": watcher.run for name, watcher in house.watchers.items()},
        }
        async with asyncio.TaskGroup() as group:
            for name, work in works.items():
                group.create_task(keep_running(name, work, self.tools.bus, self.tools.clock), name=name)

    # Showing

    async def listing(self) -> list[MailboxRow]:
        """Return all mailboxes of the config.

        Raises
        ------
        LedgerError
        """
        rows = {row.name: row for row in await self.tools.ledger.read(mailboxes.load_all)}
        counts = await self.tools.ledger.read(mails.count_by_state)
        return [self._row(name, rows.get(name), counts) for name in self.tools.settings().mailboxes]

    def _row(self, name: str, row: Mailbox | None, counts: dict[tuple[str, str], int]) -> MailboxRow:
        settings = self.tools.settings_of(name)
        state, detail = self.state_of(name)
        last = None if row is None or row.last_mail_at is None else row.last_mail_at.timestamp()
        return MailboxRow(
            name=name,
            user=settings.user,
            host=settings.host,
            login=settings.login,
            state=state,
            detail=detail,
            rules=len(settings.rules),
            has_password=row is not None and row.sealed_secret is not None,
            last_mail_at=last,
            open=sum(counts.get((name, one), 0) for one in _OPEN),
            done=counts.get((name, "done"), 0),
            ignored=counts.get((name, "ignored"), 0),
            failed=counts.get((name, "failed"), 0),
        )

    def state_of(self, name: str) -> tuple[str, str]:
        """Return a mailbox's state, and what there is to say of it."""
        watcher = self._watchers.get(name)
        if watcher is not None:
            return watcher.state, watcher.detail
        return "stopped", self._trouble or "it is watched from the master's next start on"

    def facts(self) -> tuple[str, ...]:
        """Return what `fleet status` says of mailboxes; empty without one."""
        found = []
        for name in self.tools.settings().mailboxes:
            state, detail = self.state_of(name)
            found.append(f"{name} {state}" + (f": {detail}" if detail and state != "ready" else ""))
        return tuple(found)

    async def mails(self, *, mailbox: str = "", failed: bool = False, limit: int = 50) -> list[MailRow]:
        """Return mails, newest first.

        Raises
        ------
        NoSuchMailbox
        LedgerError
        """
        if mailbox:
            self.tools.settings_of(mailbox)
        states = ("failed",) if failed else ()
        query = partial(mails.recent, mailbox=mailbox, states=states, limit=limit)
        found = await self.tools.ledger.read(query)
        actions: dict[str, list[MailAction]] = {}
        for at in range(0, len(found), 500):
            ids = [mail.id for mail in found[at : at + 500]]
            for action in await self.tools.ledger.read(partial(mails.actions_of, mail_ids=ids)):
                actions.setdefault(action.mail_id, []).append(action)
        return [mail_row(mail, actions.get(mail.id, [])) for mail in found]

    # Acting on them

    async def set_paused(self, name: str, *, paused: bool) -> MailboxRow:
        """Pause or resume a mailbox; to resume one whose login was refused tries it again.

        Raises
        ------
        NoSuchMailbox
        LedgerError
        """
        self.tools.settings_of(name)
        row, now = await self.tools.row(name), self.tools.clock.now()
        values: dict[str, object] = {"is_paused": paused, "state": "stopped", "detail": ""}
        await self.tools.ledger.write(lambda connection: mailboxes.change(connection, row.id, at=now, **values))
        self._look_again(name)
        found = await self._shown(name)
        return replace(found, state="stopped", detail="paused") if paused else found

    async def set_password(self, name: str, secret: Secret[str]) -> MailboxRow:
        """Seal a mailbox's password, or its OAuth grant, and log in with it.

        Raises
        ------
        NoSuchMailbox
        MailRefused
            It is no grant, and the mailbox opens with one.
        LedgerError
        """
        if self.tools.settings_of(name).login == "xoauth2":
            read_grant(secret, self.tools.settings_of(name))
        row, now = await self.tools.row(name), self.tools.clock.now()
        values: dict[str, object] = {"sealed_secret": self.tools.vault.seal(row.id, secret), "state": "stopped"}
        await self.tools.ledger.write(lambda connection: mailboxes.change(connection, row.id, at=now, **values))
        self._look_again(name)
        return await self._shown(name)

    def _look_again(self, name: str) -> None:
        if self._tokens is not None:
            self._tokens.forget(name)
        watcher = self._watchers.get(name)
        if watcher is not None:
            watcher.state, watcher.detail = "starting", ""
            watcher.look_again()

    async def _shown(self, name: str) -> MailboxRow:
        return next(row for row in await self.listing() if row.name == name)

    async def test(self, name: str) -> MailboxTested:
        """Try a mailbox step by step; nothing is done about any mail.

        Raises
        ------
        NoSuchMailbox
        MailRefused
            Nothing is watched yet.
        LedgerError
        """
        self.tools.settings_of(name)
        return await self._running(self._testing).test(name)

    def _running(self, part: T | None) -> T:
        if part is None:
            raise MailRefused("no mailbox is watched", hint=self._trouble or "MAILBOXES takes effect with a restart")
        return part

    async def again(self, beginning: str) -> MailRow:
        """Act again on a mail about which something failed, or could not be told.

        Raises
        ------
        NoSuchMail
        MailRefused
        LedgerError
        """
        mail = await self.find(beginning)
        if mail.state != "failed" or not mail.content:
            raise MailRefused(
                f"nothing about this mail is to be done again: it is {mail.state}",
                hint="`fleet mailbox mails --failed` lists those of which something is",
            )
        await self._running(self._acting).again(mail.id)
        return await self._mail_row(mail.id)

    async def answer(self, ticket: Ticket, text: str, *, actor: str) -> MailAnswerRow:
        """Answer who opened a ticket by mail.

        Raises
        ------
        MailRefused
        LedgerError
        """
        return await self._running(self._answering).answer(ticket, text, actor=actor)

    async def find(self, beginning: str) -> Mail:
        """Return a mail by its id, or how that begins.

        Raises
        ------
        NoSuchMail
        LedgerError
        """
        wanted = beginning.strip().upper()
        found = await self.tools.ledger.read(lambda connection: mails.beginning_with(connection, wanted))
        if not wanted or len(found) != 1:
            many = "more than one mail begins so" if found and wanted else f"there is no mail {beginning[:26]!r}"
            raise NoSuchMail(many, hint="`fleet mailbox mails` lists them")
        return found[0]

    async def _mail_row(self, mail_id: str) -> MailRow:
        mail = await self.find(mail_id)
        return mail_row(mail, await self.tools.ledger.read(lambda connection: mails.actions_of(connection, (mail_id,))))


def mail_row(mail: Mail, actions: list[MailAction]) -> MailRow:
    """Return a mail as faces show it."""
    told = []
    for action in actions:
        what = action.result or action.detail
        told.append(f"{action.action}: {action.state}" + (f", {what}" if what else ""))
    return MailRow(
        id=mail.id,
        mailbox=mail.mailbox,
        at=mail.at.timestamp(),
        sender=mail.sender,
        subject=mail.subject,
        is_trusted=mail.is_trusted,
        state=mail.state,
        detail=mail.detail,
        actions=tuple(told),
    )
