"""Issues and renews licences for mails. A licence's origin is its mail, so that a second try finds the first.

Its code goes to the sender whom one's own mail server vouches for, and nowhere else: it is in no row, log or alert.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import format_datetime

import re2

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.events import AlertLevel
from master.ledger.rows import licence_events, licences
from master.ledger.rows.mail_records import Mailbox
from master.ledger.rows.records import Licence, LicenceState
from master.services.core.actors import Actor
from master.services.mailbox.acting import CannotTell, Deed, Job, NotYet
from master.services.mailbox.errors import MailboxRefused, MailRefused, MailServerAway
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.smtp import NotKnownWhetherSent, check_smtp, send
from master.services.mailbox.threads import own_address
from master.services.trust.licensing import IssuedLicence
from master.wording import visible

_ID = re2.compile(r"\b[0-9a-f]{16}\b")
_MOST_IDS = 20
"""Looked at in one mail."""


class MailLicences:
    """Issue and renew licences for mails.

    Parameters
    ----------
    secret_of
        Returns what to log in with to send a code.
    """

    def __init__(self, tools: MailTools, secret_of: Callable[[Mailbox], Awaitable[Secret[str]]]) -> None:
        self._tools, self._secret_of = tools, secret_of
        self._unsent: dict[str, IssuedLicence] = {}
        """By mail: issued by this master, whose code is known not to have been sent."""

    @property
    def deed(self) -> Deed:
        """``licence``."""
        return Deed(self._do, self._find)

    async def _do(self, job: Job) -> str:
        if not job.mail.is_trusted:
            raise MailRefused("its sender is not vouched for")
        return await self._renew(job) if job.plan.renew else await self._issue(job)

    async def _find(self, job: Job) -> str:
        if job.plan.renew:
            named = await self._named(job)
            return f"licence {named.id} renewed" if await self._was_renewed(named, job) else ""
        first = await self._issued(job)
        if first is None or job.mail.id in self._unsent:
            return ""
        if first.state is not LicenceState.ISSUED:
            return f"licence {first.id}, {first.tier}"
        raise CannotTell(
            f"licence {first.id} was issued for it; whether its code was sent nobody can tell."
            " To act again revokes that one and sends another."
        )

    # Renewing

    async def _renew(self, job: Job) -> str:
        licence = await self._named(job)
        # An operator who says "again" must not renew it twice.
        if not await self._was_renewed(licence, job):
            await self._tools.licences.change(licence.id, "renew", actor=_actor(job), why=_origin(job))
        return f"licence {licence.id} renewed"

    async def _named(self, job: Job) -> Licence:
        """Return the licence that a mail names by its id."""
        text = f"{job.content.subject}\n{job.content.text}".lower()
        ids = list(dict.fromkeys(_ID.findall(text)))[:_MOST_IDS]
        found = await self._tools.ledger.read(
            lambda connection: [one for one in (licences.get(connection, word) for word in ids) if one is not None]
        )
        if len(found) != 1:
            what = "names no licence by its id" if not found else f"names {len(found)} licences"
            raise MailRefused(f"the mail {what}", hint="`fleet licence renew ID` renews one")
        return found[0]

    async def _was_renewed(self, licence: Licence, job: Job) -> bool:
        events = await self._tools.ledger.read(lambda connection: licence_events.list_of(connection, licence.id))
        return any(event.what == "renewed" and event.detail == _origin(job) for event in events)

    # Issuing

    async def _issue(self, job: Job) -> str:
        settings = self._tools.settings_of(job.mail.mailbox)
        if not settings.smtp_host or job.content.automatic:
            return self._tell_operators(job, settings)
        issued = self._unsent.get(job.mail.id)
        try:
            secret = await self._secret_of(await self._tools.row(job.mail.mailbox))
            if issued is None:
                # Before it is issued: a code that cannot be sent is lost.
                await check_smtp(settings, secret)
        except MailServerAway as error:
            raise NotYet(error.message) from error
        if issued is None:
            first = await self._issued(job)
            if first is not None and first.state is not LicenceState.ISSUED:
                return f"licence {first.id}, {first.tier}"
            if first is not None:
                await self._revoke(first.id, job)
            issued = await self._tools.licences.issue(job.plan.tier, actor=_actor(job), origin=_origin(job))
            self._unsent[job.mail.id] = issued
        await self._send(job, issued, settings, secret)
        return f"licence {issued.record.id}, {issued.record.tier}; its code was sent to {job.content.sender}"

    async def _send(self, job: Job, issued: IssuedLicence, settings: MailboxSettings, secret: Secret[str]) -> None:
        try:
            await send(settings, secret, self._written(job, issued, settings), to=job.content.sender)
        except MailServerAway as error:
            raise NotYet(error.message) from error
        except NotKnownWhetherSent as error:
            self._unsent.pop(job.mail.id, None)
            raise CannotTell(f"licence {issued.record.id}: {error.message}") from error
        except MailboxRefused:
            # Refused for good: nobody has the code, nor ever will.
            self._unsent.pop(job.mail.id, None)
            await self._revoke(issued.record.id, job)
            raise
        self._unsent.pop(job.mail.id, None)

    def _written(self, job: Job, issued: IssuedLicence, settings: MailboxSettings) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = own_address(settings), job.content.sender
        mail["Subject"] = f"Re: {visible(job.content.subject).removeprefix('Re: ').strip()[:200]}"
        mail["Message-ID"] = f"<{job.mail.id.lower()}.licence@{own_address(settings).rpartition('@')[2]}>"
        mail["Date"] = format_datetime(self._tools.clock.now())
        if job.mail.message_id:
            mail["In-Reply-To"] = mail["References"] = job.mail.message_id
        mail["Auto-Submitted"], mail["X-Auto-Response-Suppress"] = "auto-replied", "OOF, AutoReply"
        record = issued.record
        until = "" if record.expires_at is None else f", until {record.expires_at:%Y-%m-%d}"
        mail.set_content(
            f"Your licence: {record.tier}{until}\n\n{issued.code.reveal()}\n\n"
            "Type /licence redeem on Discord and paste the code. Whoever has it may redeem it: keep it to yourself.\n"
        )
        return mail

    def _tell_operators(self, job: Job, settings: MailboxSettings) -> str:
        why = "it was written by a machine" if settings.smtp_host else f"{job.mail.mailbox} has no SMTP_HOST"
        self._tools.alerts.raise_alert(
            AlertLevel.WARNING,
            f"A licence waits for you: {job.plan.tier}",
            key=f"mail licence:{job.mail.id}",
            text=f"A mail asks for one, and cannot be answered: {why}.\n"
            f"`fleet licence issue {job.plan.tier}` shows its code. Send it yourself.",
            fields=(("To", job.content.sender), ("Subject", job.mail.subject[:200] or "-")),
        )
        return "operators were told that a licence is asked for"

    async def _issued(self, job: Job) -> Licence | None:
        """Return the licence that was issued for a mail, unless that was taken back."""
        found = await self._tools.ledger.read(lambda connection: licences.list_of_origin(connection, _origin(job)))
        return next((one for one in found if one.state is not LicenceState.REVOKED), None)

    async def _revoke(self, licence_id: str, job: Job) -> None:
        await self._tools.licences.change(
            licence_id, "revoke", actor=_actor(job), why="its code may not have been sent"
        )


def _origin(job: Job) -> str:
    return f"mail:{job.mail.id}"


def _actor(job: Job) -> Actor:
    return Actor(face="system", identity=f"mail/{job.mail.mailbox}", name=job.mail.mailbox)
