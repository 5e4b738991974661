"""Tries a mailbox step by step, and says what its rules would do with the last mails. Nothing is done about any."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.ledger.rows.mail_records import Mailbox
from master.services.core.mailbox_views import MailboxStep, MailboxTested, MailTried
from master.services.mailbox.errors import MailboxError
from master.services.mailbox.imap_session import ImapSession, Opened
from master.services.mailbox.mail_content import MailContent
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.reading import read_head, read_text, text_part_of
from master.services.mailbox.rules import Rules

LAST_MAILS = 20
_DNS_S = 10.0

SmtpCheck = Callable[[MailboxSettings, Secret[str]], Awaitable[str]]


class MailboxTesting:
    """Try a mailbox.

    Parameters
    ----------
    secret_of
        Returns what to log in with.
    check_smtp
        Logs in to the SMTP server; returns what there is to say of it.
    """

    def __init__(
        self,
        tools: MailTools,
        secret_of: Callable[[Mailbox], Awaitable[Secret[str]]],
        check_smtp: SmtpCheck,
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._tools, self._secret_of, self._check_smtp, self._context = tools, secret_of, check_smtp, context

    async def test(self, name: str) -> MailboxTested:
        """Try a mailbox; a step after one that fails is left out.

        Raises
        ------
        NoSuchMailbox
        LedgerError
        """
        settings, row = self._tools.settings_of(name), await self._tools.row(name)
        steps: list[MailboxStep] = []
        mails: list[MailTried] = []
        session = ImapSession(settings, self._context)
        try:
            steps.append(await self._find_host(settings))
            await session.connect()
            steps.append(MailboxStep(step="connect", verdict="ok", detail=_connected(settings)))
            secret = await self._secret_of(row)
            await session.login(secret)
            steps.append(MailboxStep(step="login", verdict="ok", detail=settings.user))
            opened = await session.select()
            steps.append(MailboxStep(step="folder", verdict="ok", detail=f"{settings.folder}, {opened.exists} mails"))
            steps.append(_idle_step(session))
            contents = await self._last(session, settings, opened)
            steps.append(_trust_step(settings, contents))
            mails = _tried(settings, contents)
            steps.append(await self._smtp_step(settings, secret))
        except MailboxError as error:
            failed = ("connect", "login", "folder", "idle")[min(max(len(steps) - 1, 0), 3)] if steps else "name"
            steps.append(MailboxStep(step=failed, verdict="fail", detail=error.message, fix=error.hint))
        finally:
            await session.close()
        return MailboxTested(name=name, steps=tuple(steps), mails=tuple(mails))

    async def _find_host(self, settings: MailboxSettings) -> MailboxStep:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_DNS_S):
                found = await loop.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError) as error:
            why = f"{settings.host} has no address: {error.strerror or 'no answer'}"
            raise MailboxError(why, hint="HOST in MAILBOXES, and this box's DNS") from error
        addresses = ", ".join(dict.fromkeys(str(one[4][0]) for one in found))
        return MailboxStep(step="name", verdict="ok", detail=f"{settings.host} is {addresses}")

    async def _last(self, session: ImapSession, settings: MailboxSettings, opened: Opened) -> list[MailContent]:
        # A window of UIDs: the whole list of a mailbox may be long.
        uids = (await session.uids_from(max(1, opened.uid_next - 50 * LAST_MAILS)))[-LAST_MAILS:]
        found = []
        for uid in reversed(uids):
            head = await session.head(uid)
            if head is None:
                continue
            content = read_head(head.header, head.parts, authserv_id=settings.authserv_id, size=head.size)
            part = text_part_of(head.parts)
            if part is not None:
                raw = await session.part(uid, part.section)
                text, is_cut = await asyncio.to_thread(read_text, part, raw)
                content = replace(content, text=text, is_cut=is_cut)
            found.append(content)
        return found

    async def _smtp_step(self, settings: MailboxSettings, secret: Secret[str]) -> MailboxStep:
        if not settings.smtp_host:
            return MailboxStep(step="smtp", verdict="skip", detail="no SMTP_HOST: nothing is answered by mail")
        try:
            said = await self._check_smtp(settings, secret)
        except MailboxError as error:
            return MailboxStep(step="smtp", verdict="fail", detail=error.message, fix=error.hint)
        return MailboxStep(step="smtp", verdict="ok", detail=said)


def _connected(settings: MailboxSettings) -> str:
    how = {"tls": "encrypted", "starttls": "encrypted (STARTTLS)", "none": "not encrypted"}[settings.security]
    return f"port {settings.port}, {how}"


def _idle_step(session: ImapSession) -> MailboxStep:
    if session.can_idle:
        return MailboxStep(step="idle", verdict="ok", detail="the server says when a mail comes")
    return MailboxStep(step="idle", verdict="warn", detail="the server cannot: it is looked at every two minutes")


def _trust_step(settings: MailboxSettings, contents: list[MailContent]) -> MailboxStep:
    trusted = sum(content.verdict.is_trusted for content in contents)
    detail = f"{trusted} of the last {len(contents)} senders are vouched for"
    if trusted or not contents:
        return MailboxStep(step="trust", verdict="ok", detail=detail)
    if not settings.authserv_id:
        fix = "AUTHSERV_ID in MAILBOXES: the first word of the topmost Authentication-Results header of any mail"
        return MailboxStep(step="trust", verdict="warn", detail=f"{detail}: AUTHSERV_ID is not set", fix=fix)
    return MailboxStep(step="trust", verdict="warn", detail=detail, fix=contents[0].verdict.why)


def _tried(settings: MailboxSettings, contents: list[MailContent]) -> list[MailTried]:
    rules, found = Rules(settings), []
    for content in contents:
        fits = rules.first_that_fits(content)
        found.append(
            MailTried(
                sender=content.sender,
                subject=content.subject,
                is_trusted=content.verdict.is_trusted,
                why=content.verdict.why,
                rule="" if fits is None else fits[0],
                action="" if fits is None else fits[1].action,
                detail=rules.why_not(content) if fits is None else "",
            )
        )
    return found
