"""What a permission set is in Discord's bits, and who has which in a ticket: a function of what is on record alone."""

from __future__ import annotations

from collections.abc import Iterable

from handshake.messages import PermissionSet
from master.configuration.settings import TicketCategory
from master.ledger.rows.records import Ticket, TicketPermission
from master.services.core.discord_port import Overwrite

# https://discord.com/developers/docs/topics/permissions#permissions-bitwise-permission-flags
ADMINISTRATOR = 1 << 3
MANAGE_CHANNELS = 1 << 4
ADD_REACTIONS = 1 << 6
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_HISTORY = 1 << 16
MANAGE_ROLES = 1 << 28
MANAGE_THREADS = 1 << 34
CREATE_PRIVATE_THREADS = 1 << 36
SEND_IN_THREADS = 1 << 38

NAMES = {
    VIEW_CHANNEL: "View Channel",
    SEND_MESSAGES: "Send Messages",
    READ_HISTORY: "Read Message History",
    EMBED_LINKS: "Embed Links",
    ATTACH_FILES: "Attach Files",
    ADD_REACTIONS: "Add Reactions",
    MANAGE_MESSAGES: "Manage Messages",
    MANAGE_CHANNELS: "Manage Channels",
    MANAGE_ROLES: "Manage Roles",
    MANAGE_THREADS: "Manage Threads",
    CREATE_PRIVATE_THREADS: "Create Private Threads",
    SEND_IN_THREADS: "Send Messages in Threads",
}
"""As Discord's client calls them."""

_READ = VIEW_CHANNEL | READ_HISTORY
_WRITE = SEND_MESSAGES | ADD_REACTIONS
_TAKE_PART = _READ | _WRITE | EMBED_LINKS | ATTACH_FILES

_ALLOWED: dict[str, int] = {
    "participant": _TAKE_PART,
    "observer": _READ,
    "staff": _TAKE_PART | MANAGE_MESSAGES,
}
_DENIED: dict[str, int] = {"participant": 0, "observer": _WRITE, "staff": 0}

WRITTEN = _TAKE_PART | MANAGE_MESSAGES
"""All that is ever written into an overwrite. Discord lets a bot write only what it holds itself."""
NEEDED = WRITTEN | MANAGE_CHANNELS | MANAGE_ROLES
NEEDED_FOR_THREADS = _READ | EMBED_LINKS | MANAGE_THREADS | CREATE_PRIVATE_THREADS | SEND_IN_THREADS


def overwrites_of(
    ticket: Ticket,
    category: TicketCategory,
    permissions: Iterable[TicketPermission],
    *,
    master_id: int,
    node_bot_id: int,
) -> tuple[Overwrite, ...]:
    """Return who may do what in a ticket's channel.

    Open, its author and staff write; claimed, its author, who claimed it, and who was let in. Closed, they all read.

    Parameters
    ----------
    permissions
        Those in force.
    master_id, node_bot_id
        The bots that write in it; 0: none.
    """
    is_open = ticket.state in ("opening", "open")
    people: dict[int, PermissionSet] = {}
    if is_open:
        for permission in permissions:
            people[permission.subject_id] = _set_of(permission)
    if ticket.claimed_by is not None:
        people[ticket.claimed_by] = "staff" if is_open else "observer"
    if ticket.author_id and people.get(ticket.author_id) != "staff":
        people[ticket.author_id] = "participant" if is_open else "observer"
    staff: PermissionSet = "staff" if is_open and ticket.claimed_by is None else "observer"
    found = [Overwrite(ticket.guild_id, "role", 0, VIEW_CHANNEL)]
    found += [_overwrite(role_id, "role", staff) for role_id in sorted(category.staff_roles)]
    found += [_overwrite(user_id, "member", held) for user_id, held in sorted(people.items())]
    # Last: whatever is on record of them, the master must not be locked out.
    found += [_overwrite(bot_id, "member", "participant") for bot_id in (master_id, node_bot_id) if bot_id]
    return tuple({one.target_id: one for one in found}.values())


def members_of(ticket: Ticket, permissions: Iterable[TicketPermission], *, node_bot_id: int) -> set[int]:
    """Return who is in a ticket's thread, which has no overwrites: only members."""
    found = {ticket.author_id, *(permission.subject_id for permission in permissions)}
    if ticket.claimed_by is not None:
        found.add(ticket.claimed_by)
    return {*found, node_bot_id} - {0}


def named(bits: int) -> tuple[str, ...]:
    """Return the names of permissions, as Discord's client has them."""
    return tuple(name for bit, name in NAMES.items() if bits & bit)


def _overwrite(target_id: int, kind: str, held: PermissionSet) -> Overwrite:
    return Overwrite(target_id, "role" if kind == "role" else "member", _ALLOWED[held], _DENIED[held])


def _set_of(permission: TicketPermission) -> PermissionSet:
    match permission.permission_set:
        case "staff":
            return "staff"
        case "participant":
            return "participant"
        case _:
            return "observer"
