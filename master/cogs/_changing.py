"""How /fleet remove and /fleet set-token ask, and what they answer."""

from __future__ import annotations

from typing import Any

import discord

from master.bot.answering import actor_of, answer, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, success_embed
from master.cogs._views import Confirm, OperationModal
from master.configuration.settings import Settings
from master.errors import FleetError
from master.operations import changing
from master.operations.parameters import RemoveParams, SetTokenParams
from master.security.tokens import MAX_TOKEN_CHARACTERS
from master.services.core.views import RemovalView, TokenView
from master.wording import as_markdown

INSTEAD_OF_FORM = "on the box: fleet set-token NAME (the token is asked for there)"
_FATES = {
    "kept": "Its folder stays as it is.",
    "archived": "Its folder goes into an archive in the master's state folder.",
    "purged": "Its folder, its logs and all else that it had are removed, **without a copy**.",
}


class TokenForm(OperationModal, title="Another token for a bot"):
    """Form for the token; a token in a form does not appear in the chat, nor in any answer."""

    token: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Bot token", max_length=MAX_TOKEN_CHARACTERS)

    def __init__(self, node: str, *, new_bot: bool) -> None:
        super().__init__()
        self._node, self._new_bot = node, new_bot

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Set the token."""
        await defer(interaction)
        operations = interaction.client.operations
        params = SetTokenParams(name=self._node, token=self.token.value.strip(), new_bot=self._new_bot)
        given = await operations.run(changing.set_token, actor_of(interaction), params)
        await answer(interaction, _token_embed(operations.services.settings, given))


def _token_embed(settings: Settings, given: TokenView) -> discord.Embed:
    lines = [f"Its bot: <@{given.bot_user_id}>", *map(as_markdown, given.notes)]
    if given.restarted:
        lines.insert(0, f"It starts with it: {given.state}.")
    if given.other_bot:
        lines.append(f"[Add it to a server]({given.invite_url})")
    return success_embed(settings, f"{as_markdown(given.node)} has a new token", "\n".join(lines))


def removal_question(
    settings: Settings, plan: RemovalView, params: RemoveParams
) -> tuple[discord.Embed, discord.ui.View]:
    """Return the question whether a node is to be removed, and its buttons."""
    name = as_markdown(plan.node)
    notes = "\n".join(as_markdown(note) for note in plan.notes)
    question = discord.Embed(
        title=f"Remove {name}?",
        description="It is stopped, its licence revoked and its token forgotten; its history stays.\n"
        f"{_FATES.get(plan.fate, '')}\n{notes}".strip(),
        colour=settings.colours.warning,
    )

    async def act(pressed: discord.Interaction[MasterBot]) -> None:
        await pressed.response.defer()
        (done,) = await pressed.client.operations.run(changing.remove, actor_of(pressed), params)
        await pressed.edit_original_response(embed=_removed_embed(settings, done), view=None)

    return question, Confirm(changing.remove, "Remove", act)


def _removed_embed(settings: Settings, done: RemovalView) -> discord.Embed:
    if not done.ok:
        return error_embed(settings, FleetError(done.detail, hint=done.hint))
    lines = [f"Its folder was {done.fate}.", *map(as_markdown, done.notes)]
    if done.archive:
        lines.insert(1, f"`{as_markdown(done.archive.rpartition('/')[2])}`")
    return success_embed(settings, f"{as_markdown(done.node)} is removed", "\n".join(lines))
