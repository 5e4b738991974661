"""Mails as they arrive: each is on record once, with what it sets off, before anything is done."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from master.configuration.settings import MailRule
from master.ledger.identifiers import new_ulid
from master.ledger.rows import mailboxes, mails
from master.ledger.rows.mail_records import Mail, MailAction, Mailbox
from master.services.mailbox.mail_content import ADDRESS_CHARACTERS, ID_CHARACTERS, MailContent
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.plans import Plan, encoded, plan_of
from master.services.mailbox.rules import Rules
from master.services.mailbox.threads import own_address, ticket_of

_DETAIL = 400


class Arrivals:
    """Write mails of one mailbox down.

    Parameters
    ----------
    name
        The mailbox's.
    """

    def __init__(self, tools: MailTools, name: str) -> None:
        self._tools, self._name = tools, name
        self._settings = tools.settings_of(name)
        self._rules = Rules(self._settings)

    @property
    def useless_rules(self) -> list[str]:
        """Return the rules that can never fit."""
        return self._rules.useless

    async def is_known(self, mail_hash: bytes) -> bool:
        """Tell whether a mail came before.

        Raises
        ------
        LedgerError
        """
        return await self._tools.ledger.read(lambda connection: mails.is_known(connection, self._name, mail_hash))

    async def put(
        self,
        mailbox: Mailbox,
        content: MailContent,
        *,
        uid: int,
        uid_validity: int,
        mail_hash: bytes,
        is_old: bool = False,
        moves_on: bool = True,
    ) -> Mail | None:
        """Write a mail down with its actions, and that the next one is looked for behind it; None if it is known.

        Parameters
        ----------
        is_old
            It is from before the mailbox was watched.
        moves_on
            Whether the search goes on behind it; not while the whole mailbox is searched anew.

        Raises
        ------
        LedgerError
            Nothing is written.
        """
        now = self._tools.clock.now()
        found = None if is_old else self._rules.first_that_fits(content)
        mail = Mail(
            id=new_ulid(self._tools.clock),
            mailbox=self._name,
            uid_validity=uid_validity,
            uid=uid,
            mail_hash=mail_hash,
            message_id=content.message_id[:ID_CHARACTERS],
            sender=content.sender[:ADDRESS_CHARACTERS],
            subject=content.subject[:_DETAIL],
            at=now,
            is_trusted=content.verdict.is_trusted,
            content=msgspec.json.encode(content).decode(),
            state="acting",
            changed_at=now,
        )

        def write(connection: Connection) -> Mail | None:
            if moves_on:
                values: dict[str, object] = {"uid_next": uid + 1, "last_mail_at": now}
                mailboxes.change(connection, mailbox.id, at=now, **values)
            if mails.is_known(connection, self._name, mail_hash):
                return None
            made, actions = self._planned(connection, mail, content, found, is_old=is_old)
            mails.insert(connection, made, actions)
            return made

        return await self._tools.ledger.write(write)

    async def put_unreadable(
        self, mailbox: Mailbox, *, uid: int, uid_validity: int, mail_hash: bytes, why: str, moves_on: bool
    ) -> None:
        """Write a mail down that cannot be read, so that those behind it are."""
        now = self._tools.clock.now()
        mail = Mail(
            id=new_ulid(self._tools.clock),
            mailbox=self._name,
            uid_validity=uid_validity,
            uid=uid,
            mail_hash=mail_hash,
            message_id="",
            sender="",
            subject=f"(UID {uid})",
            at=now,
            is_trusted=False,
            content="",
            state="failed",
            detail=why[:_DETAIL],
            changed_at=now,
        )

        def write(connection: Connection) -> None:
            if moves_on:
                mailboxes.change(connection, mailbox.id, at=now, uid_next=uid + 1, last_mail_at=now)
            if not mails.is_known(connection, self._name, mail_hash):
                mails.insert(connection, mail, ())

        await self._tools.ledger.write(write)

    def _planned(
        self,
        connection: Connection,
        mail: Mail,
        content: MailContent,
        found: tuple[str, MailRule] | None,
        *,
        is_old: bool,
    ) -> tuple[Mail, list[MailAction]]:
        if is_old:
            return _ignored(mail, "it is from before the mailbox was watched"), []
        if content.sender.lower() == own_address(self._settings).lower():
            return _ignored(mail, "it is from this mailbox itself"), []
        thread = ticket_of(connection, self._name, content)
        if thread is not None and content.automatic and not content.list_id:
            # An absence note to an answer: it belongs to nothing, and nobody answers it.
            return _ignored(mail, f"an automatic answer ({content.automatic})"), []
        if thread is not None:
            plan = Plan(ticket_id=thread)
            return mail, [_action(mail, 0, "", "write", plan)]
        if found is None:
            return _ignored(mail, self._rules.why_not(content)), []
        name, rule = found
        plan = plan_of(rule, self._settings)
        match rule.action:
            case "ignore":
                return _ignored(mail, f"{name} says so"), []
            case "ticket" if content.automatic:
                # No ticket for it, or two machines would write to each other; but somebody may want to see it.
                return mail, [_action(mail, 0, name, "post", plan)]
            case "ticket":
                return mail, [
                    _action(mail, 0, name, "ticket", plan),
                    _action(mail, 1, name, "write", msgspec.structs.replace(plan, ticket_id=mail.id)),
                ]
            case action:
                return mail, [_action(mail, 0, name, action, plan)]


def _ignored(mail: Mail, why: str) -> Mail:
    return msgspec.structs.replace(mail, state="ignored", detail=why[:_DETAIL], content="")


def _action(mail: Mail, number: int, rule: str, action: str, plan: Plan) -> MailAction:
    return MailAction(
        mail_id=mail.id,
        number=number,
        rule=rule,
        action=action,
        plan=encoded(plan),
        state="planned",
        changed_at=mail.changed_at,
    )
