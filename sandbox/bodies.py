"""Request bodies as structs: decoding validates them, and errors become Discord's nested errors.

Limits: the pages message, components and application-commands of https://discord.com/developers/docs.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import BodyPartReader, web
from msgspec import UNSET, Meta, Struct, UnsetType

from sandbox.errors import DiscordError, invalid_form

MAX_BODY_BYTES = 26 * 1024 * 1024
MAX_FILES = 10

T = TypeVar("T")

Snowflake = Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")] | int
Colour = Annotated[int, Meta(ge=0, le=0xFFFFFF)]


class EmbedText(Struct):
    """Footer, author or provider of an embed."""

    text: Annotated[str, Meta(max_length=2048)] = ""
    name: Annotated[str, Meta(max_length=256)] = ""


class EmbedField(Struct):
    """A field of an embed."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    value: Annotated[str, Meta(min_length=1, max_length=1024)]
    inline: bool | None = False


class Embed(Struct):
    """An embed."""

    title: Annotated[str, Meta(max_length=256)] | None = None
    description: Annotated[str, Meta(max_length=4096)] | None = None
    url: Annotated[str, Meta(max_length=2048)] | None = None
    color: Colour | None = None
    timestamp: str | None = None
    fields: Annotated[list[EmbedField], Meta(max_length=25)] | None = None
    footer: EmbedText | None = None
    author: EmbedText | None = None
    image: dict[str, Any] | None = None
    thumbnail: dict[str, Any] | None = None

    def length(self) -> int:
        """Return the number of characters that count towards Discord's limit of 6,000."""
        parts = [self.title, self.description]
        parts += [text for field in self.fields or () for text in (field.name, field.value)]
        parts += [self.footer.text if self.footer else "", self.author.name if self.author else ""]
        return sum(len(part or "") for part in parts)


class SelectOption(Struct, forbid_unknown_fields=True):
    """An option of a select menu."""

    label: Annotated[str, Meta(min_length=1, max_length=100)]
    value: Annotated[str, Meta(min_length=1, max_length=100)]
    description: Annotated[str, Meta(max_length=100)] | None = None
    emoji: dict[str, Any] | None = None
    default: bool | None = False


class Component(Struct):
    """Any component; which fields it needs depends on its type."""

    type: int
    components: list[Component] | None = None
    component: Component | None = None
    custom_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    style: int | None = None
    label: Annotated[str, Meta(max_length=80)] | None = None
    url: Annotated[str, Meta(max_length=512)] | None = None
    emoji: dict[str, Any] | None = None
    disabled: bool | None = False
    options: Annotated[list[SelectOption], Meta(max_length=25)] | None = None
    placeholder: Annotated[str, Meta(max_length=150)] | None = None
    min_values: Annotated[int, Meta(ge=0, le=25)] | None = None
    max_values: Annotated[int, Meta(ge=1, le=25)] | None = None
    min_length: Annotated[int, Meta(ge=0, le=4000)] | None = None
    max_length: Annotated[int, Meta(ge=1, le=4000)] | None = None
    required: bool | None = True
    value: Annotated[str, Meta(max_length=4000)] | None = None
    description: Annotated[str, Meta(max_length=100)] | None = None


class MessageReference(Struct):
    """The message that a reply refers to."""

    message_id: Snowflake
    channel_id: Snowflake | None = None
    guild_id: Snowflake | None = None
    fail_if_not_exists: bool | None = True
    type: int = 0


class AttachmentStub(Struct):
    """The entry of a file in a message's body."""

    id: Snowflake
    filename: Annotated[str, Meta(max_length=1024)] | None = None
    description: Annotated[str, Meta(max_length=1024)] | None = None


class AllowedMentions(Struct):
    """The mentions that a message may make."""

    parse: list[Literal["users", "roles", "everyone"]] | None = None
    users: Annotated[list[Snowflake], Meta(max_length=100)] | None = None
    roles: Annotated[list[Snowflake], Meta(max_length=100)] | None = None
    replied_user: bool | None = False


