"""Interactions: user actions, the bot's responses, and their deadlines.

3 seconds for the initial response, 15 minutes for edits and followups:
https://discord.com/developers/docs/interactions/receiving-and-responding.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox import composing, payloads
from sandbox.bodies import (
    AutocompleteBody,
    CallbackBody,
    DeferralBody,
    ModalBody,
    Upload,
    check_components,
    convert,
)
from sandbox.errors import DiscordError, invalid_form, unknown
from sandbox.events import Event
from sandbox.records import BotAccount, Channel, Message, User
from sandbox.world import World

FIRST_ANSWER_S = 3.0
TOKEN_LIFE_S = 15 * 60.0

PING, COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 1, 2, 3, 4, 5

Kind = Literal["pending", "message", "deferred", "deferred_update", "update", "autocomplete", "modal"]

_KINDS: dict[int, Kind] = {
    4: "message",
    5: "deferred",
    6: "deferred_update",
    7: "update",
    8: "autocomplete",
    9: "modal",
}


@dataclass(slots=True)
class Interaction:
    """One interaction, as its user sees it.

    ``kind`` is the type of the initial response, ``message`` its message, and ``followups`` are the messages after it.
    """

    id: int
    token: str = field(repr=False)
    type: int
    bot: BotAccount
    person: User
    channel: Channel
    created_at: float
    data: dict[str, Any] = field(repr=False)
    source: Message | None = None
    """The message whose component was used."""
    kind: Kind = "pending"
    message: Message | None = None
    modal: dict[str, Any] | None = None
    choices: list[dict[str, Any]] = field(default_factory=list)
    followups: list[Message] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    """The kinds of all responses so far in order, including ``edit`` and ``followup``."""
    changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def content(self) -> str:
        """The text of the response."""
        return self.message.content if self.message else ""

    @property
    def embeds(self) -> list[dict[str, Any]]:
        """The embeds of the response."""
        return self.message.embeds if self.message else []

    @property
    def ephemeral(self) -> bool:
        """Whether only the user sees the response."""
        return self.message is not None and self.message.ephemeral_for is not None

    def note(self, what: str) -> None:
        """Record a response and wake waiters."""
        self.history.append(what)
        self.touch()

    def touch(self) -> None:
        """Wake waiters."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def wait_until(self, holds: Callable[[Interaction], bool], *, timeout_s: float = 10.0) -> Interaction:
        """Wait until ``holds`` returns true; it is called again at each response and edit.

        Raises
        ------
        TimeoutError
        """

        async def wait() -> None:
            while not holds(self):
                await self.changed.wait()

        await asyncio.wait_for(wait(), timeout_s)
        return self


