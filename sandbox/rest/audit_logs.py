"""The audit log of a guild."""

from __future__ import annotations

from typing import Any

from sandbox import audit, payloads, permissions
from sandbox.errors import missing_permissions
from sandbox.rest.call import Call, Routes


async def list_entries(call: Call) -> Any:
    """GET /guilds/{guild_id}/audit-logs: newest first; oldest first when asked for what came after an entry."""
    guild = call.world.guild_for(call.account, call.id("guild_id"))
    if not permissions.in_guild(guild, call.account.id) & permissions.VIEW_AUDIT_LOG:
        raise missing_permissions()
    limit = call.query("limit", default=50, least=1, most=100)
    after = call.query("after", default=0, least=0, most=2**63)
    before = call.query("before", default=2**63, least=0, most=2**63)
    action = call.query("action_type", default=0, least=0, most=200)
    user_id = call.query("user_id", default=0, least=0, most=2**63)
    target_id = call.query("target_id", default=0, least=0, most=2**63)
    found = [
        entry
        for entry in call.world.audit.of(guild.id)
        if after < entry.id < before and action in (0, entry.action)
        if user_id in (0, entry.user_id) and target_id in (0, entry.target_id)
    ]
    shown = found[:limit] if "after" in call.request.query else list(reversed(found))[:limit]
    return _page(call, shown)


def _page(call: Call, shown: list[audit.Entry]) -> dict[str, Any]:
    """Return entries with who and what they name, as far as it is there still."""
    world = call.world
    named = dict.fromkeys(number for entry in shown for number in (entry.user_id, entry.target_id))
    threads = (audit.THREAD_CREATE, audit.THREAD_UPDATE)
    touched = dict.fromkeys(entry.target_id for entry in shown if entry.action in threads)
    hooks = [world.webhooks[number] for number in named if number in world.webhooks]
    own = call.account.application_id
    return {
        "audit_log_entries": [entry.payload() for entry in shown],
        "users": [payloads.user(world.users[number]) for number in named if number in world.users],
        "webhooks": [payloads.webhook(one, with_token=one.application_id in (None, own)) for one in hooks],
        "threads": [payloads.channel(world.channels[number]) for number in touched if number in world.channels],
        "integrations": [],
        "guild_scheduled_events": [],
        "application_commands": [],
        "auto_moderation_rules": [],
    }


ROUTES: Routes = [("GET", "/guilds/{guild_id}/audit-logs", list_entries)]
