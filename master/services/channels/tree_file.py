"""channels.toml: read strictly, with file, line and reason; and written from the server as it is."""

from __future__ import annotations

import errno
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct, field

from handshake.files import open_regular
from master.errors import ExitCode
from master.services.channels.permission_names import bits_of, names_of
from master.services.channels.survey import Declared
from master.services.channels.tree import MOST_IN_CATEGORY, MOST_IN_GUILD, Wanted, WantedPanel, in_order
from master.services.core.channel_moves import TREE
from master.services.core.discord_port import Channel, ChannelKind, Embed, Overwrite, Role
from master.services.core.errors import ServiceError
from master.wording import visible

MAX_BYTES = 1 << 20
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)")
_AT_PATH = re.compile(r" - at `\$((?:[^`]|`(?!\Z))*)`\Z")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_IN_FORM = re.compile(r"[^\s#@:A-Z]+\Z")

Key = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]


class TreeRefused(ServiceError):
    """channels.toml is not as it has to be."""

    code: ClassVar[str] = "channels_refused"
    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class _Overwrite(Struct, forbid_unknown_fields=True, omit_defaults=True):
    allow: list[str] = []
    deny: list[str] = []
    member: bool = False
    """The id is a member's, not a role's."""


class _Panel(Struct, forbid_unknown_fields=True, omit_defaults=True):
    key: Key
    text: Annotated[str, Meta(max_length=2_000)] = ""
    title: Annotated[str, Meta(max_length=256)] = ""
    description: Annotated[str, Meta(max_length=4_096)] = ""
    colour: Annotated[int, Meta(ge=0, le=0xFFFFFF)] | None = None
    pinned: bool = True


class _Category(Struct, forbid_unknown_fields=True, omit_defaults=True):
    key: Key
    name: Name
    overwrites: dict[str, _Overwrite] | None = None


class _Channel(Struct, forbid_unknown_fields=True, omit_defaults=True):
    key: Key
    name: Name
    category: str = ""
    kind: Literal["text", "voice", "forum", "announcement"] = "text"
    topic: Annotated[str, Meta(max_length=1_024)] | None = None
    overwrites: dict[str, _Overwrite] | None = None
    panel: list[_Panel] = field(default_factory=list)


