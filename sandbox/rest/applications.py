"""Application commands, and interaction callbacks; their webhooks' routes are in ``webhooks``."""

from __future__ import annotations

from typing import Any

from sandbox import composing
from sandbox.errors import missing_access
from sandbox.interactions import Interaction
from sandbox.rest.call import NO_CONTENT, Call, Created, Routes


def _scope(call: Call) -> tuple[int, int | None]:
    """Return application and guild of the path; only a bot's own application is allowed."""
    application_id = call.id("application_id")
    if application_id != call.account.application_id:
        raise missing_access()
    if "guild_id" not in call.request.match_info:
        return application_id, None
    return application_id, call.world.guild_for(call.account, call.id("guild_id")).id


async def list_commands(call: Call) -> Any:
    """GET commands."""
    return call.commands.of_scope(*_scope(call))


async def overwrite_commands(call: Call) -> Any:
    """PUT commands."""
    raw, _ = await call.body()
    return call.commands.overwrite(*_scope(call), raw)


async def create_command(call: Call) -> Any:
    """POST a command."""
    raw, _ = await call.body()
    command, is_new = call.commands.upsert(*_scope(call), raw)
    return Created(command) if is_new else command


async def get_command(call: Call) -> Any:
    """GET a command."""
    return call.commands.get(*_scope(call), call.id("command_id"))


async def delete_command(call: Call) -> Any:
    """DELETE a command."""
    call.commands.remove(*_scope(call), call.id("command_id"))
    return NO_CONTENT


async def callback(call: Call) -> Any:
    """POST /interactions/{interaction_id}/{interaction_token}/callback."""
    raw, uploads = await call.body()
    token = call.text("interaction_token")
    interaction = call.interactions.answer(call.id("interaction_id"), token, raw, uploads)
    if call.request.query.get("with_response", "").lower() not in ("1", "true"):
        return NO_CONTENT
    return _callback_response(call, interaction)


def _callback_response(call: Call, interaction: Interaction) -> dict[str, Any]:
    types = {"message": 4, "deferred": 5, "deferred_update": 6, "update": 7, "autocomplete": 8, "modal": 9}
    about: dict[str, Any] = {"id": str(interaction.id), "type": interaction.type}
    answer: dict[str, Any] = {"interaction": about}
    if interaction.kind in ("message", "deferred", "update") and interaction.message is not None:
        about["response_message_id"] = str(interaction.message.id)
        about["response_message_loading"] = interaction.kind == "deferred"
        about["response_message_ephemeral"] = interaction.ephemeral
        if interaction.kind != "deferred":
            answer["resource"] = {
                "type": types[interaction.kind],
                "message": call.world.render(interaction.message, call.account),
            }
    return answer


def _interaction(call: Call) -> Interaction:
    return call.interactions.by_token(call.id("webhook_id"), call.text("webhook_token"))


async def follow_up(call: Call) -> Any:
    """POST /webhooks/{webhook_id}/{webhook_token}."""
    interaction = _interaction(call)
    raw, uploads = await call.body()
    return call.world.render(call.interactions.follow_up(interaction, raw, uploads))


async def get_message(call: Call) -> Any:
    """GET a response or a followup."""
    return call.world.render(call.interactions.message_of(_interaction(call), call.text("message_id")))


async def edit_message(call: Call) -> Any:
    """PATCH a response or a followup."""
    interaction = _interaction(call)
    message = call.interactions.message_of(interaction, call.text("message_id"))
    raw, uploads = await call.body()
    composing.edit(call.world, message, raw, uploads)
    interaction.touch()
    return call.world.render(message)


async def delete_message(call: Call) -> Any:
    """DELETE a response or a followup."""
    interaction = _interaction(call)
    message = call.interactions.message_of(interaction, call.text("message_id"))
    call.world.delete_message(call.world.channels[message.channel_id], message)
    interaction.touch()
    return NO_CONTENT


_GLOBAL = "/applications/{application_id}/commands"
_GUILD = "/applications/{application_id}/guilds/{guild_id}/commands"

ROUTES: Routes = [
    *(
        (method, base, route)
        for base in (_GLOBAL, _GUILD)
        for method, route in (
            ("GET", list_commands),
            ("PUT", overwrite_commands),
            ("POST", create_command),
        )
    ),
    *(
        (method, base + "/{command_id}", route)
        for base in (_GLOBAL, _GUILD)
        for method, route in (
            ("GET", get_command),
            ("DELETE", delete_command),
        )
    ),
]

WITHOUT_TOKEN: Routes = [
    ("POST", "/interactions/{interaction_id}/{interaction_token}/callback", callback),
]
"""Routes that are authenticated by the token in their path."""
