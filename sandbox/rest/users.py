"""Users, applications, and the gateway's URL."""

from __future__ import annotations

from typing import Any

from sandbox import payloads
from sandbox.bodies import DirectBody, convert
from sandbox.errors import DiscordError, unknown
from sandbox.rest.call import Call, Routes


async def own_user(call: Call) -> Any:
    """GET /users/@me."""
    return payloads.own_user(call.account)


async def other_user(call: Call) -> Any:
    """GET /users/{user_id}."""
    user = call.world.users.get(call.id("user_id"))
    if user is None:
        raise unknown("user")
    return payloads.user(user)


async def application(call: Call) -> Any:
    """GET /applications/@me and /oauth2/applications/@me."""
    owner = call.world.users.get(call.account.owner_id)
    return payloads.application(call.account, owner, len(call.world.guilds_of(call.account.id)))


async def application_emojis(call: Call) -> Any:
    """GET /applications/{application_id}/emojis."""
    return {"items": []}


async def open_direct(call: Call) -> Any:
    """POST /users/@me/channels."""
    raw, _ = await call.body()
    body = convert(raw, DirectBody)
    other = call.world.users.get(int(body.recipient_id))
    if other is None:
        raise unknown("user")
    if other.is_bot:
        raise DiscordError(400, 50007, "Cannot send messages to this user")
    data = payloads.channel(call.world.direct_channel(call.account, other))
    # A bot gets only the other user.
    data["recipients"] = [payloads.user(other)]
    return data


async def gateway(call: Call) -> Any:
    """GET /gateway."""
    return {"url": call.gateway_url}


async def gateway_bot(call: Call) -> Any:
    """GET /gateway/bot."""
    limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
    return {"url": call.gateway_url, "shards": 1, "session_start_limit": limit}


ROUTES: Routes = [
    ("GET", "/users/@me", own_user),
    ("GET", "/users/{user_id}", other_user),
    ("GET", "/applications/@me", application),
    ("GET", "/oauth2/applications/@me", application),
    ("GET", "/applications/{application_id}/emojis", application_emojis),
    ("POST", "/users/@me/channels", open_direct),
    ("GET", "/gateway", gateway),
    ("GET", "/gateway/bot", gateway_bot),
]
