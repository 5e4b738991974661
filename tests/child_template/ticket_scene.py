"""A server with a ticket category, a staff, and a node of the template that answers for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from master.demonstration.stage import EventTap, Stage
from sandbox import BotHandle, ChannelHandle, Interaction, Message, Person
from sandbox.events import Event
from sandbox.intents import MESSAGE_CONTENT
from sandbox.permissions import CREATE_PRIVATE_THREADS as PRIVATE_THREADS
from sandbox.permissions import (
    EVERYONE_DEFAULT,
    MANAGE_CHANNELS,
    MANAGE_MESSAGES,
    MANAGE_ROLES,
    MANAGE_THREADS,
)
from sandbox.records import Role
from sandbox.showing import message_lines
from tests.child_template.template_nodes import change_config, copy_template, start_node

QUESTIONS = ("What is it about?", "Which order?")
CONFIG = """
TICKETS = {{
    "CATEGORIES": {{
        "support": {{
            "CHANNEL_ID": {place},
            "THREADS": {threads},
            "STAFF_ROLES": [{staff}],
            "LOG_CHANNEL_ID": {log},
            "QUESTIONS": {questions!r},
        }},
    }},
}}
"""


@dataclass
class Scene:
    """What a test about tickets works with."""

    stage: Stage
    tap: EventTap
    node: BotHandle
    folder: Path
    place: ChannelHandle
    log: ChannelHandle
    staff: Role
    ann: Person
    sam: Person

    async def press(self, person: Person, where: Message | Interaction, button: str) -> Interaction:
        """Press a button; returns the interaction once it is answered with a text or a form."""
        return await answered(await person.presses(where, button))

    async def panel(self) -> Message:
        """Post a panel as the server's owner, and return its message."""
        office = self.stage.office
        answer = await answered(await self.stage.operator.runs_command(office, self.node, "ticket panel"))
        assert answer.content.startswith("The panel is there."), answer.content
        return await office.wait_for_message(lambda m: m.author.id == self.node.id and bool(m.components))

    async def open(self, person: Person, panel: Message, answers: dict[str, str] | None = None) -> ChannelHandle:
        """Open a ticket at a panel, and return its channel."""
        shown = await person.presses(panel, "Support")
        assert shown.modal is not None, shown.content
        sent = await person.submits_modal(shown, answers or dict.fromkeys(QUESTIONS, "the stove"))
        answer = await answered(sent)
        assert answer.content.startswith("Your ticket is <#"), answer.content
        return self.stage.guild.channel(int(answer.content.partition("<#")[2].partition(">")[0]))

    async def greeting(
        self, channel: ChannelHandle, fits: Callable[[Message], bool] = lambda _message: True
    ) -> Message:
        """Wait for the message of a ticket as it is to look."""
        return await channel.wait_for_message(
            lambda m: m.author.id == self.node.id and "your ticket" in m.content and fits(m), timeout_s=20
        )


async def answered(interaction: Interaction) -> Interaction:
    """Wait until an answer has its text; a form is one too."""
    return await interaction.wait_until(lambda i: bool(i.modal or i.content or i.embeds), timeout_s=20)


def field(message: Message, name: str) -> str:
    """Return the value of a field of a message's embed."""
    return next(str(one["value"]) for one in message.embeds[0]["fields"] if one["name"] == name)


def buttons(message: Message) -> list[str]:
    """Return the labels of a message's buttons."""
    return [str(leaf["label"]) for row in message.components for leaf in row["components"]]


def picture(up: Scene, message: Message) -> str:
    """Return a message as a person sees it."""
    return "\n".join(message_lines(up.stage.sandbox.world, message))


@asynccontextmanager
async def scene(
    ledger: Path, *, threads: bool = False, reads: bool = True, questions: tuple[str, ...] = QUESTIONS
) -> AsyncIterator[Scene]:
    """Set up a master with a category, and a node that may read what people write."""
    async with Stage(pulse_s=0.5, ledger=ledger) as stage:
        guild = stage.guild
        bits = EVERYONE_DEFAULT | MANAGE_CHANNELS | MANAGE_ROLES | MANAGE_MESSAGES | MANAGE_THREADS | PRIVATE_THREADS
        guild.role_of(stage.master_bot).permissions = bits
        place = guild.create_channel("help") if threads else guild.create_category("tickets")
        log, staff = guild.create_channel("ticket-log"), guild.create_role("staff", MANAGE_THREADS * threads)
        ann, sam = stage.sandbox.create_human("ann"), stage.sandbox.create_human("sam")
        guild.add_member(ann)
        guild.add_member(sam, [staff])
        with (stage.home / "config.py").open("a", encoding="utf-8") as config:
            config.write(
                CONFIG.format(place=place.id, threads=threads, staff=staff.id, log=log.id, questions=questions)
            )
        await stage.start_master()
        folder = stage.home / "bots" / "atlas"
        copy_template(folder, {})
        if reads:
            change_config(folder, "MESSAGE_CONTENT_INTENT = False", "MESSAGE_CONTENT_INTENT = True")
        async with stage.listen() as tap:
            node = await start_node(stage, tap, folder, privileged_intents=MESSAGE_CONTENT if reads else 0)
            yield Scene(stage, tap, node, folder, place, log, staff, ann, sam)
        if stage.sandbox.conformance is not None:
            assert stage.sandbox.conformance.violations == []


async def restart(up: Scene) -> None:
    """Restart the node, and wait until it is ready."""
    since = len(up.tap.events)
    await up.stage.act("restart", ["atlas"])
    await up.tap.wait_for("ready", "atlas", since=since)


async def kill_node(up: Scene) -> None:
    """Kill the node's process, and wait until its successor is ready."""
    since, pid = len(up.tap.events), (await up.stage.node("atlas")).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await up.tap.wait_for("ready", "atlas", since=since)


async def wait_for_channel(up: Scene, known: set[int]) -> ChannelHandle:
    """Wait for a channel that was not there before."""
    made = asyncio.get_running_loop().create_future()

    def look(event: Event) -> None:
        if event.name == "CHANNEL_CREATE" and int(event.data["id"]) not in known and not made.done():
            made.set_result(int(event.data["id"]))

    up.stage.sandbox.world.listeners.append(look)
    for channel_id in up.stage.guild.guild.channels.keys() - known:
        return up.stage.guild.channel(channel_id)
    return up.stage.guild.channel(await asyncio.wait_for(made, 60))
