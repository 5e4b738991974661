"""What people see of a giveaway on Discord: its message, the announcement of its winners, what winners are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from handshake.redaction import Secret
from master.configuration.settings import ColourSettings
from master.ledger.rows.records import Giveaway, GiveawayWinner
from master.services.core.discord_port import Button, Embed, EmbedField, MessageRef, Notice, OutgoingFile
from master.services.people.giveaway_draw import VERSION
from master.services.people.giveaway_rules import bonus_lines, requirement_lines, rules_of
from master.wording import as_markdown

PREFIX = "giveaway"
"""What the custom ids of its buttons begin with: ``giveaway:enter:GIVEAWAY_ID``."""
_SIGN = "🎉"
_FIELD = 1024


def open_notice(giveaway: Giveaway, entries: int, colours: ColourSettings) -> Notice:
    """Return the message of a giveaway that people may enter."""
    ends = int(giveaway.ends_at.timestamp())
    lines = [as_markdown_lines(giveaway.description)] if giveaway.description else []
    lines += [f"Ends <t:{ends}:R>, <t:{ends}:f>", f"Winners: **{giveaway.winners}**", f"From <@{giveaway.started_by}>"]
    enter = Button(label=f"{_SIGN} Enter ({entries:,})", custom_id=f"{PREFIX}:enter:{giveaway.id}", style="primary")
    return Notice(
        embeds=(
            Embed(
                title=_title(giveaway),
                description="\n".join(lines)[:4000],
                colour=colours.information,
                fields=(*_rule_fields(giveaway), _seed_field(giveaway)),
                footer=f"Giveaway {giveaway.id}",
            ),
        ),
        buttons=(enter,),
    )


def drawing_notice(giveaway: Giveaway, entries: int, colours: ColourSettings) -> Notice:
    """Return the message of a giveaway whose end has come, while its winners are drawn."""
    notice = _ended(giveaway, entries, "Ended. The winners are being drawn.", colours.information)
    return _with_button(notice, Button(label="Ended", custom_id=f"{PREFIX}:ended:{giveaway.id}", disabled=True))


def drawn_notice(
    giveaway: Giveaway, entries: int, winners: Sequence[GiveawayWinner], colours: ColourSettings
) -> Notice:
    """Return the message of a giveaway that was drawn."""
    won = [winner for winner in winners if winner.state in ("drawn", "told", "claimed")]
    named = ", ".join(f"<@{winner.user_id}>" for winner in won)
    if won:
        text = f"Won by {named}"
    elif entries:
        text = "Nobody who was in is left to win it."
    else:
        text = "Nobody was in."
    notice = _ended(giveaway, entries, text, colours.success)
    return _with_button(notice, check_button(giveaway))


def cancelled_notice(giveaway: Giveaway, entries: int, colours: ColourSettings) -> Notice:
    """Return the message of a giveaway that was cancelled."""
    why = f": {as_markdown(giveaway.reason)}" if giveaway.reason else "."
    notice = _ended(giveaway, entries, f"Cancelled{why}", colours.warning)
    return _with_button(notice, Button(label="Cancelled", custom_id=f"{PREFIX}:ended:{giveaway.id}", disabled=True))


def announcement(giveaway: Giveaway, new: Sequence[GiveawayWinner], document: str, colours: ColourSettings) -> Notice:
    """Return the message that tells winners, with the file from which the draw can be recomputed.

    It has a nonce of its own for each draw: a master that was killed after it posts it no second time.
    """
    named = ", ".join(f"<@{winner.user_id}>" for winner in new)
    again = any(winner.draw for winner in new)
    text = f"{_SIGN} {named}: you have won **{as_markdown(giveaway.prize)}**"
    text += ", drawn again." if again else "!"
    claim = _claim_words(giveaway, new)
    buttons = (Button(label="Claim", custom_id=f"{PREFIX}:claim:{giveaway.id}", style="primary"),) if claim else ()
    return Notice(
        text=text[:2000],
        embeds=(Embed(description=claim, colour=colours.success),) if claim else (),
        files=(OutgoingFile(document_name(giveaway), document.encode()),),
        buttons=(*buttons, check_button(giveaway)),
        mention_users=tuple(winner.user_id for winner in new),
        reply_to=giveaway.message_id,
        nonce=hashlib.sha256(f"{giveaway.id} {giveaway.draws}".encode()).hexdigest()[:24],
    )


def winner_notice(giveaway: Giveaway, code: Secret[str] | None, colours: ColourSettings) -> Notice:
    """Return the direct message to a winner; ``code`` is the licence that he has won."""
    lines = [f"The giveaway: {link_to(giveaway)}"]
    if code is not None:
        lines.append(f"Your licence, tier {as_markdown(giveaway.prize_tier)}: `/licence redeem` takes this code.")
        lines.append(f"```\n{code.reveal()}\n```")
    elif giveaway.claim_s:
        lines.append("Claim it there in time; if you do not, it is drawn again.")
    return Notice(
        embeds=(
            Embed(
                title=f"{_SIGN} You have won {as_markdown(giveaway.prize)}"[:256],
                description="\n".join(lines),
                colour=colours.success,
            ),
        )
    )


def check_button(giveaway: Giveaway) -> Button:
    """Return the button that recomputes the draw for whoever presses it."""
    return Button(label="Check the draw", custom_id=f"{PREFIX}:verify:{giveaway.id}")


def document_name(giveaway: Giveaway) -> str:
    """Return the name of the file from which the draw can be recomputed."""
    return f"giveaway-{giveaway.id}-draw-{max(giveaway.draws - 1, 0)}.json"


def message_of(giveaway: Giveaway) -> MessageRef | None:
    """Return where its message is; None before it is posted."""
    return None if giveaway.message_id is None else MessageRef(giveaway.channel_id, giveaway.message_id)


def link_to(giveaway: Giveaway) -> str:
    """Return the address of its message."""
    return f"https://discord.com/channels/{giveaway.guild_id}/{giveaway.channel_id}/{giveaway.message_id or ''}"


def as_markdown_lines(text: str) -> str:
    """Return foreign text of several lines for Discord."""
    return "\n".join(as_markdown(line) for line in text.split("\n"))


def _title(giveaway: Giveaway) -> str:
    return f"{_SIGN} {as_markdown(giveaway.prize)}"[:256]


def _seed_field(giveaway: Giveaway) -> EmbedField:
    # Named before anybody is in, so that the seed cannot be chosen by who is.
    return EmbedField("The draw can be checked", f"SHA-256 of its seed: `{giveaway.seed_hash.hex()}`", inline=False)


def _rule_fields(giveaway: Giveaway) -> tuple[EmbedField, ...]:
    rules = rules_of(giveaway)
    found = (("To enter", requirement_lines(rules)), ("Further entries", bonus_lines(rules)))
    return tuple(EmbedField(name, "\n".join(lines)[:_FIELD], inline=False) for name, lines in found if lines)


def _ended(giveaway: Giveaway, entries: int, text: str, colour: int) -> Embed:
    at = int((giveaway.drawn_at or giveaway.changed_at).timestamp())
    fields = [EmbedField("Entries", f"{entries:,}"), EmbedField("Ended", f"<t:{at}:f>"), _seed_field(giveaway)]
    if giveaway.entries_hash is not None:
        how = f"SHA-256 of the entries: `{giveaway.entries_hash.hex()}`\nDraws: {giveaway.draws}, rule {VERSION}"
        fields.append(EmbedField("Drawn from", how, inline=False))
    return Embed(
        title=_title(giveaway),
        description=text[:4000],
        colour=colour,
        fields=tuple(fields),
        footer=f"Giveaway {giveaway.id}",
    )


def _with_button(embed: Embed, button: Button) -> Notice:
    # An edit without buttons would leave those that the message has.
    return Notice(embeds=(embed,), buttons=(button,))


def _claim_words(giveaway: Giveaway, new: Sequence[GiveawayWinner]) -> str:
    """Say how the prize is had; empty where there is nothing to press for it."""
    ends = max((int(w.claim_until.timestamp()) for w in new if w.claim_until is not None), default=0)
    until = f" until <t:{ends}:f>, <t:{ends}:R>; then it is drawn again" if ends else ""
    if giveaway.prize_tier:
        return f"The licence is sent to you. If you take no direct messages from me, press **Claim**{until}."
    return f"Press **Claim**{until}." if until else ""
