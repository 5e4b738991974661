"""What everything about mailboxes works with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from handshake.redaction import Secret
from master.bus import EventBus
from master.configuration.settings import MailboxSettings, Settings
from master.events import MailActedOn, MailboxChanged
from master.ledger.database import Ledger
from master.ledger.identifiers import new_ulid
from master.ledger.rows import mailboxes
from master.ledger.rows.mail_records import Mailbox, MailboxState
from master.security.errors import VaultError
from master.security.vault import TokenVault
from master.services.core.alerts import Alerts
from master.services.core.discord_port import DiscordPort
from master.services.core.errors import DiscordUnavailable
from master.services.mailbox.errors import MailboxRefused, NoSuchMailbox
from master.services.mailbox.form_port import PostForm
from master.services.people.licences import Licences
from master.services.people.ticketing import Ticketing
from master.services.repair.repair import Repair
from master.supervision.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class MailTools:
    """What everything about mailboxes works with.

    Parameters
    ----------
    settings
        Returns those in effect.
    discord
        None for a master without a token.
    post_form
        Sends a form over HTTP, for access tokens; None: there are none.
    own_user_id
        Returns the master's user id; 0 while it is not known.
    """

    ledger: Ledger
    bus: EventBus
    clock: Clock
    settings: Callable[[], Settings]
    alerts: Alerts
    vault: TokenVault
    ticketing: Ticketing
    licences: Licences
    repair: Repair
    discord: DiscordPort | None
    post_form: PostForm | None
    own_user_id: Callable[[], int]
    rng: random.Random = field(default_factory=random.Random)

    @property
    def port(self) -> DiscordPort:
        """The way to Discord.

        Raises
        ------
        DiscordUnavailable
            The master has no token.
        """
        if self.discord is None:
            raise DiscordUnavailable("this master has no Discord token", hint="`fleet init` asks for it")
        return self.discord

    def settings_of(self, name: str) -> MailboxSettings:
        """Return what MAILBOXES says of a mailbox.

        Raises
        ------
        NoSuchMailbox
        """
        found = self.settings().mailboxes.get(name)
        if found is None:
            known = ", ".join(self.settings().mailboxes) or "none"
            raise NoSuchMailbox(f"MAILBOXES has no {name[:40]!r}", hint=f"it has: {known}")
        return found

    async def row(self, name: str) -> Mailbox:
        """Return what is on record of a mailbox; it is put there if nothing is.

        Raises
        ------
        LedgerError
        """
        found = await self.ledger.read(lambda connection: mailboxes.find(connection, name))
        if found is not None:
            return found
        new = Mailbox(id=new_ulid(self.clock), name=name, changed_at=self.clock.now())

        def write(connection: Connection) -> Mailbox:
            # Who watches it and who sets its password may both be the first.
            there = mailboxes.find(connection, name)
            if there is None:
                mailboxes.insert(connection, new)
            return there or new

        return await self.ledger.write(write)

    def unsealed(self, row: Mailbox) -> Secret[str]:
        """Return a mailbox's password, or its refresh token.

        Raises
        ------
        MailboxRefused
            There is none, or it was sealed with another MASTER_SECRET.
        """
        if row.sealed_secret is None:
            raise MailboxRefused(
                f"{row.name} has no password yet", hint=f"`fleet mailbox password {row.name}` asks for it"
            )
        try:
            return self.vault.unseal(row.id, row.sealed_secret)
        except VaultError as error:
            raise MailboxRefused(
                f"the password of {row.name} cannot be decrypted",
                hint=f"`fleet mailbox password {row.name}` sets it anew",
            ) from error

    def tell_state(self, name: str, state: MailboxState, detail: str) -> None:
        """Publish that a mailbox has another state."""
        self.bus.publish(MailboxChanged(at=self.clock.now(), mailbox=name, state=state, detail=detail[:400]))

    def tell_act(self, mail_id: str, mailbox: str, rule: str, action: str, detail: str) -> None:
        """Publish that a mail set something off."""
        event = MailActedOn(
            at=self.clock.now(), mail_id=mail_id, mailbox=mailbox, rule=rule, action=action, detail=detail[:400]
        )
        self.bus.publish(event)
