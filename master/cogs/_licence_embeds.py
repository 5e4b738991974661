"""Embeds of licences."""

from __future__ import annotations

import re
from collections.abc import Sequence

import discord

from master.bot.embeds import success_embed
from master.configuration.settings import EmojiSettings, Settings
from master.services.core.licence_views import IssuedLicenceView, LicenceDetails, LicenceEventView
from master.wording import as_code, as_markdown

SHORT_ID = 8
"""Characters of an id that people are shown; any beginning that is unique names a licence."""
_EVENTS_SHOWN = 8
_ID = re.compile(r"\b[0-9]{17,20}\b")
_WORDS = {
    "valid": "valid",
    "grace": "over, and held by its grace",
    "expired": "expired",
    "suspended": "suspended",
    "revoked": "revoked",
    "not_redeemed": "not redeemed yet",
}


def short_id(licence: LicenceDetails) -> str:
    """Return the beginning of a licence's id."""
    return licence.id[:SHORT_ID]


def emoji_of(emojis: EmojiSettings, licence: LicenceDetails) -> str:
    """Return the emoji of what a licence is worth."""
    known = {"valid": emojis.ready, "grace": emojis.starting, "not_redeemed": emojis.stopped}
    return known.get(licence.reason, emojis.degraded if licence.reason == "suspended" else emojis.failed)


def words_of(licence: LicenceDetails) -> str:
    """Return what a licence is worth, in words."""
    return _WORDS.get(licence.reason, licence.reason)


def choice_text(licence: LicenceDetails) -> str:
    """Return a licence in a list of suggestions, where nothing is markup, and people are but numbers."""
    whose = licence.node or str(licence.holder_id or "")
    return f"{short_id(licence)} {licence.tier} ({words_of(licence)})" + (f" {whose}" if whose else "")


def licence_line(settings: Settings, licence: LicenceDetails) -> str:
    """Return a licence as one line of a list."""
    parts = [f"**{as_markdown(licence.tier)}**", f"`{short_id(licence)}`", words_of(licence), _end(licence)]
    if licence.holder_id:
        parts.append(f"<@{licence.holder_id}>")
    elif licence.node_id:
        parts.append(f"bot {as_markdown(licence.node or licence.node_id)}")
    return f"{emoji_of(settings.emojis, licence)} " + " · ".join(part for part in parts if part)


def own_embed(settings: Settings, found: Sequence[LicenceDetails]) -> discord.Embed:
    """Render the licences of the person who asks."""
    embed = discord.Embed(title="Your licences", colour=settings.colours.information)
    if not found:
        embed.description = "You have none. `/licence redeem` takes the code of one."
    for licence in found[:20]:
        lines = [f"`{short_id(licence)}` · {words_of(licence)}"]
        lines += [part for part in (_end(licence), _features(licence)) if part]
        title = f"{emoji_of(settings.emojis, licence)} {as_markdown(licence.tier)}"
        embed.add_field(name=title, value="\n".join(lines), inline=False)
    if len(found) > 20:
        embed.set_footer(text=f"and {len(found) - 20} more")
    return embed


def details_embed(settings: Settings, licence: LicenceDetails) -> discord.Embed:
    """Render a licence with who uses it and what became of it, for those who moderate."""
    embed = discord.Embed(
        title=f"{emoji_of(settings.emojis, licence)} {as_markdown(licence.tier)}: {words_of(licence)}",
        description=as_markdown(licence.note) or None,
        colour=settings.colours.information,
    )
    if licence.holder_id:
        embed.add_field(name="Holder", value=f"<@{licence.holder_id}>")
    if licence.node_id:
        embed.add_field(name="Bot", value=as_markdown(licence.node or licence.node_id))
    embed.add_field(name="Issued", value=f"<t:{int(licence.issued_at)}:D>\nby {_who(licence.origin) or '-'}")
    embed.add_field(name="Ends", value=_end(licence).removeprefix("until ") or "never")
    if licence.features:
        embed.add_field(name="Includes", value=_features(licence))
    people = [f"<@{use.subject}>" for use in licence.uses if use.kind == "person"]
    nodes = [as_markdown(use.name or use.subject) for use in licence.uses if use.kind == "node"]
    if people or nodes:
        embed.add_field(name="In use by", value=", ".join([*people, *nodes][:30]), inline=False)
    events = [_event(event) for event in licence.events[:_EVENTS_SHOWN]]
    if events:
        embed.add_field(name="What became of it", value="\n".join(events)[:1_000], inline=False)
    embed.set_footer(text=f"licence {licence.id}")
    return embed