class MessageBody(Struct):
    """A new message, or an edit."""

    content: Annotated[str, Meta(max_length=2000)] | UnsetType | None = UNSET
    embeds: Annotated[list[Embed], Meta(max_length=10)] | UnsetType | None = UNSET
    components: Annotated[list[Component], Meta(max_length=5)] | UnsetType | None = UNSET
    attachments: Annotated[list[AttachmentStub], Meta(max_length=MAX_FILES)] | UnsetType | None = UNSET
    message_reference: MessageReference | None = None
    allowed_mentions: AllowedMentions | None = None
    nonce: Annotated[str, Meta(max_length=25)] | int | None = None
    enforce_nonce: bool | None = False
    flags: int | None = None
    tts: bool | None = False
    sticker_ids: list[Snowflake] | None = None


class DeferralBody(Struct):
    """A deferred response."""

    flags: int | None = None


class ModalBody(Struct):
    """A modal."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=100)]
    title: Annotated[str, Meta(min_length=1, max_length=45)]
    components: Annotated[list[Component], Meta(min_length=1, max_length=5)]


class Choice(Struct):
    """A choice of an option, or of autocompletion."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    value: Annotated[str, Meta(max_length=100)] | int | float
    name_localizations: dict[str, Annotated[str, Meta(min_length=1, max_length=100)]] | None = None


class AutocompleteBody(Struct):
    """The response to an autocompletion."""

    choices: Annotated[list[Choice], Meta(max_length=25)] | None = None


class CallbackBody(Struct):
    """The initial response to an interaction."""

    type: Literal[1, 4, 5, 6, 7, 8, 9]
    data: dict[str, Any] | None = None


class CommandOption(Struct, forbid_unknown_fields=True):
    """An option of a command, or a subcommand."""

    type: Annotated[int, Meta(ge=1, le=11)]
    name: Annotated[str, Meta(min_length=1, max_length=32)]
    description: Annotated[str, Meta(min_length=1, max_length=100)]
    required: bool | None = False
    options: Annotated[list[CommandOption], Meta(max_length=25)] | None = None
    choices: Annotated[list[Choice], Meta(max_length=25)] | None = None
    autocomplete: bool | None = False
    min_value: float | None = None
    max_value: float | None = None
    min_length: Annotated[int, Meta(ge=0, le=6000)] | None = None
    max_length: Annotated[int, Meta(ge=1, le=6000)] | None = None
    channel_types: list[Annotated[int, Meta(ge=0, le=16)]] | None = None
    name_localizations: dict[str, Annotated[str, Meta(min_length=1, max_length=32)]] | None = None
    description_localizations: dict[str, Annotated[str, Meta(min_length=1, max_length=100)]] | None = None

    def length(self) -> int:
        """Return the number of characters that count towards Discord's limit of 8,000 for a command."""
        values = [text for choice in self.choices or () for text in (choice.name, str(choice.value))]
        inner = sum(option.length() for option in self.options or ())
        return len(self.name) + len(self.description) + sum(map(len, values)) + inner


class CommandBody(Struct):
    """An application command."""

    name: Annotated[str, Meta(min_length=1, max_length=32)]
    type: Literal[1, 2, 3] | None = 1
    description: Annotated[str, Meta(max_length=100)] | None = ""
    options: Annotated[list[CommandOption], Meta(max_length=25)] | None = None
    default_member_permissions: Snowflake | None = None
    dm_permission: bool | None = True
    contexts: Annotated[list[Literal[0, 1, 2]], Meta(min_length=1)] | None = None
    nsfw: bool | None = False


