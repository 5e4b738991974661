"""Messages and forms of the sandbox as lines of plain text, as a person sees them. What is foreign in them stays so."""

from __future__ import annotations

import re
from typing import Any

from sandbox.records import Message
from sandbox.world import World

_MENTION = re.compile(r"<(@!?|@&|#)(\d{1,20})>")
_BUTTON, _TEXT_INPUT = 2, 4
_LOADING = 1 << 7


def message_lines(world: World, message: Message, *, edited: bool = False) -> list[str]:
    """Return a message: who says what where, then its embeds, files and components."""
    channel = world.channels[message.channel_id]
    where = f"#{channel.name}" if channel.guild_id is not None else "(direct)"
    private = world.users.get(message.ephemeral_for or 0)
    notes = [f"only {private.username} sees this"] if private is not None else []
    notes += ["edited"] if edited else []
    note = f" ({', '.join(notes)})" if notes else ""
    content = "is thinking ..." if message.flags & _LOADING else _named(world, message.content)
    lines = [f"{where} {message.author.username}{note}: {content}".rstrip()]
    for embed in message.embeds:
        lines += [f"  | {line}" for line in _embed(world, embed)]
    lines += [f"  file: {one.filename} ({len(one.content)} bytes)" for one in message.attachments]
    for row in message.components:
        lines.append("  " + " ".join(_component(leaf) for leaf in row.get("components", ())))
    return lines


def form_lines(modal: dict[str, Any]) -> list[str]:
    """Return a form with its fields."""
    lines = [f"form: {modal['title']}"]
    for row in modal["components"]:
        leaf = row.get("component") or row["components"][0]
        label = row.get("label") or leaf.get("label") or leaf["custom_id"]
        lines.append(f"  {label}{'' if leaf.get('required', True) else ' (optional)'}")
    return lines


def excerpt(message: Message) -> str:
    """Return the beginning of a message, to say which one is meant."""
    text = message.content or next((embed.get("title") or "" for embed in message.embeds), "")
    return text if len(text) <= 30 else text[:29] + "…"


def _embed(world: World, embed: dict[str, Any]) -> list[str]:
    texts = [embed.get("title"), embed.get("description")]
    texts += [f"{field['name']}: {field['value']}" for field in embed.get("fields", ())]
    texts.append((embed.get("footer") or {}).get("text"))
    return [line for text in texts if text for line in _named(world, text).split("\n")]


def _component(leaf: dict[str, Any]) -> str:
    off = " (off)" if leaf.get("disabled") else ""
    if leaf["type"] == _BUTTON:
        return f"[{leaf.get('label') or (leaf.get('emoji') or {}).get('name') or leaf.get('url', '')}]{off}"
    labels = [f"{option['label']}{'*' if option.get('default') else ''}" for option in leaf.get("options", ())]
    return f"{{{leaf.get('placeholder') or 'choose'}: {', '.join(labels)}}}{off}"


def _named(world: World, text: str) -> str:
    """Return text with the names of who and what it mentions."""

    def name(found: re.Match[str]) -> str:
        kind, number = found[1], int(found[2])
        if kind == "#":
            channel = world.channels.get(number)
            return found[0] if channel is None else f"#{channel.name}"
        if kind == "@&":
            roles = [role for guild in world.guilds.values() for role in guild.roles.values() if role.id == number]
            return f"@{roles[0].name}" if roles else found[0]
        user = world.users.get(number)
        return found[0] if user is None else f"@{user.username}"

    return _MENTION.sub(name, text)
