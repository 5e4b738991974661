"""What a mailbox with XOAUTH2 is opened with: a client, and its refresh token."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings
from master.services.mailbox.errors import MailRefused

_TOKEN_URLS = {
    "gmail.com": "https://oauth2.googleapis.com/token",
    "googlemail.com": "https://oauth2.googleapis.com/token",
    "office365.com": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    "outlook.com": "https://login.microsoftonline.com/common/oauth2/v2.0/token",
}


class Grant(msgspec.Struct, frozen=True):
    """A client, and what it gets access tokens with."""

    client_id: str
    refresh_token: str
    client_secret: str = ""
    """Empty: the client is a public one."""
    token_url: str = ""
    """Empty: the one that the mail server is known to use."""

    def __repr__(self) -> str:
        return "Grant(...)"


def token_url_of(host: str) -> str:
    """Return where a mail server's access tokens come from; empty if that is not known."""
    words = host.lower().rstrip(".").split(".")
    return _TOKEN_URLS.get(".".join(words[-2:]), "")


def read_grant(secret: Secret[str], settings: MailboxSettings) -> Grant:
    """Return the grant of a secret, with its URL.

    Raises
    ------
    MailRefused
        It is none.
    """
    hint = '{"client_id": ..., "client_secret": ..., "refresh_token": ..., "token_url": ...} on standard input'
    try:
        grant = msgspec.json.decode(secret.reveal(), type=Grant)
    except msgspec.DecodeError:
        # Its message may quote what it read.
        raise MailRefused("LOGIN is xoauth2, and this is no client with a refresh token", hint=hint) from None
    url = grant.token_url or token_url_of(settings.host)
    if not url or not grant.client_id or not grant.refresh_token:
        missing = "token_url" if not url else "client_id" if not grant.client_id else "refresh_token"
        raise MailRefused(f"there is no {missing}", hint=hint)
    if not _is_safe(url):
        raise MailRefused("token_url does not begin with https://", hint="a refresh token is not sent unencrypted")
    return msgspec.structs.replace(grant, token_url=url)


def written_grant(*, client_id: str, client_secret: str, refresh_token: str, token_url: str) -> str:
    """Return a grant as the master reads it."""
    return msgspec.json.encode(Grant(client_id, refresh_token, client_secret, token_url)).decode()


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