def issued_embed(settings: Settings, issued: IssuedLicenceView) -> discord.Embed:
    """Render a new licence with its code, which is shown only once. The code is in a field: no fallback posts it."""
    licence = issued.licence
    who = f"Only <@{licence.holder_id}> can redeem it" if licence.holder_id else "Whoever has the code can redeem it"
    embed = success_embed(
        settings,
        f"A {as_markdown(licence.tier)} licence",
        f"{who}, by `/licence redeem`. {_sentence(_end(licence)) or 'It never ends'}.",
    )
    embed.add_field(name="Code (shown only now)", value=f"```\n{as_code(issued.code)}\n```", inline=False)
    hint = "Keep it where nobody else reads it, or pass it on in private: the master stores only a hash of it."
    embed.add_field(name="Store it", value=hint, inline=False)
    embed.set_footer(text=f"licence {licence.id}")
    return embed


def redeemed_embed(settings: Settings, licence: LicenceDetails) -> discord.Embed:
    """Render a licence that its holder just redeemed."""
    lines = [
        part for part in (_sentence(_end(licence)), _features(licence) and f"Includes {_features(licence)}") if part
    ]
    embed = success_embed(settings, f"{as_markdown(licence.tier)} is yours", "\n".join(lines))
    embed.set_footer(text=f"licence {short_id(licence)}: /licence show")
    return embed


def changed_embed(settings: Settings, licence: LicenceDetails, what: str) -> discord.Embed:
    """Render a licence after a change."""
    title = f"{as_markdown(licence.tier)} {short_id(licence)} is {what}"
    return success_embed(settings, title, f"{_sentence(words_of(licence))}. {_sentence(_end(licence))}".strip())


def _event(event: LicenceEventView) -> str:
    """Return one line of a history, without what the embed says anyway."""
    actor = event.actor.partition(":")[2]
    says_more = event.detail and event.what != "issued" and event.detail != f"by {actor}"
    detail = f": {_ID.sub(_mention, as_markdown(event.detail))}" if says_more else ""
    return f"<t:{int(event.at)}:f> {event.what} by {_who(event.actor)}{detail}"


def _who(label: str) -> str:
    """Return an actor; people of Discord by their names."""
    face, _, identity = label.partition(":")
    return f"<@{identity}>" if face == "discord" and identity.isdecimal() else as_markdown(label)


def _mention(found: re.Match[str]) -> str:
    return f"<@{found[0]}>"


def _end(licence: LicenceDetails) -> str:
    """Return when a licence ends, or ended; empty for never."""
    if licence.expires_at is None:
        return ""
    verb = "ended" if licence.reason in ("expired", "grace") else "until"
    grace = ""
    if licence.reason == "grace" and licence.ends_at is not None:
        grace = f", held until <t:{int(licence.ends_at)}:D>"
    return f"{verb} <t:{int(licence.expires_at)}:D>{grace}"


def _features(licence: LicenceDetails) -> str:
    return ", ".join(f"`{as_code(feature)}`" for feature in licence.features)


def _sentence(text: str) -> str:
    """Return text that begins with a capital; the rest stays, since Discord tells :d from :D in a date."""
    return text[:1].upper() + text[1:]
