"""Errors of Discord, by HTTP, made to happen."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import discord
import discord.gateway
import discord.http
from discord.ext import commands

from master.services.healing.sighting import SeenIn
from tests.solutions.raising import Place, Shown, logs, of_exception, raises, shows


async def _ask(
    place: Place,
    status: int,
    body: dict[str, Any] | str,
    *,
    count: int = 1,
    path: str = "/channels/1",
    **headers: str,
) -> object:
    """Have discord.py ask something that is answered like this."""
    sandbox, bot = await place.discord()
    raw, kind = (body, "text/html") if isinstance(body, str) else (json.dumps(body), "application/json")
    sandbox.faults.answer_raw(
        raw.encode(), status=status, content_type=kind, headers=headers, path_contains=path, count=count
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)
        return await client.fetch_channel(1)


@raises("missing_permissions")
async def missing_permissions(place: Place) -> None:
    await _ask(place, 403, {"code": 50013, "message": "Missing Permissions"})


@raises("missing_access")
async def missing_access(place: Place) -> None:
    await _ask(place, 403, {"code": 50001, "message": "Missing Access"})


@raises("missing_permissions")
async def missing_permissions_in_a_command(place: Place) -> None:
    try:
        await missing_permissions(place)
    except discord.Forbidden as error:
        raise commands.CommandInvokeError(error) from error


@raises("unknown_interaction")
async def unknown_interaction(place: Place) -> None:
    await _ask(place, 404, {"code": 10062, "message": "Unknown interaction"})


@raises("interaction_already_acknowledged")
async def already_acknowledged(place: Place) -> None:
    await _ask(place, 400, {"code": 40060, "message": "Interaction has already been acknowledged."})


@raises("interaction_already_acknowledged")
async def responded_twice(place: Place) -> None:
    response = discord.InteractionResponse(object())  # type: ignore[arg-type]
    response._response_type = discord.InteractionResponseType.pong
    response._parent = type("Parent", (), {"user": None})()
    await response.send_message("again")


@raises("unknown_channel")
async def unknown_channel(place: Place) -> None:
    await _ask(place, 404, {"code": 10003, "message": "Unknown Channel"})


@raises("unknown_message")
async def unknown_message(place: Place) -> None:
    await _ask(place, 404, {"code": 10008, "message": "Unknown Message"})


@raises("user_takes_no_messages")
async def user_takes_no_messages(place: Place) -> None:
    await _ask(place, 403, {"code": 50007, "message": "Cannot send messages to this user"})


@raises("upload_too_large")
async def upload_too_large(place: Place) -> None:
    await _ask(place, 413, {"code": 40005, "message": "Request entity too large"})


@raises("invalid_form_body")
async def invalid_form_body(place: Place) -> None:
    too_long = {
        "content": {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer in length."}]}
    }
    await _ask(place, 400, {"code": 50035, "message": "Invalid Form Body", "errors": too_long})


@raises("discord_server_error")
async def discord_server_error(place: Place) -> None:
    await _ask(place, 503, "upstream connect error or disconnect/reset before headers")


@raises("library_too_old", where="on_ready", source="event")
async def api_version_refused(place: Place) -> None:
    await _ask(place, 400, {"code": 50041, "message": "Invalid API version provided"})


CLOUDFLARE = """<!DOCTYPE html>
<html lang="en-US"><head><title>Access denied | discord.com used Cloudflare to restrict access</title></head>
<body><h1>Error 1015</h1><h2>You are being rate limited</h2></body></html>"""


@raises("cloudflare_ban")
async def cloudflare_ban(place: Place) -> None:
    await _ask(place, 429, CLOUDFLARE)


@raises("rate_limited", "rate_limited_and_ended")
async def rate_limited_for_good(place: Place) -> None:
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": False}
    await _ask(place, 429, body, count=5, Via="1.1 google")


@raises("rate_limited", "rate_limited_and_ended")
async def rate_limited_longer_than_allowed(place: Place) -> NoReturn:
    raise discord.RateLimited(1432.5)


@shows("rate_limited_and_ended")
async def rate_limited_and_ended(place: Place) -> list[Shown]:
    try:
        await rate_limited_for_good(place)
    except discord.HTTPException as error:
        return [one for one in of_exception(error, "startup", "main") if one.seen_in is SeenIn.EXIT]
    raise AssertionError("nothing was raised")


@logs("rate_limit_warning")
async def rate_limit_warning(place: Place) -> None:
    sandbox, bot = await place.discord()
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": False}
    sandbox.faults.answer_raw(
        json.dumps(body).encode(), status=429, headers={"Via": "1.1 google"}, path_contains="/users/@me"
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)


@logs("global_rate_limit", "rate_limit_warning")
async def global_rate_limit(place: Place) -> None:
    sandbox, bot = await place.discord()
    body = {"message": "You are being rate limited.", "retry_after": 0.001, "global": True}
    sandbox.faults.answer_raw(
        json.dumps(body).encode(), status=429, headers={"Via": "1.1 google"}, path_contains="/users/@me"
    )
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(bot.token)
