"""The demo's members: one redeems a licence, three enter a giveaway whose draw is checked, one opens a ticket."""

from __future__ import annotations

import asyncio
import time

from master.demonstration.stage import EventTap, Stage, StageError
from master.operations import kernel
from master.operations.parameters import NoParams
from master.services.people.giveaway_draw import check
from sandbox import BotHandle, ChannelHandle, Interaction, Message, Person
from sandbox.events import Event
from sandbox.permissions import EVERYONE_DEFAULT, MANAGE_CHANNELS, MANAGE_MESSAGES, MANAGE_ROLES, MANAGE_THREADS
from sandbox.records import Role

_WAIT_S = 30.0
_CONFIG = """
LICENCES = {{"standard": 0, "pro": {{"DAYS": 365, "FEATURES": ("exports",), "ROLE_ID": {role_id}}}}}
TICKETS = {{
    "CATEGORIES": {{
        "support": {{"CHANNEL_ID": {place_id}, "STAFF_ROLES": [{staff_id}], "QUESTIONS": ("What is it about?",)}},
    }},
}}
"""


async def serve_people(stage: Stage, tap: EventTap, figures: dict[str, float]) -> str:
    """Have members use what the master does for them; returns what happened.

    Raises
    ------
    FleetError
        One of them did not get what he asked for.
    """
    lounge, role, members = await _prepare(stage)
    began = time.monotonic()
    await _redeem(stage, members[0], lounge, role)
    figures["redeemed_ms"] = _milliseconds(began)
    began = time.monotonic()
    winner = await _give_away(stage, lounge, members)
    figures["giveaway_ms"] = _milliseconds(began)
    node = next(node.name for node in (await stage.status()).nodes if node.state == "ready")
    began = time.monotonic()
    ticket = await _open_ticket(stage, stage.bots[node], lounge, members[1])
    figures["ticket_ms"] = _milliseconds(began)
    return (
        f"a code redeemed, its role given; {len(members)} entered a giveaway, {winner} won it by a draw that its file "
        f"proves; a ticket #{ticket.channel.name} opened by {node}, which may neither make channels nor set permissions"
    )


def _milliseconds(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


async def _prepare(stage: Stage) -> tuple[ChannelHandle, Role, list[Person]]:
    """Set up roles, channels and members, and have the master reload its config with tiers and tickets."""
    guild = stage.guild
    role, staff = guild.create_role("pro"), guild.create_role("staff")
    master = guild.role_of(stage.master_bot)
    master.permissions = EVERYONE_DEFAULT | MANAGE_CHANNELS | MANAGE_ROLES | MANAGE_MESSAGES | MANAGE_THREADS
    guild.move_role(master, max(role.position, staff.position) + 1)
    lounge, place = guild.create_channel("lounge"), guild.create_category("tickets")
    members = [stage.sandbox.create_human(name) for name in ("ann", "ben", "cleo")]
    for member in members:
        guild.add_member(member)
    with (stage.home / "config.py").open("a", encoding="utf-8") as config:
        config.write(_CONFIG.format(role_id=role.id, place_id=place.id, staff_id=staff.id))
    await asyncio.to_thread(stage.client.run, kernel.reload, NoParams())
    return lounge, role, members


async def _redeem(stage: Stage, member: Person, lounge: ChannelHandle, role: Role) -> None:
    issued = await _answered(
        await stage.operator.runs_command(stage.office, stage.master_bot, "licence issue", {"tier": "pro"})
    )
    code = next((word.strip("`|*") for word in _text_of(issued).split() if word.strip("`|*").startswith("FM1-")), "")
    if not code or not issued.ephemeral:
        raise StageError(f"/licence issue answered without a code in private: {_text_of(issued)[:200]}")
    form = await member.runs_command(lounge, stage.master_bot, "licence redeem")
    redeemed = await _answered(await member.submits_modal(form, {"Licence code": code}))
    try:
        await _wait_for_role(stage, member, role)
    except TimeoutError:
        raise StageError(f"{member.name} has no role after: {_text_of(redeemed)[:200]}") from None


async def _wait_for_role(stage: Stage, member: Person, role: Role) -> None:
    changed = asyncio.Event()

    def look(_event: Event) -> None:
        if role.id in stage.guild.guild.members[member.id].role_ids:
            changed.set()

    stage.sandbox.world.listeners.append(look)
    try:
        if role.id not in stage.guild.guild.members[member.id].role_ids:
            async with asyncio.timeout(_WAIT_S):
                await changed.wait()
    finally:
        stage.sandbox.world.listeners.remove(look)


async def _give_away(stage: Stage, lounge: ChannelHandle, members: list[Person]) -> str:
    """Start a giveaway, have all enter, end it, and recompute the draw from its file; returns the winner's name."""
    options = {"prize": "A year of pro", "duration": "1h", "winners": 1}
    began = await _answered(await stage.operator.runs_command(lounge, stage.master_bot, "giveaway start", options))
    posted = await lounge.wait_for_message(lambda message: bool(message.components), timeout_s=_WAIT_S)
    giveaway = _button_of(posted).rpartition(":")[2]
    for member in members:
        await _answered(await member.presses(posted, _button_of(posted)))
    asked = await _answered(
        await stage.operator.runs_command(lounge, stage.master_bot, "giveaway end", {"giveaway": giveaway})
    )
    await stage.operator.presses(asked, "End it")

    def is_draw(message: Message) -> bool:
        return any(file.filename.endswith(".json") for file in message.attachments)

    drawn = await lounge.wait_for_message(is_draw, timeout_s=_WAIT_S)
    file = next(file for file in drawn.attachments if file.filename.endswith(".json"))
    found = check(file.content.decode())
    names = {member.id: member.name for member in members}
    won = [names[user_id] for draw in found.draws for user_id in draw.winners if user_id in names]
    if not won or found.problems:
        raise StageError(f"the draw does not prove its winner: {found.problems} {_text_of(began)[:200]}")
    return won[0]


def _button_of(posted: Message) -> str:
    return str(posted.components[0]["components"][0]["custom_id"])


async def _open_ticket(stage: Stage, node: BotHandle, lounge: ChannelHandle, member: Person) -> ChannelHandle:
    panel = await _answered(await stage.operator.runs_command(lounge, node, "ticket panel"))

    def is_panel(message: Message) -> bool:
        return message.author.id == node.id and bool(message.components)

    posted = await lounge.wait_for_message(is_panel, timeout_s=_WAIT_S)
    form = await member.presses(posted, "Support")
    answer = await _answered(await member.submits_modal(form, {"What is it about?": "my licence"}))
    _, found, rest = answer.content.partition("<#")
    if not found:
        raise StageError(f"no ticket was opened: {answer.content[:200]} {panel.content[:100]}")
    return stage.guild.channel(int(rest.partition(">")[0]))


async def _answered(interaction: Interaction) -> Interaction:
    def has_answer(one: Interaction) -> bool:
        return bool(one.modal or one.content or one.embeds)

    return await interaction.wait_until(has_answer, timeout_s=_WAIT_S)


def _text_of(interaction: Interaction) -> str:
    texts: list[str] = [interaction.content]
    for embed in interaction.embeds:
        texts += [str(embed.get("title", "")), str(embed.get("description", ""))]
        texts += [f"{field['name']} {field['value']}" for field in embed.get("fields", ())]
    return "\n".join(texts)
