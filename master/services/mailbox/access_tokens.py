"""What mailboxes log in with: a password as it is, or an access token (RFC 6749, 6) that lives in memory alone."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection

from handshake.redaction import Secret
from master.ledger.rows import mailboxes
from master.ledger.rows.mail_records import Mailbox
from master.services.mailbox.errors import MailboxRefused, MailRefused, MailServerAway
from master.services.mailbox.form_port import FormAnswer
from master.services.mailbox.grants import Grant, read_grant
from master.services.mailbox.mail_tools import MailTools
from master.wording import visible

ENDS_EARLY_S = 60.0
_USUAL_S, _LONGEST_S = 3_600.0, 86_400.0


class _Issued(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = _USUAL_S
    refresh_token: str = ""
    """Another one, for the next time."""


class _Refused(msgspec.Struct, frozen=True):
    error: str = ""
    error_description: str = ""


class AccessTokens:
    """Return what mailboxes log in with."""

    def __init__(self, tools: MailTools) -> None:
        self._tools = tools
        self._known: dict[str, tuple[Secret[str], float]] = {}
        """By mailbox: its access token, and until when it is used, in monotonic seconds."""
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)

    def forget(self, name: str) -> None:
        """Get another token the next time: the mailbox has another grant, or its token was refused."""
        self._known.pop(name, None)

    async def secret_of(self, row: Mailbox) -> Secret[str]:
        """Return a mailbox's password, or an access token that is good for a while.

        Raises
        ------
        MailboxRefused
            There is none, or the grant is refused: only a person can mend that.
        MailServerAway
            Nobody answers.
        LedgerError
        """
        settings = self._tools.settings_of(row.name)
        if settings.login != "xoauth2":
            return self._tools.unsealed(row)
        async with self._locks[row.name]:
            token, until_s = self._known.get(row.name, (None, 0.0))
            if token is not None and self._tools.clock.monotonic() < until_s:
                return token
            try:
                grant = read_grant(self._tools.unsealed(row), settings)
            except MailRefused as error:
                raise MailboxRefused(error.message, hint=_hint(row)) from error
            asked_s = self._tools.clock.monotonic()
            issued = await self._refresh(row, grant)
            lasts_s = min(issued.expires_in, _LONGEST_S) - ENDS_EARLY_S
            token = Secret(issued.access_token)
            self._known[row.name] = token, asked_s + lasts_s
            if issued.refresh_token not in ("", grant.refresh_token):
                await self._keep(row, replace(grant, refresh_token=issued.refresh_token))
            return token

    async def _refresh(self, row: Mailbox, grant: Grant) -> _Issued:
        if self._tools.post_form is None:
            raise MailboxRefused("this master fetches no access tokens")
        form = {"grant_type": "refresh_token", "client_id": grant.client_id, "refresh_token": grant.refresh_token}
        if grant.client_secret:
            form["client_secret"] = grant.client_secret
        try:
            answer = await self._tools.post_form(grant.token_url, form)
        except OSError as error:
            raise MailServerAway(f"no access token: {error}"[:300]) from error
        if answer.status != 200:
            raise _refusal(answer, row)
        try:
            return msgspec.json.decode(answer.body, type=_Issued)
        except msgspec.DecodeError:
            # Its message may quote the token.
            raise MailServerAway("no access token: what came back is no answer of a token server") from None

    async def _keep(self, row: Mailbox, grant: Grant) -> None:
        """Seal a refresh token that was exchanged for the one before, unless a person set another meanwhile."""
        now, text = self._tools.clock.now(), Secret(msgspec.json.encode(grant).decode())
        sealed = self._tools.vault.seal(row.id, text)

        def write(connection: Connection) -> None:
            found = mailboxes.find(connection, row.name)
            if found is not None and found.sealed_secret == row.sealed_secret:
                mailboxes.change(connection, row.id, at=now, sealed_secret=sealed)

        await self._tools.ledger.write(write)


def _refusal(answer: FormAnswer, row: Mailbox) -> MailboxRefused | MailServerAway:
    try:
        said = msgspec.json.decode(answer.body, type=_Refused)
    except msgspec.DecodeError:
        said = _Refused()
    words = visible(": ".join(filter(None, (said.error, said.error_description))))[:200] or f"HTTP {answer.status}"
    if answer.status >= 500 or answer.status in (408, 429):
        return MailServerAway(f"no access token now: {words}")
    return MailboxRefused(f"no access token: {words}", hint=_hint(row))


def _hint(row: Mailbox) -> str:
    return f"the refresh token ended or was revoked: get another, then `fleet mailbox password {row.name}`"