class Interactions:
    """All interactions of a sandbox."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_id: dict[int, Interaction] = {}
        self._by_token: dict[str, Interaction] = {}
        self.modals_supported = True
        """False: refuse modals, like servers that lack them."""
        self.deferrals_supported = True
        """False: refuse deferrals, like servers that lack them."""

    def begin(
        self,
        kind: int,
        bot: BotAccount,
        person: User,
        channel: Channel,
        data: dict[str, Any],
        *,
        source: Message | None = None,
    ) -> Interaction:
        """Create an interaction and send it to the bot."""
        world = self._world
        interaction = Interaction(
            world.new_id(),
            secrets.token_urlsafe(48),
            kind,
            bot,
            person,
            channel,
            world.clock(),
            data,
            source=source,
        )
        self._by_id[interaction.id] = interaction
        self._by_token[interaction.token] = interaction
        world.emit(Event("INTERACTION_CREATE", self._payload(interaction), channel.guild_id, only_for=bot.id))
        return interaction

    def _payload(self, interaction: Interaction) -> dict[str, Any]:
        world, channel, person = self._world, interaction.channel, interaction.person
        data: dict[str, Any] = {
            "id": str(interaction.id),
            "application_id": str(interaction.bot.id),
            "type": interaction.type,
            "token": interaction.token,
            "version": 1,
            "channel_id": str(channel.id),
            "channel": payloads.channel(channel),
            "locale": "en-US",
            "app_permissions": str(world.permissions_in(interaction.bot, channel)),
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(channel.guild_id or 0)},
            "context": 0 if channel.guild_id is not None else 1,
            "attachment_size_limit": composing.MAX_FILE_BYTES,
            "data": interaction.data,
        }
        if channel.guild_id is not None:
            guild = world.guilds[channel.guild_id]
            data["guild_id"] = str(guild.id)
            data["guild"] = {"id": str(guild.id), "locale": "en-US", "features": []}
            data["guild_locale"] = "en-US"
            data["member"] = {
                **payloads.member(guild.members[person.id]),
                "permissions": str(world.permissions_in(person, channel)),
            }
        else:
            data["user"] = payloads.user(person)
        if interaction.source is not None:
            data["message"] = world.render(interaction.source)
        return data

    # Responses of the bot

    def answer(self, interaction_id: int, token: str, raw: Any, uploads: list[Upload]) -> Interaction:
        """Handle the bot's initial response.

        Raises
        ------
        DiscordError
            10062 after three seconds, 40060 for a second response, 50035.
        """
        interaction = self._by_id.get(interaction_id)
        if interaction is None or not secrets.compare_digest(interaction.token.encode(), token.encode()):
            raise unknown("interaction")
        if self._world.clock() - interaction.created_at > FIRST_ANSWER_S and interaction.kind == "pending":
            raise unknown("interaction")
        body = convert(raw, CallbackBody)
        if interaction.kind != "pending":
            raise DiscordError(400, 40060, "Interaction has already been acknowledged.")
        self._check_fits(interaction, body.type)
        kind = _KINDS.get(body.type)
        if kind is None:
            raise invalid_form("type", "BASE_TYPE_CHOICES", "A gateway interaction is not answered with a pong")
        getattr(self, f"_answer_{kind}")(interaction, body.data or {}, uploads)
        interaction.kind = kind
        interaction.note(kind)
        return interaction

    def _check_fits(self, interaction: Interaction, answer: int) -> None:
        is_autocomplete = interaction.type == AUTOCOMPLETE
        # A modal submit may be acknowledged without a message, whatever opened the modal.
        from_message = interaction.source is not None
        silent = from_message or interaction.type == MODAL_SUBMIT
        fits = {4: not is_autocomplete, 5: not is_autocomplete and self.deferrals_supported, 6: silent, 7: from_message}
        fits |= {8: is_autocomplete, 9: interaction.type in (COMMAND, COMPONENT) and self.modals_supported}
        if not fits.get(answer, True):
            raise invalid_form("type", "BASE_TYPE_CHOICES", f"Interaction cannot be answered with type {answer}.")

    def _answer_message(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        interaction.message = self._post(interaction, data, uploads)

    def _answer_deferred(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        flags = convert(data, DeferralBody, "data").flags or 0
        message = Message(
            self._world.new_id(),
            interaction.channel.id,
            interaction.bot,
            "",
            self._world.now(),
            type=20,
            flags=flags | 1 << 7,
            **self._origin(interaction, flags),
        )
        message.on_change = lambda: interaction.note("edit")
        interaction.message = self._world.post(message)

    def _answer_deferred_update(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        interaction.message = interaction.source

    def _answer_update(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        if interaction.source is None:
            raise unknown("message")
        interaction.message = interaction.source
        composing.edit(self._world, interaction.source, data, uploads)

    def _answer_autocomplete(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        convert(data, AutocompleteBody, "data")
        interaction.choices = data.get("choices") or []

    def _answer_modal(self, interaction: Interaction, data: dict[str, Any], uploads: list[Upload]) -> None:
        modal = convert(data, ModalBody, "data")
        check_components(modal.components, "data.components", modal=True)
        interaction.modal = data

    def _origin(self, interaction: Interaction, flags: int) -> dict[str, Any]:
        owners = {"0": str(interaction.channel.guild_id or 0)}
        metadata: dict[str, Any] = {
            "id": str(interaction.id),
            "type": interaction.type,
            "user": payloads.user(interaction.person),
            "authorizing_integration_owners": owners,
        }
        if interaction.type == COMMAND:
            metadata["name"] = interaction.data.get("name", "")
        elif interaction.type == COMPONENT and interaction.source is not None:
            metadata["interacted_message_id"] = str(interaction.source.id)
        elif interaction.type == MODAL_SUBMIT:
            metadata["triggering_interaction_metadata"] = {
                "id": str(interaction.id),
                "type": COMMAND,
                "user": payloads.user(interaction.person),
                "authorizing_integration_owners": owners,
            }
        return {
            "application_id": interaction.bot.id,
            "webhook_id": interaction.bot.id,
            "interaction": metadata,
            "ephemeral_for": interaction.person.id if flags & composing.EPHEMERAL else None,
        }

    def _post(self, interaction: Interaction, raw: dict[str, Any], uploads: list[Upload]) -> Message:
        flags = convert(raw, DeferralBody).flags or 0
        message = composing.compose(
            self._world,
            interaction.channel,
            interaction.bot,
            raw,
            uploads,
            **self._origin(interaction, flags),
        )
        message.type = 20 if interaction.type == COMMAND else 0
        message.on_change = lambda: interaction.note("edit")
        return self._world.post(message)

    # Followups, through the interaction's webhook

    def by_token(self, application_id: int, token: str) -> Interaction:
        """Return the interaction of a webhook token.

        Raises
        ------
        DiscordError
            10015 for an unknown one, 50027 after 15 minutes.
        """
        interaction = self._by_token.get(token)
        if interaction is None or interaction.bot.id != application_id:
            raise unknown("webhook")
        if self._world.clock() - interaction.created_at > TOKEN_LIFE_S:
            raise DiscordError(401, 50027, "Invalid Webhook Token")
        return interaction

    def follow_up(self, interaction: Interaction, raw: Any, uploads: list[Upload]) -> Message:
        """Post a followup; the first one after a deferral replaces it.

        Raises
        ------
        DiscordError
            10015 before the initial response, 50035.
        """
        if interaction.kind == "pending":
            raise unknown("webhook")
        waiting = interaction.message
        if interaction.kind == "deferred" and waiting is not None and waiting.flags & 1 << 7:
            composing.edit(self._world, waiting, raw, uploads)
            return waiting
        message = self._post(interaction, raw, uploads)
        interaction.followups.append(message)
        interaction.note("followup")
        return message

    def message_of(self, interaction: Interaction, which: str) -> Message:
        """Return ``@original``, or the followup with that id.

        Raises
        ------
        DiscordError
            10008.
        """
        candidates = interaction.followups if which != "@original" else [interaction.message]
        if which != "@original" and interaction.message is not None:
            candidates = [*candidates, interaction.message]
        for message in candidates:
            if message is not None and (which == "@original" or str(message.id) == which):
                channel = self._world.channels.get(message.channel_id)
                if channel is not None and message.id in channel.messages:
                    return message
        raise unknown("message")
