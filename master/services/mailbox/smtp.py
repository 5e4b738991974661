"""Sending through SMTP: bounded, and with an answer to the question whether it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import ClassVar

import aiosmtplib

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.services.mailbox.errors import MailboxError, MailboxRefused, MailServerAway

CONNECT_S, SEND_S, TOTAL_S = 20.0, 60.0, 120.0


class NotKnownWhetherSent(MailboxError):
    """The line was cut between the mail and the server's answer to it."""

    code: ClassVar[str] = "not_known_whether_sent"


async def check_smtp(settings: MailboxSettings, secret: Secret[str], *, context: ssl.SSLContext | None = None) -> str:
    """Log in and out again; returns what there is to say of it.

    Raises
    ------
    MailServerAway
    MailboxRefused
    """
    async with _session(settings, secret, context):
        return f"{settings.smtp_host}:{settings.smtp_port} takes mails of {settings.user}"


async def send(
    settings: MailboxSettings,
    secret: Secret[str],
    mail: EmailMessage,
    *,
    to: str,
    context: ssl.SSLContext | None = None,
) -> None:
    """Send a mail.

    Raises
    ------
    MailServerAway
        It was not sent.
    MailboxRefused
        The server takes neither this mail nor another try of it.
    NotKnownWhetherSent
    """
    async with _session(settings, secret, context) as client:
        try:
            async with asyncio.timeout(SEND_S):
                await client.sendmail(settings.user, [to], mail.as_bytes())
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            raise _refusal(settings, first.code, first.message) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(settings, error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise NotKnownWhetherSent(
                f"{settings.smtp_host} broke off while it was sent: {str(error)[:200] or 'no answer in time'}"
            ) from error


def _refusal(settings: MailboxSettings, code: int, message: str) -> MailboxError:
    words = f"{settings.smtp_host} answers {code} {message[:200]}"
    # 4xx: not now (RFC 5321, 4.2.1).
    return MailServerAway(words) if 400 <= code < 500 else MailboxRefused(words)


@asynccontextmanager
async def _session(
    settings: MailboxSettings, secret: Secret[str], context: ssl.SSLContext | None
) -> AsyncIterator[aiosmtplib.SMTP]:
    at = f"{settings.smtp_host}:{settings.smtp_port}"
    client = aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        timeout=CONNECT_S,
        use_tls=settings.smtp_security == "tls",
        start_tls=settings.smtp_security == "starttls",
        tls_context=None if settings.smtp_security == "none" else context or ssl.create_default_context(),
    )
    try:
        try:
            async with asyncio.timeout(TOTAL_S):
                await client.connect()
                if settings.login == "xoauth2":
                    await client.auth_xoauth2(settings.user, secret.reveal())
                else:
                    await client.login(settings.user, secret.reveal())
        except aiosmtplib.SMTPAuthenticationError as error:
            raise MailboxRefused(
                f"{at} refuses the login of {settings.user}: {error.code} {error.message[:200]}",
                hint="the password is the mailbox's own",
            ) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailServerAway(f"{at} cannot be used: {str(error)[:200] or 'no answer in time'}") from error
        yield client
    finally:
        client.close()
