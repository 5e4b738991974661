"""A mailbox's password: sealed to its row, sealed anew with another MASTER_SECRET, in no repr."""

from __future__ import annotations

import asyncio

import pytest

from handshake.redaction import Secret
from master.configuration.settings import Settings
from master.ledger.database import Ledger
from master.ledger.rows import mailboxes
from master.ledger.rows.mail_records import Mailbox
from master.operations.parameters import MailboxPasswordParams
from master.security.derivation import MasterSecret, check_master_secret, new_master_secret
from master.security.errors import VaultError
from master.security.vault import TokenVault
from master.services.trust.rotation import _can_unseal, _load_sealed, _reseal_all
from sandbox import Sandbox
from tests.conftest import TurnableClock
from tests.services.mailbox.dovecot import Dovecot, needs_dovecot
from tests.services.mailbox.scene import mailbox_at, open_mail_scene


async def test_a_password_follows_a_rotation(ledger: Ledger, master_secret: MasterSecret, clock: TurnableClock) -> None:
    before, after = (
        TokenVault(master_secret),
        TokenVault(MasterSecret(Secret(check_master_secret(new_master_secret())))),
    )
    row = Mailbox(id="01" + "A" * 24, name="inbox", changed_at=clock.now())
    sealed = before.seal(row.id, Secret("open sesame"))
    await ledger.write(lambda c: mailboxes.insert(c, row))
    await ledger.write(lambda c: mailboxes.change(c, row.id, at=clock.now(), sealed_secret=sealed))
    # With no node in the fleet it alone says with which secret the ledger is sealed.
    assert not _can_unseal(after, await ledger.read(_load_sealed))
    await ledger.write(lambda c: _reseal_all(c, before, after, clock))
    assert _can_unseal(after, await ledger.read(_load_sealed))
    found = await ledger.read(lambda c: mailboxes.find(c, "inbox"))
    assert found is not None
    assert found.sealed_secret is not None
    assert after.unseal(row.id, found.sealed_secret).reveal() == "open sesame"
    with pytest.raises(VaultError):
        after.unseal("01" + "B" * 24, found.sealed_secret)


@needs_dovecot
async def test_who_looks_first_at_a_mailbox_puts_it_on_record_once(
    house_settings: Settings, sandbox: Sandbox, server: Dovecot
) -> None:
    async with open_mail_scene(house_settings, sandbox, {"inbox": mailbox_at(server)}, password="") as scene:
        found = await asyncio.gather(*(scene.mailboxes.tools.row("inbox") for _ in range(8)))
        assert len({row.id for row in found}) == 1


def test_a_password_is_in_no_repr() -> None:
    assert "sesame" not in repr(MailboxPasswordParams("inbox", "open sesame"))