class ChannelBody(Struct):
    """A new guild channel, or an edit of one."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    type: Literal[0, 4, 15] | UnsetType | None = UNSET
    topic: Annotated[str, Meta(max_length=1024)] | UnsetType | None = UNSET
    nsfw: bool | UnsetType | None = UNSET
    rate_limit_per_user: Annotated[int, Meta(ge=0, le=21600)] | UnsetType | None = UNSET
    parent_id: Snowflake | UnsetType | None = UNSET
    position: int | UnsetType | None = UNSET
    permission_overwrites: list[OverwriteBody] | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET
    locked: bool | UnsetType = UNSET
    auto_archive_duration: Literal[60, 1440, 4320, 10080] | UnsetType = UNSET
    invitable: bool | UnsetType = UNSET
    flags: int | UnsetType | None = UNSET
    available_tags: list[TagBody] | UnsetType | None = UNSET
    applied_tags: list[Snowflake] | UnsetType | None = UNSET
    default_auto_archive_duration: Literal[60, 1440, 4320, 10080] | UnsetType | None = UNSET
    default_thread_rate_limit_per_user: Annotated[int, Meta(ge=0, le=21600)] | UnsetType | None = UNSET
    default_reaction_emoji: ReactionBody | UnsetType | None = UNSET
    default_sort_order: Literal[0, 1] | UnsetType | None = UNSET
    default_forum_layout: Literal[0, 1, 2] | UnsetType | None = UNSET


class TagBody(Struct):
    """A tag of a forum."""

    name: Annotated[str, Meta(max_length=20)]
    id: Snowflake | None = None
    moderated: bool | None = False
    emoji_id: Snowflake | None = None
    emoji_name: Annotated[str, Meta(max_length=100)] | None = None


class ReactionBody(Struct):
    """The reaction that a forum offers under each post."""

    emoji_id: Snowflake | None = None
    emoji_name: str | None = None


class PositionBody(Struct):
    """Where one of several channels goes."""

    id: Snowflake
    position: Annotated[int, Meta(ge=0)] | None = None
    lock_permissions: bool | None = False
    parent_id: Snowflake | UnsetType | None = UNSET


class OverwriteBody(Struct):
    """A permission overwrite."""

    type: Literal[0, 1]
    id: Snowflake = 0
    allow: Snowflake | None = 0
    deny: Snowflake | None = 0


class ThreadBody(Struct):
    """A new thread."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    type: Literal[10, 11, 12] | None = 12
    auto_archive_duration: Literal[60, 1440, 4320, 10080] | None = 4320
    invitable: bool | None = True
    rate_limit_per_user: Annotated[int, Meta(ge=0, le=21600)] | None = None


class PostBody(Struct):
    """A new post of a forum."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    message: dict[str, Any]
    auto_archive_duration: Literal[60, 1440, 4320, 10080] | None = None
    rate_limit_per_user: Annotated[int, Meta(ge=0, le=21600)] | None = None
    applied_tags: list[Snowflake] | None = None


class WebhookBody(Struct):
    """A new webhook, or an edit of one."""

    name: Annotated[str, Meta(min_length=1, max_length=80)] | UnsetType = UNSET
    channel_id: Snowflake | UnsetType | None = UNSET
    avatar: str | UnsetType | None = UNSET


class WebhookMessageBody(Struct):
    """What a webhook's message has beside those of others."""

    username: Annotated[str, Meta(min_length=1, max_length=80)] | None = None
    avatar_url: Annotated[str, Meta(max_length=2048)] | None = None
    thread_name: Annotated[str, Meta(max_length=100)] | None = None
    applied_tags: list[Snowflake] | None = None


class RoleBody(Struct):
    """A new role, or an edit of one."""

    name: Annotated[str, Meta(max_length=100)] | UnsetType | None = UNSET
    permissions: Snowflake | UnsetType | None = UNSET
    color: Colour | UnsetType | None = UNSET
    hoist: bool | UnsetType | None = UNSET
    mentionable: bool | UnsetType | None = UNSET


class DirectBody(Struct):
    """The recipient of a new direct message channel."""

    recipient_id: Snowflake


class BulkDeleteBody(Struct):
    """Messages to delete in bulk."""

    messages: Annotated[list[Snowflake], Meta(min_length=2, max_length=100)]


class MemberBody(Struct):
    """An edit of a member."""

    nick: Annotated[str, Meta(max_length=32)] | UnsetType | None = UNSET
    roles: list[Snowflake] | UnsetType | None = UNSET


_PATH = re.compile(r" - at `\$(.*)`\Z")
_STEP = re.compile(r"\.([A-Za-z_]+)|\[(\d+|\.\.\.)\]")


