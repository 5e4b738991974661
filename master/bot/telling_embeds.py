"""Embeds of ``/fleet describe`` and ``/fleet why``."""

from __future__ import annotations

from collections.abc import Sequence

import discord

from master.bot.embeds import fitted, shortened
from master.configuration.settings import ColourSettings, Settings
from master.services.core.telling_views import NodeDescription, NodeTimeline
from master.wording import as_code, as_markdown, duration, hint_as_markdown, visible

_FIELD, _LOG = 1000, 900
_TROUBLED = frozenset({"degraded", "offline", "backoff", "quarantined", "missing"})


def description_embed(settings: Settings, found: NodeDescription) -> discord.Embed:
    """Render what is known of a node, within Discord's limits."""
    status = found.status
    embed = discord.Embed(
        title=f"{as_markdown(status.name)} is {status.state}",
        description=_note(found),
        colour=_colour(settings.colours, status.state),
    )
    for name, value, inline in _fields(found):
        embed.add_field(name=name, value=shortened(value, _FIELD), inline=inline)
    if found.lines:
        shown = as_code("\n".join(found.lines))[-_LOG:]
        embed.add_field(name="Last lines", value=f"```\n{shown}\n```", inline=False)
    embed.set_footer(text=f"node {status.id}")
    return fitted(embed)


def _note(found: NodeDescription) -> str | None:
    status, lines = found.status, list[str]()
    if found.state_since is not None:
        lines.append(f"since <t:{int(found.state_since)}:f> (<t:{int(found.state_since)}:R>)")
    if status.licence_revoked:
        lines.append("its licence is revoked")
    if status.flag_reason:
        lines.append(f"⚑ flagged: {as_markdown(status.flag_reason)}")
    if status.detail:
        lines.append(as_markdown(status.detail[:500]))
    if found.trouble:
        lines.append(as_markdown(found.trouble[:500]))
    return "\n".join(lines) or None


def _fields(found: NodeDescription) -> list[tuple[str, str, bool]]:
    """Return name, value and whether it is inline, of each field."""
    status, fields = found.status, list[tuple[str, str, bool]]()
    if found.last_exit is not None:
        at, todo = int(found.last_exit.at), found.last_exit.todo
        text = f"<t:{at}:R>: {as_markdown(found.last_exit.text)}"
        fields.append(("Last exit", text + (f"\n→ {hint_as_markdown(todo)}" if todo else ""), False))
    if status.cogs_failed:
        fields.append(("Cogs that failed", as_markdown(", ".join(status.cogs_failed)), False))
    if found.errors:
        lines = (
            f"<t:{int(e.last_at)}:R> {e.count}x {as_markdown(e.summary[:200])}"
            if e.count > 1
            else f"<t:{int(e.last_at)}:R> {as_markdown(e.summary[:200])}"
            for e in found.errors
        )
        fields.append(("Errors", "\n".join(lines), False))
    if found.invite_url:
        name = f" {as_markdown(found.bot_name)}" if found.bot_name else ""
        fields.append(("Bot", f"<@{status.bot_user_id}>{name}\n[Add it to a server]({found.invite_url})", True))
    if found.licence is not None:
        until = "" if found.licence.expires_at is None else f"\nuntil <t:{int(found.licence.expires_at)}:d>"
        fields.append(("Licence", f"{as_markdown(found.licence.tier)}, {found.licence.state}{until}", True))
    fields.append(("Process", _process(found), True))
    if status.guilds is not None:
        ping = "" if status.latency_ms is None else f", {status.latency_ms:.0f} ms"
        fields.append(("Discord", f"{status.guilds} servers{ping}", True))
    if status.tags:
        fields.append(("Tags", as_markdown(", ".join(status.tags)), True))
    chosen = [one for one in found.settings if one.source != "default"]
    if chosen:
        lines = (f"`{one.key}` {as_markdown(one.value[:80])} ({one.source})" for one in chosen)
        fields.append(("Settings", "\n".join(lines), False))
    fields.append(
        ("Command", f"`{visible(as_code(found.command))[:300]}` in `{as_code(found.paths.folder)[:400]}`", False)
    )
    return fields


def _process(found: NodeDescription) -> str:
    status = found.status
    if status.pid is None:
        return "none"
    memory = "" if status.rss_bytes is None else f"\n{status.rss_bytes / 2**20:.0f} MB"
    soft = f" of {found.memory_limit_bytes / 2**20:.0f} MB" if found.memory_limit_bytes and memory else ""
    cpu = "" if status.cpu_percent is None else f", CPU {status.cpu_percent:.1f} %"
    return f"{status.pid}, up {duration(status.uptime_s)}, ↻ {status.restarts}{memory}{soft}{cpu}"


def timeline_embed(settings: Settings, found: NodeTimeline, lines: Sequence[str]) -> discord.Embed:
    """Render a page of a timeline, with what is the matter now above it."""
    embed = discord.Embed(
        title=f"{as_markdown(found.node)} is {found.state}",
        description="\n".join(lines),
        colour=_colour(settings.colours, found.state),
    )
    embed.add_field(name="Now", value=shortened(as_markdown(found.matter), _FIELD), inline=False)
    if found.todo:
        embed.add_field(name="To do", value=shortened(hint_as_markdown(found.todo), _FIELD), inline=False)
    if found.trouble:
        embed.add_field(name="Not known", value=shortened(as_markdown(found.trouble), _FIELD), inline=False)
    return fitted(embed)


def entry_lines(found: NodeTimeline) -> list[str]:
    """Render what happened, a line each, the newest first: a phone shows the beginning."""
    lines = []
    for entry in reversed(found.entries):
        times = f"{entry.count}x since <t:{int(entry.first_at)}:t>: " if entry.count > 1 else ""
        actor = f" by {as_markdown(entry.actor)}" if entry.actor else ""
        outcome = f" → {as_markdown(entry.outcome)}" if entry.outcome else ""
        lines.append(f"<t:{int(entry.at)}:R> {times}{as_markdown(entry.text[:250])}{actor}{outcome}")
    return lines or ["Nothing happened in that time."]


def _colour(colours: ColourSettings, state: str) -> int:
    if state in _TROUBLED:
        return colours.error
    return colours.success if state == "ready" else colours.information
