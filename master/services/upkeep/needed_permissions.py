"""The permissions that the master needs on its server, by what the config has: for the link that invites it."""

from __future__ import annotations

from master.configuration.settings import Settings
from master.services.onboarding.identity import MASTER_PERMISSIONS
from master.services.people.ticket_sets import MANAGE_ROLES, NEEDED, NEEDED_FOR_THREADS


def needed_permissions(settings: Settings) -> int:
    """Return what to ask for in an invitation: the channels' part, that of tickets, and that of licence roles."""
    bits = MASTER_PERMISSIONS
    for category in settings.tickets.categories.values():
        bits |= NEEDED_FOR_THREADS if category.threads else NEEDED
    if any(tier.role_id for tier in settings.licence_tiers):
        bits |= MANAGE_ROLES
    return bits