def convert(data: Any, kind: type[T], prefix: str = "") -> T:
    """Check a decoded body.

    Raises
    ------
    DiscordError
        50035, at the invalid field.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        match = _PATH.search(text)
        steps = ["0" if index == "..." else name or index for name, index in _STEP.findall(match[1])] if match else []
        path = ".".join([part for part in (prefix, *steps) if part])
        raise invalid_form(path, *_code_of(text[: match.start()] if match else text)) from None


def _code_of(text: str) -> tuple[str, str]:
    """Translate msgspec's message into Discord's code and message."""
    limit = re.search(r"length (<=|>=) (\d+)", text)
    if limit is not None:
        if limit[1] == "<=":
            return "BASE_TYPE_MAX_LENGTH", f"Must be {limit[2]} or fewer in length."
        return "BASE_TYPE_MIN_LENGTH", f"Must be {limit[2]} or more in length."
    if "missing required field" in text:
        return "BASE_TYPE_REQUIRED", "This field is required"
    if re.search(r"`(int|float)` (<=|>=)", text):
        return "NUMBER_TYPE_RANGE", text
    if "matching regex" in text:
        return "NUMBER_TYPE_COERCE", "Value is not snowflake."
    if "unknown field" in text:
        return "BASE_TYPE_UNKNOWN_FIELD", text
    if "Invalid enum value" in text:
        return "BASE_TYPE_CHOICES", text
    return "BASE_TYPE_BAD_TYPE", text


class Upload(Struct, frozen=True):
    """A file of a multipart request."""

    index: int
    filename: str
    content: bytes
    content_type: str


async def read_body(request: web.Request) -> tuple[Any, list[Upload]]:
    """Read a request's JSON, and its files when it is multipart.

    Raises
    ------
    DiscordError
        50109 for invalid JSON, 40005 for a body that is too large.
    """
    if request.content_type == "multipart/form-data":
        return await _read_multipart(request)
    raw = await request.read()
    if not raw:
        return {}, []
    return _decode(raw), []


def _decode(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DiscordError(400, 50109, "The request body contains invalid JSON.") from None


async def _read_multipart(request: web.Request) -> tuple[Any, list[Upload]]:
    data: Any = {}
    uploads: list[Upload] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        content = bytes(await part.read())
        name = part.name or ""
        index = re.fullmatch(r"files\[(\d+)\]", name)
        if name == "payload_json":
            data = _decode(content)
        elif index is not None:
            kind = part.headers.get("Content-Type", "application/octet-stream")
            uploads.append(Upload(int(index[1]), part.filename or "unknown", content, kind))
    if len(uploads) > MAX_FILES:
        raise invalid_form("files", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_FILES} or fewer in length.")
    return data, uploads


_COMMAND_NAME = re.compile(r"[-_'\w]{1,32}")
MAX_COMMAND_CHARACTERS = 8_000
_SUBCOMMAND, _GROUP, _STRING, _INTEGER, _CHANNEL, _NUMBER = 1, 2, 3, 4, 7, 10
_ONLY_FOR: dict[str, tuple[int, ...]] = {
    "options": (_SUBCOMMAND, _GROUP),
    "choices": (_STRING, _INTEGER, _NUMBER),
    "autocomplete": (_STRING, _INTEGER, _NUMBER),
    "min_value": (_INTEGER, _NUMBER),
    "max_value": (_INTEGER, _NUMBER),
    "min_length": (_STRING,),
    "max_length": (_STRING,),
    "channel_types": (_CHANNEL,),
}
"""The types of options that may have a field. Source: the OpenAPI document, ApplicationCommand...Option."""
_VALUES: dict[int, tuple[type, ...]] = {_STRING: (str,), _INTEGER: (int,), _NUMBER: (int, float)}


def check_command(command: CommandBody, path: str = "") -> None:
    """Check what the structs cannot express: names, descriptions, the order of options.

    Raises
    ------
    DiscordError
        50035.
    """
    prefix = f"{path}." if path else ""
    if command.type == 1:
        _check_command_name(command.name, f"{prefix}name")
        if not command.description:
            raise invalid_form(f"{prefix}description", "BASE_TYPE_REQUIRED", "This field is required")
        _check_options(command.options or [], f"{prefix}options")
        size = len(command.name) + len(command.description) + sum(option.length() for option in command.options or ())
        if size > MAX_COMMAND_CHARACTERS:
            message = f"Command exceeds maximum size ({MAX_COMMAND_CHARACTERS})"
            raise invalid_form(path, "APPLICATION_COMMAND_TOO_LARGE", message)
    elif command.description or command.options:
        raise invalid_form(
            f"{prefix}description", "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION_INVALID", "Must be empty."
        )


def _check_command_name(name: str, path: str) -> None:
    if not _COMMAND_NAME.fullmatch(name) or name != name.lower():
        raise invalid_form(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_options(options: list[CommandOption], path: str) -> None:
    optional_seen = False
    names: set[str] = set()
    for index, option in enumerate(options):
        here = f"{path}.{index}"
        _check_command_name(option.name, f"{here}.name")
        if option.name in names:
            raise invalid_form(path, "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option names must be unique")
        names.add(option.name)
        if option.required and optional_seen:
            raise invalid_form(
                here,
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional_seen = optional_seen or not option.required
        if option.autocomplete and option.choices:
            raise invalid_form(here, "APPLICATION_COMMAND_OPTIONS_CHOICES_INVALID", "Autocomplete excludes choices")
        _check_fields_of_type(option, here)
        if option.type in (_SUBCOMMAND, _GROUP):
            _check_options(option.options or [], f"{here}.options")


def _check_fields_of_type(option: CommandOption, path: str) -> None:
    """Refuse fields that an option's type does not have, and choices of another type."""
    for name, kinds in _ONLY_FOR.items():
        if getattr(option, name) and option.type not in kinds:
            raise invalid_form(
                f"{path}.{name}", "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", f"Not for type {option.type}"
            )
    for index, choice in enumerate(option.choices or ()):
        if not isinstance(choice.value, _VALUES[option.type]):
            where = f"{path}.choices.{index}.value"
            raise invalid_form(where, "BASE_TYPE_BAD_TYPE", f"Not a value of type {option.type}")


