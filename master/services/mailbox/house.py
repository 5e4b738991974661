"""What watches mailboxes and acts on mails, built together; imported once there is a mailbox."""

from __future__ import annotations

from dataclasses import dataclass

from master.services.mailbox.access_tokens import AccessTokens
from master.services.mailbox.acting import Acting
from master.services.mailbox.answering import Answering
from master.services.mailbox.mail_licences import MailLicences
from master.services.mailbox.mail_solutions import MailSolutions
from master.services.mailbox.mail_tickets import MailTickets
from master.services.mailbox.mail_tools import MailTools
from master.services.mailbox.posting import Posting
from master.services.mailbox.smtp import check_smtp
from master.services.mailbox.testing import MailboxTesting
from master.services.mailbox.watcher import Watcher


@dataclass(frozen=True, slots=True, kw_only=True)
class MailHouse:
    """What watches and acts."""

    watchers: dict[str, Watcher]
    acting: Acting
    testing: MailboxTesting
    answering: Answering
    tokens: AccessTokens


def build_house(tools: MailTools) -> MailHouse:
    """Build it; nothing is started yet."""
    tokens = AccessTokens(tools)
    secret_of = tokens.secret_of
    posting = Posting(tools)
    acting = Acting(
        tools,
        {
            "post": posting.in_channel,
            "notify": posting.in_channel,
            "write": posting.in_ticket,
            "ticket": MailTickets(tools).deed,
            "licence": MailLicences(tools, secret_of).deed,
            "solution": MailSolutions(tools).deed,
        },
    )

    watchers = {name: Watcher(tools, name, secret_of, acting.woken.set) for name in tools.settings().mailboxes}
    return MailHouse(
        watchers=watchers,
        acting=acting,
        testing=MailboxTesting(tools, secret_of, check_smtp),
        answering=Answering(tools, secret_of),
        tokens=tokens,
    )