class Tree(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What channels.toml says."""

    category: list[_Category] = field(default_factory=list)
    channel: list[_Channel] = field(default_factory=list)


def read_tree(path: Path) -> Tree:
    """Return what the file says; nothing if there is no file. Blocks.

    Raises
    ------
    TreeRefused
        Names the file, the line and the reason.
    """
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Tree()
    except OSError as error:
        known = {errno.ELOOP: "it is a link, which is not followed", errno.EINVAL: "it is no regular file"}
        raise _refusal(path, 0, known.get(error.errno or 0) or str(error.strerror)) from error
    if len(content) > MAX_BYTES:
        raise _refusal(path, 0, f"it is longer than {MAX_BYTES >> 20} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(path, content.count(b"\n", 0, error.start) + 1, "it is not UTF-8") from error
    return parse_tree(text, path)


def parse_tree(text: str, path: Path) -> Tree:
    """Return what a text says.

    Raises
    ------
    TreeRefused
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise _refusal(path, line, f"it is not TOML: {_AT_LINE.sub('', str(error))}") from error
    except (ValueError, RecursionError) as error:
        raise _refusal(path, 0, f"it is not TOML that can be read: {str(error)[:80]}") from error
    try:
        tree = msgspec.convert(raw, Tree)
    except msgspec.ValidationError as error:
        raise _not_valid(text, path, str(error)) from error
    _check_meaning(tree, text, path)
    return tree


def declared_of(tree: Tree, roles: Mapping[int, Role]) -> Declared:
    """Return what the file wants on a server; what names a role that is not there is left out, and said.

    A channel without one of its permissions might be open to all.
    """
    troubles: list[str] = []
    wanted: list[Wanted] = []
    everyone = min(roles, default=0)
    by_name: dict[str, list[Role]] = {}
    for role in roles.values():
        by_name.setdefault(role.name.casefold(), []).append(role)

    def overwrites(given: dict[str, _Overwrite] | None, key: str) -> tuple[Overwrite, ...] | None:
        if given is None:
            return None
        found = []
        for who, bits in given.items():
            kind: Literal["role", "member"] = "member" if bits.member else "role"
            target_id = int(who) if who.isdecimal() else _role_id(who, by_name, everyone)
            if not target_id or (kind == "role" and target_id not in roles):
                raise LookupError(f"channels.toml, {key}: there is no role {visible(who)!r} on the server, or several")
            found.append(Overwrite(target_id, kind, bits_of(bits.allow), bits_of(bits.deny)))
        return in_order(found)

    places: tuple[_Category | _Channel, ...] = (*tree.category, *tree.channel)
    for rank, one in enumerate(places):
        try:
            allowed = overwrites(one.overwrites, one.key)
        except LookupError as error:
            troubles.append(str(error.args[0]))
            continue
        if isinstance(one, _Category):
            wanted.append(
                Wanted(key=TREE + one.key, kind=ChannelKind.CATEGORY, name=one.name, overwrites=allowed, rank=rank)
            )
        else:
            wanted.append(
                Wanted(
                    key=TREE + one.key,
                    kind=ChannelKind(one.kind),
                    name=one.name,
                    topic=one.topic,
                    parent_key=TREE + one.category if one.category else "",
                    overwrites=allowed,
                    rank=rank,
                    panels=tuple(_panel(panel) for panel in one.panel),
                )
            )
    known = {one.key for one in wanted}
    lost = [one for one in wanted if one.parent_key and one.parent_key not in known]
    troubles += [f"channels.toml, {one.key.removeprefix(TREE)}: its category is left out" for one in lost]
    return Declared(tuple(one for one in wanted if one not in lost), tuple(troubles), refused=bool(troubles))


def capture(channels: Iterable[Channel], roles: Mapping[int, Role], categories: Sequence[str] = ()) -> str:
    """Return the file that wants the channels as they are.

    Parameters
    ----------
    categories
        Only these and what is in them, by name; empty: all. What stands in no category is then left out.

    Raises
    ------
    TreeRefused
        There is no such category.
    """
    ordered = sorted(channels, key=lambda one: (one.position, one.id))
    wanted = {name.casefold() for name in categories}
    heads = [
        one for one in ordered if one.kind is ChannelKind.CATEGORY and (not wanted or one.name.casefold() in wanted)
    ]
    if missing := wanted - {one.name.casefold() for one in heads}:
        raise TreeRefused(f"there is no category {', '.join(sorted(map(visible, missing)))} on the server")
    kinds = {kind.value for kind in (ChannelKind.TEXT, ChannelKind.VOICE, ChannelKind.FORUM, ChannelKind.ANNOUNCEMENT)}
    keys: dict[int, str] = {}
    parts = [
        "# The server's channels as they have to be (docs/selffix.md), in their order; from the server as it was.\n"
    ]
    for one in heads:
        keys[one.id] = _key_for(one.name, keys)
        parts.append(_table("category", {"key": keys[one.id], "name": one.name}, one, roles))
    inside = {one.id for one in heads}
    for one in ordered:
        if one.kind.value not in kinds or (one.parent_id not in inside and (wanted or one.parent_id is not None)):
            continue
        keys[one.id] = _key_for(one.name, keys)
        values = {"key": keys[one.id], "name": one.name}
        values |= {"category": keys[one.parent_id]} if one.parent_id in keys and one.parent_id is not None else {}
        values |= {"kind": one.kind.value} if one.kind is not ChannelKind.TEXT else {}
        values |= {} if one.kind is ChannelKind.VOICE else {"topic": one.topic}
        parts.append(_table("channel", values, one, roles))
    return "\n".join(parts)


def _table(head: str, values: Mapping[str, str], channel: Channel, roles: Mapping[int, Role]) -> str:
    lines = [f"[[{head}]]", *(f"{key} = {_text(value)}" for key, value in values.items())]
    names = [role.name.casefold() for role in roles.values()]
    everyone = min(roles, default=0)
    told = [f"[{head}.overwrites]"]
    for one in in_order(channel.overwrites):
        role = roles.get(one.target_id)
        unique = role is not None and names.count(role.name.casefold()) == 1 and not role.name.isdecimal()
        who = "@everyone" if one.target_id == everyone else str(one.target_id)
        comment = ""
        if role is not None and unique and who != "@everyone":
            who = role.name
        elif role is not None and who != "@everyone":
            comment = f"  # {visible(role.name)}"
        given = [
            f"{verb} = [{', '.join(map(_text, names_of(bits)))}]"
            for verb, bits in (("allow", one.allow), ("deny", one.deny))
            if bits
        ]
        given += ["member = true"] if one.kind == "member" else []
        told.append(f"{_text(who)} = {{ {', '.join(given)} }}{comment}")
    return "\n".join([*lines, *told]) + "\n"


def _text(value: str) -> str:
    """Return a TOML basic string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key_for(name: str, taken: Mapping[int, str]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:50] or "channel"
    found, number = base, 1
    while found in taken.values():
        number += 1
        found = f"{base}-{number}"
    return found


def _panel(panel: _Panel) -> WantedPanel:
    embed = None
    if panel.title or panel.description:
        embed = Embed(title=panel.title, description=panel.description, colour=panel.colour)
    return WantedPanel(key=panel.key, text=panel.text, embed=embed, pinned=panel.pinned)


def _role_id(name: str, by_name: Mapping[str, list[Role]], everyone: int) -> int:
    if name == "@everyone":
        return everyone
    found = by_name.get(name.casefold(), [])
    return found[0].id if len(found) == 1 else 0


def _check_meaning(tree: Tree, text: str, path: Path) -> None:
    seen: dict[str, int] = {}
    tables: tuple[tuple[str, Sequence[_Category | _Channel]], ...] = (
        ("category", tree.category),
        ("channel", tree.channel),
    )
    for head, items in tables:
        for number, one in enumerate(items):
            line = _line_of(text, head, number, "key")
            if one.key in seen:
                raise _refusal(path, line, f"the key `{one.key}` is there twice, first in line {seen[one.key]}")
            seen[one.key] = line
            for who, bits in (one.overwrites or {}).items():
                _check_overwrite(text, path, (head, number), who, bits)
    keys = {one.key for one in tree.category}
    panels: set[str] = set()
    for number, channel in enumerate(tree.channel):
        if channel.category and channel.category not in keys:
            line = _line_of(text, "channel", number, "category")
            raise _refusal(path, line, f"there is no category with the key `{visible(channel.category)}`")
        if channel.kind != "voice" and not _IN_FORM.match(channel.name):
            line = _line_of(text, "channel", number, "name")
            raise _refusal(path, line, f"`name`: Discord writes it {_in_form(channel.name)!r}")
        if channel.kind == "voice" and channel.topic:
            raise _refusal(path, _line_of(text, "channel", number, "topic"), "a voice channel has no topic")
        for panel in channel.panel:
            line = _line_of(text, "channel", number, "key")
            if channel.kind not in ("text", "announcement"):
                raise _refusal(path, line, f"a {channel.kind} channel has no panels")
            if not (panel.text or panel.title or panel.description):
                raise _refusal(path, line, f"the panel `{panel.key}` is empty")
            if panel.key in panels:
                raise _refusal(path, line, f"the key `{panel.key}` of a panel is there twice")
            panels.add(panel.key)
    inside = [channel.category for channel in tree.channel if channel.category]
    full = next((key for key in keys if inside.count(key) > MOST_IN_CATEGORY), "")
    if full:
        raise _refusal(path, 0, f"`{full}` has {inside.count(full)} channels; Discord allows {MOST_IN_CATEGORY}")
    if len(seen) > MOST_IN_GUILD:
        raise _refusal(path, 0, f"it has {len(seen)} channels; Discord allows {MOST_IN_GUILD}")


def _check_overwrite(text: str, path: Path, place: tuple[str, int], who: str, bits: _Overwrite) -> None:
    line = _line_of(text, *place, who)
    try:
        allow, deny = bits_of(bits.allow), bits_of(bits.deny)
    except KeyError as error:
        raise _refusal(path, line, f"{visible(str(error.args[0]))!r} is no permission of Discord's client") from error
    if allow & deny:
        raise _refusal(path, line, f"{names_of(allow & deny)[0]} is both allowed and denied")
    if bits.member and not who.isdecimal():
        raise _refusal(path, line, f"a member is named by id, not as {visible(who)!r}")


def _in_form(name: str) -> str:
    return re.sub(r"[\s#@:]+", "-", name.strip()).lower()


def _not_valid(text: str, path: Path, message: str) -> TreeRefused:
    at = _AT_PATH.search(message)
    steps = [(name or "", int(item) if item else -1) for name, item in _STEP.findall(at[1])] if at else []
    names = [name for name, _ in steps if name]
    numbers = [number for _, number in steps if number >= 0]
    said = _AT_PATH.sub("", message)
    unknown = re.search(r"unknown field `(.*)`", said)
    key = unknown[1] if unknown else (names[-1] if len(names) > 1 else "")
    line = _line_of(text, names[0], numbers[0], key) if names and numbers else _line_of(text, key or "", -1, key)
    reason = (
        f"unknown key `{visible(key)[:60]}`"
        if unknown
        else said.replace("Object missing required field", "there is no")
    )
    if key == "key" and "regex" in said:
        reason = "`key`: 1 to 60 of a-z, 0-9, _ and -, a letter or digit first"
    elif key and not unknown:
        reason = f"`{visible(key)}`: {reason}"
    return _refusal(path, line, visible(reason)[:200])


def _line_of(text: str, head: str, number: int, key: str) -> int:
    """Return the line of a key in the nth table of a head; the head's own, if the key is not found."""
    count, begun = -1, 0
    for at, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if re.match(rf"\[\[\s*{re.escape(head)}\s*\]\]", stripped):
            count += 1
            if count == number:
                begun = at
            elif begun:
                break
        elif re.match(r"\[\[\s*\w+\s*\]\]", stripped) and begun:
            break
        elif (begun or number < 0) and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[.=]", stripped):
            return at
    return begun


def _refusal(path: Path, line: int, reason: str) -> TreeRefused:
    place = f"{visible(str(path))}:{line}" if line else visible(str(path))
    return TreeRefused(f"{place}: {reason}", hint="docs/selffix.md shows the form; nothing of it is carried out")


BUILT_IN = """\
# The channels of a new server (docs/selffix.md), in their order. Change them as you like: `fleet channels diff` shows
# what would be done, `fleet channels repair` does it. Who may see the fleet's own channels is yours to say:
#     [category.overwrites]
#     "@everyone" = { deny = ["View Channel"] }
#     "Bots" = { allow = ["View Channel"] }

[[category]]
key = "fleet"
name = "Fleet"

[[category]]
key = "community"
name = "Community"

[[channel]]
key = "verify"
name = "verify"
category = "fleet"
topic = "Signed messages of the bots. Not for people."

[[channel]]
key = "patch"
name = "patch"
category = "fleet"
topic = "Patches and their roll-outs."

[[channel]]
key = "log"
name = "fleet-log"
category = "fleet"
topic = "What the master tells its operators."

[[channel]]
key = "welcome"
name = "welcome"
category = "community"
topic = "Start here."
"""
"""What ``fleet init`` offers for an empty server."""
