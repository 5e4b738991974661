"""What is to be done about a mail, as it is written down with it."""

from __future__ import annotations

import msgspec

from master.configuration.settings import MailboxSettings, MailRule


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action, with all that it needs of config.py: the rule may be another one by then."""

    channel_id: int = 0
    category: str = ""
    tier: str = ""
    renew: bool = False
    solution: str = ""
    node: str = ""
    ticket_id: str = ""
    """For ``write``: the ticket that the mail belongs to."""


def plan_of(rule: MailRule, settings: MailboxSettings) -> Plan:
    """Return what a rule asks for."""
    return Plan(
        channel_id=rule.channel_id or settings.channel_id,
        category=rule.category,
        tier=rule.tier,
        renew=rule.renew,
        solution=rule.solution,
        node=rule.node,
    )


def encoded(plan: Plan) -> str:
    """Return a plan for the ledger."""
    return msgspec.json.encode(plan).decode()


def decoded(text: str) -> Plan:
    """Return a plan of the ledger."""
    return msgspec.json.decode(text or "{}", type=Plan)
