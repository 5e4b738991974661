"""How a mail looks on Discord. All of it is foreign text: nothing in it is a link, a mention or markup."""

from __future__ import annotations

import hashlib

from master.configuration.settings import ColourSettings
from master.ledger.rows.mail_records import Mail, MailAction
from master.services.core.discord_port import Button, Embed, EmbedField, Notice
from master.services.mailbox.mail_content import MailContent
from master.wording import as_code, as_markdown, visible

PREFIX = "mailbox"
"""What the custom ids of its buttons begin with: ``mailbox:answer:TICKET_ID``."""
_TITLE, _FIELD, _BODY = 250, 1_000, 3_600
_EMBED = 5_950
"""Discord takes 6,000 characters in all; less the marks around the text."""


def footer_of(mail_id: str, number: int) -> str:
    """Return what a message of a mail is found by, should the master have ended before that was on record."""
    return f"Mail {mail_id}" + (f".{number}" if number else "")


def nonce_of(action: MailAction) -> str:
    """Return the nonce of an action's message."""
    return hashlib.sha256(f"{action.mail_id} {action.number}".encode()).hexdigest()[:24]


def mail_notice(
    mail: Mail, content: MailContent, action: MailAction, colours: ColourSettings, buttons: tuple[Button, ...] = ()
) -> Notice:
    """Return the message that shows a mail."""
    trusted = content.verdict.is_trusted
    fields = [
        EmbedField("From", _from(content)[:_FIELD]),
        EmbedField("Vouched for" if trusted else "Not vouched for", as_markdown(content.verdict.why)[:_FIELD] or "-"),
    ]
    if content.reply_to and content.reply_to.lower() != content.sender.lower():
        # Nobody vouches for that address, whoever is vouched for.
        fields.append(EmbedField("Answers go to", as_markdown(content.reply_to)[:_FIELD]))
    if content.automatic:
        fields.append(EmbedField("Automatic", as_markdown(content.automatic)[:_FIELD]))
    if content.attachments:
        fields.append(EmbedField("Attachments, not fetched", _attachments(content), inline=False))
    title = (as_markdown(content.subject) or "(no subject)")[:_TITLE]
    footer = f"{footer_of(mail.id, action.number)} · {visible(mail.mailbox)}" + (
        f" · {visible(action.rule)}" if action.rule else ""
    )
    taken = len(title) + len(footer) + sum(len(one.name) + len(one.value) for one in fields)
    embed = Embed(
        title=title,
        description=_body(content, min(_BODY, _EMBED - taken)),
        colour=colours.warning if action.action == "notify" else colours.information if trusted else colours.error,
        fields=tuple(fields),
        footer=footer,
        at=content.sent_at or mail.at,
    )
    return Notice(embeds=(embed,), buttons=buttons, nonce=nonce_of(action))


def ticket_buttons(ticket_id: str, *, can_answer: bool) -> tuple[Button, ...]:
    """Return what staff may press below a mail in its ticket."""
    answer = Button(label="Answer by mail", custom_id=f"{PREFIX}:answer:{ticket_id}", style="primary")
    close = Button(label="Close", custom_id=f"{PREFIX}:close:{ticket_id}")
    return (answer, close) if can_answer else (close,)


def _from(content: MailContent) -> str:
    name = as_markdown(content.sender_name[:200])
    address = as_markdown(content.sender) or "nobody, or more than one"
    return f"{name} {address}".strip()


def _body(content: MailContent, most: int) -> str:
    """Return the text as a code block: nothing in it is a link that a click follows."""
    text = as_code(content.text)
    if not text.strip():
        return "*It has no text.*" if not content.attachments else "*It has no text, only attachments.*"
    is_cut = content.is_cut or len(text) > most
    return f"```\n{text[:most]}\n```" + ("\n*There is more of it.*" if is_cut else "")


def _attachments(content: MailContent) -> str:
    lines = [f"{as_markdown(one.name)} ({as_markdown(one.kind)}, {_size(one.size)})" for one in content.attachments]
    shown, room = list[str](), _FIELD - 40
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        shown.append(line)
    left_out = len(lines) - len(shown) + content.more_attachments
    return "\n".join(shown + ([f"and {left_out} more"] if left_out else []))


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1_000))} KB"
