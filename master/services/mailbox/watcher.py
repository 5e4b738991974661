"""Watches one mailbox: logs in, takes what came, waits for more, and begins anew when the line is cut."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256

from msgspec.structs import replace

from handshake.redaction import Secret
from master.events import AlertLevel, BoxOnline
from master.ledger.errors import LedgerError
from master.ledger.rows import mailboxes
from master.ledger.rows.mail_records import Mailbox, MailboxState
from master.services.mailbox.arrivals import Arrivals
from master.services.mailbox.errors import MailboxError, MailboxRefused
from master.services.mailbox.imap_session import Head, ImapSession, Opened
from master.services.mailbox.mail_content import MailContent
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.reading import mail_hash_of, read_head, read_text, text_part_of

log = logging.getLogger(__name__)

IDLE_S = 540.0
"""A server may hang up on who waits for half an hour, and what is between cuts lines much earlier."""
POLL_S = 120.0
"""Of a server that does not say by itself that a mail came."""
READ_S = 20.0
FIRST_PAUSE_S, LAST_PAUSE_S = 2.0, 300.0
TOLD_AFTER = 3
"""Attempts in a row that fail before it is an alert: every server hangs up now and then."""
TRIES_OF_A_MAIL = 3

Secrets = Callable[[Mailbox], Awaitable[Secret[str]]]


def pause_s(failures: int, rng: random.Random) -> float:
    """Return for how long to wait after so many failures in a row, a quarter more or less."""
    return min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), LAST_PAUSE_S) * rng.uniform(0.75, 1.25)


class Watcher:
    """Watch one mailbox.

    Parameters
    ----------
    secret_of
        Returns what to log in with: the password, or an access token.
    arrived
        Called after mails were written down.
    context
        Whom to trust; None: whom the box trusts.
    """

    def __init__(
        self,
        tools: MailTools,
        name: str,
        secret_of: Secrets,
        arrived: Callable[[], None],
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._tools, self.name, self._secret_of, self._arrived, self._context = tools, name, secret_of, arrived, context
        self._settings = tools.settings_of(name)
        self._arrivals = Arrivals(tools, name)
        self.state: MailboxState = "starting"
        self.detail = ""
        self._failures = 0
        self._told = False
        self._tries: dict[int, int] = {}
        self._passed_over: set[tuple[int, int]] = set()
        self._changed = asyncio.Event()
        self._kept: MailboxState | None = None
        """The state that is on record."""
        tools.bus.on(BoxOnline, lambda _event: self._hurry())

    def look_again(self) -> None:
        """Begin anew: it was paused, resumed, or has another password."""
        self._failures = 0
        self._changed.set()

    def _hurry(self) -> None:
        if self.state == "backoff":
            self.look_again()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._changed.clear()
            once = asyncio.ensure_future(self._once())
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({once, changed}, return_when=asyncio.FIRST_COMPLETED)
                if once.done():
                    once.result()
            finally:
                for task in (once, changed):
                    task.cancel()
                await asyncio.gather(once, changed, return_exceptions=True)

    async def _once(self) -> None:
        """Watch until something goes wrong, and wait until it is worth another attempt."""
        try:
            row = await self._tools.row(self.name)
            self._kept = row.state
            if row.is_paused:
                await self._enter(row, "stopped", "paused")
                await asyncio.Event().wait()
            if row.sealed_secret is None:
                await self._enter(row, "stopped", f"no password yet: fleet mailbox password {self.name}")
                await asyncio.Event().wait()
            if row.state == "quarantined" and self.state != "quarantined":
                # An earlier master was refused: trying that again may lock the account.
                self._show("quarantined", row.detail)
            if self.state == "quarantined":
                await asyncio.Event().wait()
            await self._watch(row)
        except LedgerError as error:
            self._show("degraded", f"the ledger is away: {error.message}")
            await self._tools.ledger.wait_available()
            await asyncio.sleep(self._tools.rng.uniform(0.1, 1.0))
        except MailboxRefused as error:
            await self._quarantine(error)
        except MailboxError as error:
            await self._back_off(error)

    # States

    def _show(self, state: MailboxState, detail: str = "") -> None:
        if (state, detail) == (self.state, self.detail):
            return
        is_new = state != self.state
        self.state, self.detail = state, detail
        if is_new:
            log.info("a mailbox changed", extra={"mailbox": self.name, "state": state, "why": detail})
            self._tools.tell_state(self.name, state, detail)

    async def _enter(self, row: Mailbox, state: MailboxState, detail: str = "") -> None:
        """Show a state, and put it on record for the next master and for `fleet mailbox` without one."""
        self._show(state, detail)
        await self._keep(row, state, detail)

    async def _keep(self, row: Mailbox, state: MailboxState, detail: str) -> None:
        if state == self._kept:
            return
        now = self._tools.clock.now()
        await self._tools.ledger.write(
            lambda connection: mailboxes.change(connection, row.id, at=now, state=state, detail=detail[:400])
        )
        self._kept = state

    async def _quarantine(self, error: MailboxRefused) -> None:
        # On record before anybody is told: the next master must not try it either.
        with suppress(LedgerError):
            row, now = await self._tools.row(self.name), self._tools.clock.now()
            values: dict[str, object] = {"state": "quarantined", "detail": error.message[:400]}
            await self._tools.ledger.write(lambda connection: mailboxes.change(connection, row.id, at=now, **values))
            self._kept = "quarantined"
        text = " ".join(filter(None, (error.message, error.hint)))
        with suppress(LedgerError):
            # Before anybody hears of it: the next master of one that ends here would be refused again.
            await self._keep(await self._tools.row(self.name), "quarantined", error.message)
        self._tools.alerts.raise_alert(
            AlertLevel.ERROR,
            f"The mailbox {self.name} cannot be opened",
            key=f"mailbox:{self.name}",
            text=f"{text}\nIt is not tried again before `fleet mailbox password {self.name}` or "
            f"`fleet mailbox resume {self.name}`.",
        )
        self._told = True
        self._show("quarantined", error.message)
        await asyncio.Event().wait()

    async def _back_off(self, error: MailboxError) -> None:
        self._failures += 1
        wait_s = pause_s(self._failures, self._tools.rng)
        self._show("backoff", f"{error.message}; next attempt in {wait_s:.0f} s")
        if self._failures == TOLD_AFTER:
            self._told = True
            self._tools.alerts.raise_alert(
                AlertLevel.WARNING,
                f"The mailbox {self.name} is not watched",
                key=f"mailbox:{self.name}",
                text=f"{error.message}. {error.hint}".rstrip(". ")
                + f".\nIt is tried again; `fleet mailbox test {self.name}` says step by step what works.",
            )
        await asyncio.sleep(wait_s)

    async def _recovered(self, row: Mailbox, session: ImapSession) -> None:
        self._failures = 0
        notes = [] if session.can_idle else [f"looked at every {POLL_S:.0f} s: it cannot IDLE"]
        if useless := ", ".join(self._arrivals.useless_rules):
            notes.append(f"{useless}: no mail fits without AUTHSERV_ID, unless the rule says TRUSTED: False")
        await self._enter(row, "ready", "; ".join(notes))
        if self._told:
            self._told = False
            self._tools.alerts.raise_alert(
                AlertLevel.SUCCESS, f"The mailbox {self.name} is watched again", key=f"mailbox:{self.name}"
            )

    # Watching

    async def _watch(self, row: Mailbox) -> None:
        self._show("starting")
        session = ImapSession(self._settings, self._context)
        try:
            await session.connect()
            await session.login(await self._secret_of(row))
            opened = await session.select()
            row = await self._begin(row, opened)
            if row.uid_validity != opened.uid_validity:
                row = await self._search_anew(session, row, opened)
            while True:
                row = await self._catch_up(session, row)
                await self._recovered(row, session)
                if session.can_idle:
                    await session.wait(IDLE_S)
                else:
                    await asyncio.sleep(POLL_S)
                    await session.noop()
        finally:
            await session.close()

    async def _begin(self, row: Mailbox, opened: Opened) -> Mailbox:
        """Begin with what comes from now on, the first time."""
        if row.uid_validity is not None:
            return row
        now = self._tools.clock.now()
        values: dict[str, object] = {"uid_validity": opened.uid_validity, "uid_next": opened.uid_next, "since": now}
        await self._tools.ledger.write(lambda connection: mailboxes.change(connection, row.id, at=now, **values))
        return await self._tools.row(self.name)

    async def _search_anew(self, session: ImapSession, row: Mailbox, opened: Opened) -> Mailbox:
        """Search the whole mailbox, whose UIDs mean something else now; what is known is known by its hash."""
        log.warning("a mailbox has other UIDs: it is searched anew", extra={"mailbox": self.name})
        uids = await session.uids_from(1, since=row.since)
        for uid in uids:
            await self._take(session, row, uid, opened.uid_validity, is_anew=True)
        now, following = self._tools.clock.now(), max([opened.uid_next, *(uid + 1 for uid in uids[-1:])])
        values: dict[str, object] = {"uid_validity": opened.uid_validity, "uid_next": following}
        await self._tools.ledger.write(lambda connection: mailboxes.change(connection, row.id, at=now, **values))
        return await self._tools.row(self.name)

    async def _catch_up(self, session: ImapSession, row: Mailbox) -> Mailbox:
        """Take what came, until nothing is left that did while it was taken."""
        while True:
            uids = await session.uids_from(row.uid_next or 1)
            for uid in uids:
                await self._take(session, row, uid, row.uid_validity or 0)
            if uids:
                row = await self._tools.row(self.name)
            if not session.has_news:
                return row

    async def _take(
        self, session: ImapSession, row: Mailbox, uid: int, validity: int, *, is_anew: bool = False
    ) -> None:
        """Write one mail down."""
        if (validity, uid) in self._passed_over:
            return
        try:
            await self._read(session, row, uid, validity, is_anew=is_anew)
        except MailboxError as error:
            self._tries[uid] = self._tries.get(uid, 0) + 1
            if self._tries[uid] < TRIES_OF_A_MAIL:
                raise
            # Else no mail behind it would ever be seen.
            await self._pass_over(row, uid, validity, error.message, moves_on=not is_anew)
            raise
        self._tries.pop(uid, None)

    async def _read(self, session: ImapSession, row: Mailbox, uid: int, validity: int, *, is_anew: bool) -> None:
        head = await session.head(uid)
        if head is None:
            return
        mail_hash = mail_hash_of(head.header)
        if is_anew and await self._arrivals.is_known(mail_hash):
            return
        content = await self._content(session, head)
        if content is None:
            why = "it cannot be read: the master's log says why"
            await self._pass_over(row, uid, validity, why, moves_on=not is_anew)
            return
        is_old = (
            row.since is not None and head.arrived_at is not None and head.arrived_at < row.since.replace(microsecond=0)
        )
        await self._arrivals.put(
            row,
            content,
            uid=uid,
            uid_validity=validity,
            mail_hash=mail_hash,
            is_old=is_anew and is_old,
            moves_on=not is_anew,
        )
        self._arrived()

    async def _content(self, session: ImapSession, head: Head) -> MailContent | None:
        """Read a mail, in a thread; None if its author found a defect in what reads it."""
        part = text_part_of(head.parts)
        raw = b"" if part is None else await session.part(head.uid, part.section)

        def read() -> MailContent:
            content = read_head(head.header, head.parts, authserv_id=self._settings.authserv_id, size=head.size)
            text, is_cut = ("", False) if part is None else read_text(part, raw)
            return replace(content, text=text, is_cut=is_cut)

        try:
            async with asyncio.timeout(READ_S):
                return await asyncio.to_thread(read)
        except Exception:
            # Whatever it is: a mail that nobody can read must not keep those behind it from being seen.
            log.exception("a mail could not be read", extra={"mailbox": self.name, "uid": head.uid})
            return None

    async def _pass_over(self, row: Mailbox, uid: int, validity: int, why: str, *, moves_on: bool) -> None:
        known_by = sha256(f"{self.name} {validity} {uid}".encode()).digest()
        await self._arrivals.put_unreadable(
            row, uid=uid, uid_validity=validity, mail_hash=known_by, why=why, moves_on=moves_on
        )
        self._tries.pop(uid, None)
        self._passed_over.add((validity, uid))
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"A mail to {self.name} could not be read",
            key=f"mailbox unreadable:{self.name}",
            text=f"UID {uid}: {why}. It is passed over.",
        )
