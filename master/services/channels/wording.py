"""Drifts in words, the same for every face."""

from __future__ import annotations

from master.ledger.rows.records import ChannelDrift
from master.services.channels.permission_names import names_of
from master.services.channels.tree import Look
from master.services.core.discord_port import ChannelKind, Overwrite
from master.wording import visible

_MOST = 60


def in_words(kind: ChannelDrift, key: str, wanted: Look, found: Look | None) -> str:
    """Return what differs, in one line: ``LOG #fleet-log: renamed to #oops``."""
    head = f"{key} {name_of(wanted)}"
    match kind:
        case "gone":
            return f"{head}: deleted"
        case "panel":
            return f"{head}: its message is gone or was changed"
        case "pin":
            return f"{head}: its message is no longer pinned"
        case _ if found is None:
            return f"{head}: {kind}"
        case "renamed":
            return f"{head}: renamed to {name_of(found)}"
        case "moved":
            return f"{head}: moved to another category" if found.parent_id else f"{head}: moved out of its category"
        case "topic":
            return f"{head}: its topic is {_quoted(found.topic)} instead of {_quoted(wanted.topic)}"
        case "permissions":
            return f"{head}: {_permissions(wanted, found)}"
        case _:
            return f"{head}: it stands in another place of its list"


def name_of(look: Look) -> str:
    """Return a channel's name as Discord shows it."""
    return visible(look.name) if look.kind in (ChannelKind.CATEGORY, ChannelKind.VOICE) else f"#{visible(look.name)}"


def _quoted(text: str) -> str:
    text = visible(text)
    return f'"{text[:_MOST]}{"..." if len(text) > _MOST else ""}"' if text else "empty"


def _permissions(wanted: Look, found: Look) -> str:
    before = {one.target_id: one for one in wanted.overwrites}
    after = {one.target_id: one for one in found.overwrites}
    words = []
    for target_id in sorted({*before, *after}):
        old, new = before.get(target_id), after.get(target_id)
        if old != new:
            words.append(f"{target_id} {_change(old, new)}")
    more = f"; and {len(words) - 3} more" if len(words) > 3 else ""
    return f"permissions of {'; '.join(words[:3])}{more}"


def _change(old: Overwrite | None, new: Overwrite | None) -> str:
    """Return what a role or member may do now that it may not have to, and the other way round."""
    old_allow, old_deny = (0, 0) if old is None else (old.allow, old.deny)
    new_allow, new_deny = (0, 0) if new is None else (new.allow, new.deny)
    parts = (
        ("now allowed", new_allow & ~old_allow),
        ("now denied", new_deny & ~old_deny),
        ("no longer allowed", old_allow & ~new_allow),
        ("no longer denied", old_deny & ~new_deny),
    )
    return ", ".join(f"{words} {', '.join(names_of(bits)[:3])}" for words, bits in parts if bits)
