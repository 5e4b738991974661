"""Permissions by their names in Discord's client.

Source: https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags
"""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = (
    "Create Invite",
    "Kick Members",
    "Ban Members",
    "Administrator",
    "Manage Channels",
    "Manage Server",
    "Add Reactions",
    "View Audit Log",
    "Priority Speaker",
    "Video",
    "View Channel",
    "Send Messages",
    "Send Text-to-Speech Messages",
    "Manage Messages",
    "Embed Links",
    "Attach Files",
    "Read Message History",
    "Mention Everyone",
    "Use External Emojis",
    "View Server Insights",
    "Connect",
    "Speak",
    "Mute Members",
    "Deafen Members",
    "Move Members",
    "Use Voice Activity",
    "Change Nickname",
    "Manage Nicknames",
    "Manage Roles",
    "Manage Webhooks",
    "Manage Expressions",
    "Use Application Commands",
    "Request to Speak",
    "Manage Events",
    "Manage Threads",
    "Create Public Threads",
    "Create Private Threads",
    "Use External Stickers",
    "Send Messages in Threads",
    "Use Activities",
    "Time Out Members",
    "View Creator Monetization Insights",
    "Use Soundboard",
    "Create Expressions",
    "Create Events",
    "Use External Sounds",
    "Send Voice Messages",
    "",
    "Set Voice Channel Status",
    "Create Polls",
    "Use External Apps",
    "Pin Messages",
    "Bypass Slowmode",
)
"""By the number of their bit."""

BITS = {name: 1 << number for number, name in enumerate(_NAMES) if name}
VIEW_AUDIT_LOG = BITS["View Audit Log"]


def names_of(bits: int) -> list[str]:
    """Return the names of permissions; of one that nobody named yet, its bit."""
    return [
        (_NAMES[number] if number < len(_NAMES) else "") or f"bit {number}"
        for number in range(bits.bit_length())
        if bits & 1 << number
    ]


def bits_of(names: Iterable[str]) -> int:
    """Return the bits of names; upper and lower case are alike.

    Raises
    ------
    KeyError
        With the name that is none.
    """
    known = {name.casefold(): bit for name, bit in BITS.items()}
    bits = 0
    for name in names:
        if name.startswith("bit ") and name[4:].isdecimal() and int(name[4:]) < 64:
            bits |= 1 << int(name[4:])
            continue
        if name.casefold() not in known:
            raise KeyError(name)
        bits |= known[name.casefold()]
    return bits
