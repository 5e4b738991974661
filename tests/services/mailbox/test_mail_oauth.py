"""A mailbox with XOAUTH2: a real token server over HTTP, and an IMAP server that takes its access tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from handshake.redaction import Secret
from master.configuration.settings import MailboxSettings, MailRule, Settings
from master.services.mailbox import watcher
from master.services.mailbox.access_tokens import ENDS_EARLY_S
from master.services.mailbox.errors import MailRefused
from master.services.mailbox.grants import read_grant, token_url_of
from sandbox import Sandbox
from tests.hostile.faulty_imap import FaultyImap, faulty_imap
from tests.services.mailbox.dovecot import a_mail
from tests.services.mailbox.scene import MailScene, mailbox_at, open_mail_scene

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a fraction of what the master waits between attempts."""
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.05)


class TokenServer:
    """Gives out access tokens for a refresh token, as RFC 6749 says."""

    def __init__(self, imap: FaultyImap) -> None:
        self.imap = imap
        self.refresh_token, self.next_refresh_token = "first refresh", ""
        self.lasts_s = 3_600.0
        self.status = 0
        self.given = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self.status:
            return web.json_response({"error": "temporarily_unavailable"}, status=self.status)
        if (form["grant_type"], form["client_id"], form["client_secret"]) != ("refresh_token", "client", "hush"):
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["refresh_token"] != self.refresh_token:
            said = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            return web.json_response(said, status=400)
        self.given += 1
        self.imap.access_token = f"access {self.given}"
        found = {"access_token": self.imap.access_token, "expires_in": self.lasts_s, "token_type": "Bearer"}
        if self.next_refresh_token:
            found["refresh_token"] = self.refresh_token = self.next_refresh_token
        return web.json_response(found)

    def grant(self, refresh_token: str = "") -> str:
        values = {
            "client_id": "client",
            "client_secret": "hush",
            "refresh_token": refresh_token or self.refresh_token,
        }
        return json.dumps({**values, "token_url": self.url})


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    async with faulty_imap() as imap:
        server, app = TokenServer(imap), web.Application()
        app.router.add_post("/token", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        yield server
        await runner.cleanup()


def boxes(tokens: TokenServer) -> dict[str, MailboxSettings]:
    rules = {"all": MailRule(action="post", trusted=False)}
    return {"inbox": mailbox_at(tokens.imap, rules, login="xoauth2")}


async def grant_on_record(scene: MailScene) -> str:
    tools = scene.mailboxes.tools
    return tools.unsealed(await tools.row("inbox")).reveal()


async def test_a_mailbox_opens_with_an_access_token_that_is_kept_until_it_ends(
    house_settings: Settings, sandbox: Sandbox, tokens: TokenServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_mail_scene(house_settings, sandbox, boxes(tokens), password=tokens.grant()) as scene:
        await scene.state("ready")
        tokens.imap.deliver(a_mail("Hello").as_bytes().replace(b"\n", b"\r\n"))
        await scene.acted(1)
        tokens.imap.drop_all()
        await tokens.imap.until(lambda: tokens.imap.logins == 2 and tokens.imap.idling == 1)
        assert tokens.given == 1
        assert (await scene.mailboxes.listing())[0].login == "xoauth2"
        for secret in ("hush", "first refresh", "access 1"):
            assert secret not in caplog.text + repr(scene.events) + repr(await scene.mailboxes.listing())


async def test_one_that_ends_is_fetched_again_and_another_refresh_token_is_kept(
    house_settings: Settings, sandbox: Sandbox, tokens: TokenServer
) -> None:
    tokens.lasts_s, tokens.next_refresh_token = ENDS_EARLY_S - 1, "second refresh"
    async with open_mail_scene(house_settings, sandbox, boxes(tokens), password=tokens.grant()) as scene:
        await scene.state("ready")
        assert "second refresh" in await grant_on_record(scene)
        tokens.imap.drop_all()
        await tokens.imap.until(lambda: tokens.imap.logins == 2 and tokens.imap.idling == 1)
        assert tokens.given == 2


async def test_a_grant_that_is_refused_is_not_tried_again_until_there_is_another(
    house_settings: Settings, sandbox: Sandbox, tokens: TokenServer
) -> None:
    old = tokens.grant("an old one")
    async with open_mail_scene(house_settings, sandbox, boxes(tokens), password=old) as scene:
        changed = await scene.state("quarantined")
        assert changed.detail == "no access token: invalid_grant: Token has been expired or revoked."
        (alert,) = scene.alerts
        assert "get another, then `fleet mailbox password inbox`" in alert.text
        assert tokens.imap.logins == 0
        # What is no grant is refused where it is typed, and not quoted.
        with pytest.raises(MailRefused) as refused:
            await scene.mailboxes.set_password("inbox", Secret("sesame"))
        assert "sesame" not in repr(refused.value)
        await scene.mailboxes.set_password("inbox", Secret(tokens.grant()))
        await scene.state("ready")


async def test_a_token_server_in_trouble_is_tried_again(
    house_settings: Settings, sandbox: Sandbox, tokens: TokenServer
) -> None:
    tokens.status = 503
    async with open_mail_scene(house_settings, sandbox, boxes(tokens), password=tokens.grant()) as scene:
        assert "no access token now: temporarily_unavailable" in (await scene.state("backoff")).detail
        tokens.status = 0
        await scene.state("ready")


def test_where_tokens_come_from() -> None:
    assert token_url_of("imap.gmail.com") == "https://oauth2.googleapis.com/token"
    assert "microsoftonline" in token_url_of("Outlook.Office365.com")
    assert token_url_of("imap.gmail.com.evil.org") == ""
    settings = mailbox_at(FaultyImap(), host="imap.example.org", login="xoauth2", port=993)
    for text in ("{}", "[", '{"client_id": "a", "refresh_token": "b"}'):
        with pytest.raises(MailRefused):
            read_grant(Secret(text), settings)
    insecure = '{"client_id": "a", "refresh_token": "b", "token_url": "http://127.0.0.1.evil.org/"}'
    with pytest.raises(MailRefused, match="https"):
        read_grant(Secret(insecure), settings)