ACTION_ROW, BUTTON, STRING_SELECT, TEXT_INPUT, LABEL = 1, 2, 3, 4, 18
_SELECTS = (3, 5, 6, 7, 8)


def check_components(components: list[Component], path: str = "components", *, modal: bool = False) -> None:
    """Check a message's or a modal's components: rows, widths, unique custom ids, required fields.

    Raises
    ------
    DiscordError
        50035.
    """
    seen: set[str] = set()
    for index, row in enumerate(components):
        here = f"{path}.{index}"
        if modal and row.type == LABEL:
            if row.component is None:
                raise invalid_form(f"{here}.component", "BASE_TYPE_REQUIRED", "This field is required")
            _check_leaf(row.component, f"{here}.component", seen, modal=True)
            continue
        if row.type != ACTION_ROW:
            raise invalid_form(f"{here}.type", "BASE_TYPE_CHOICES", "Value must be one of (1,).")
        children = row.components or []
        width = 1 if any(child.type != BUTTON for child in children) else 5
        if not 1 <= len(children) <= width:
            raise invalid_form(
                f"{here}.components", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {width} in length."
            )
        for position, child in enumerate(children):
            _check_leaf(child, f"{here}.components.{position}", seen, modal=modal)


def _check_leaf(component: Component, path: str, seen: set[str], *, modal: bool) -> None:
    allowed = (TEXT_INPUT, *_SELECTS) if modal else (BUTTON, *_SELECTS)
    if component.type not in allowed:
        raise invalid_form(f"{path}.type", "BASE_TYPE_CHOICES", f"Value must be one of {allowed}.")
    is_link = component.type == BUTTON and component.style == 5
    if is_link != (component.url is not None) or is_link == (component.custom_id is not None):
        raise invalid_form(path, "COMPONENT_CUSTOM_ID_REQUIRED", "A custom id or a url is required, not both")
    if component.type == BUTTON and (component.style not in range(1, 6) or not (component.label or component.emoji)):
        raise invalid_form(path, "BUTTON_COMPONENT_INVALID", "A button needs a style and a label or an emoji")
    if component.type == STRING_SELECT and not component.options:
        raise invalid_form(f"{path}.options", "BASE_TYPE_REQUIRED", "This field is required")
    if component.custom_id is not None:
        if component.custom_id in seen:
            raise invalid_form(path, "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
        seen.add(component.custom_id)
