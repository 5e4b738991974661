"""The form of ``/giveaway start``, for who would rather be asked than remember the names of eighteen options."""

from __future__ import annotations

from typing import Any, NamedTuple

import discord
import msgspec

from master.bot.answering import actor_of, answer, ask, defer
from master.bot.client import MasterBot
from master.bot.embeds import error_embed, success_embed
from master.cogs._durations import seconds_of
from master.cogs._giveaway_embeds import giveaway_line
from master.cogs._views import OperationModal, OperationView
from master.errors import FleetError
from master.operations import giveaways
from master.operations.giveaway_parameters import GiveawayStartParams
from master.services.core.giveaway_views import MOST_WINNERS

INSTEAD_OF_FORM = "type `prize` and `duration` behind the command; the other options are below them"
_MOST_ROLES = 5


class Typed(NamedTuple):
    """What a form's fields hold, as somebody typed it."""

    prize: str
    duration: str
    winners: str
    description: str
    role_ids: tuple[int, ...]


class GiveawayForm(OperationModal, title="Start a giveaway"):
    """Prize, duration, winners, description and the roles that may enter.

    Parameters
    ----------
    typed
        What stands in the fields already.
    known
        What the command's other options said: it goes with the form.
    """

    def __init__(self, typed: Typed, known: GiveawayStartParams) -> None:
        super().__init__()
        self._known = known
        self._prize = _text(typed.prize, 200, "A year of pro")
        self._duration = _text(typed.duration, 20, "30m, 12h, 7d, 1d12h")
        self._winners = _text(typed.winners, 4, "1")
        self._description = _text(typed.description, 1_000, "For all who test with us.", is_long=True)
        self._roles: discord.ui.RoleSelect[Any] = discord.ui.RoleSelect(
            required=False,
            min_values=0,
            max_values=_MOST_ROLES,
            default_values=[
                discord.SelectDefaultValue(id=role_id, type=discord.SelectDefaultValueType.role)
                for role_id in typed.role_ids[:_MOST_ROLES]
            ],
        )
        for text, field, note in (
            ("What is given away?", self._prize, None),
            ("How long is it open?", self._duration, None),
            ("How many win it?", self._winners, None),
            ("What else is to be said of it?", self._description, None),
            ("Who may enter?", self._roles, "Who has all of these roles; everybody if you name none."),
        ):
            self.add_item(discord.ui.Label(text=text, description=note, component=field))

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """Start the giveaway; of a mistake the answer has a button that opens the form again, as it was filled in."""
        await defer(interaction)
        typed = Typed(
            prize=self._prize.value.strip(),
            duration=self._duration.value.strip(),
            winners=self._winners.value.strip(),
            description=self._description.value.strip(),
            role_ids=tuple(role.id for role in self._roles.values),
        )
        try:
            await start(interaction, completed(typed, self._known))
        except FleetError as error:
            settings = interaction.client.services.settings
            await answer(interaction, error_embed(settings, error), FillInAgain(typed, self._known))


class FillInAgain(OperationView):
    """A button that opens a form again with what was filled in."""

    def __init__(self, typed: Typed, known: GiveawayStartParams) -> None:
        super().__init__(giveaways.start)
        self._typed, self._known = typed, known

    @discord.ui.button(label="Back to the form", style=discord.ButtonStyle.primary)
    async def again(self, interaction: discord.Interaction[MasterBot], button: discord.ui.Button[Any]) -> None:
        """Show the form."""
        await ask(interaction, GiveawayForm(self._typed, self._known), INSTEAD_OF_FORM)


def completed(typed: Typed, known: GiveawayStartParams) -> GiveawayStartParams:
    """Return the parameters of a giveaway, with what was typed into the form.

    Raises
    ------
    FleetError
        A field holds something else than is asked for.
    """
    if not typed.prize:
        raise FleetError("a giveaway needs a prize", hint="say in a few words what is given away")
    winners = int(typed.winners) if typed.winners.isascii() and typed.winners.isdecimal() else 0
    if not 1 <= winners <= MOST_WINNERS:
        hint = f"type a whole number from 1 to {MOST_WINNERS}"
        raise FleetError(f"{typed.winners!r} is no number of winners", hint=hint)
    return msgspec.structs.replace(
        known,
        prize=typed.prize,
        duration_s=seconds_of(typed.duration),
        winners=winners,
        description=typed.description,
        rules=msgspec.structs.replace(known.rules, role_ids=typed.role_ids),
    )


async def start(interaction: discord.Interaction[MasterBot], params: GiveawayStartParams) -> None:
    """Start a giveaway, and say where it is; the interaction is deferred already."""
    operations = interaction.client.operations
    made = await operations.run(giveaways.start, actor_of(interaction), params)
    words = "scheduled" if made.state == "scheduled" else "open"
    if made.state == "open" and made.message_id is None:
        words = "on record; its message is posted once Discord is back"
    done = success_embed(operations.services.settings, f"The giveaway is {words}", giveaway_line(made))
    await answer(interaction, done)


def _text(value: str, most: int, example: str, *, is_long: bool = False) -> discord.ui.TextInput[Any]:
    return discord.ui.TextInput(
        style=discord.TextStyle.paragraph if is_long else discord.TextStyle.short,
        default=value or None,
        placeholder=example,
        required=not is_long,
        max_length=most,
    )
