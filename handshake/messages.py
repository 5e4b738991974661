"""The bodies of all messages, one frozen struct each; decoding validates them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

MAX_MESSAGE_BYTES = 8_192
"""Longest signed message on the local transport."""
MAX_CHANNEL_CHARACTERS = 1_990
"""Longest signed message in VERIFY_CHANNEL: Discord's 2,000 minus the code block's fences."""

Word = Annotated[str, Meta(max_length=100)]
Line = Annotated[str, Meta(max_length=400)]
Text = Annotated[str, Meta(max_length=4_000)]
NodeId = Annotated[str, Meta(min_length=1, max_length=26, pattern=r"^[0-9A-Za-z]+\Z")]
Fingerprint = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Snowflake = Annotated[int, Meta(ge=0, le=2**63 - 1)]
FailedCogs = Annotated[tuple[Word, ...], Meta(max_length=20)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class MessageType(StrEnum):
    """The type of a message, as in the header's ``typ``."""

    VERIFICATION_REQUEST = "verification_request"
    VERIFICATION_RESPONSE = "verification_response"
    HEARTBEAT = "heartbeat"
    ACKNOWLEDGEMENT = "acknowledgement"
    KEY_REPLACEMENT = "key_replacement"
    ERROR_REPORT = "error_report"
    TICKET_PERMISSION_REQUEST = "ticket_permission_request"
    TICKET_PERMISSION_RESPONSE = "ticket_permission_response"
    TICKET_REQUEST = "ticket_request"
    TICKET_RESPONSE = "ticket_response"
    PATCH_STATUS = "patch_status"
    LICENSE_CHECK = "license_check"
    LICENSE_STATUS = "license_status"
    SHUTDOWN_NOTICE = "shutdown_notice"
    ORDER = "order"
    ORDER_RESULT = "order_result"


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base class of all bodies."""


class VerificationRequest(_Body, frozen=True):
    """A node proves its key (by signing) and its licence (by sending the code)."""

    licence: Word
    version: Word
    """The template's version."""
    pid: Count
    pid_started_at: Seconds
    """Start of the process in seconds since boot."""
    bot_user_id: Snowflake
    started_at: Seconds
    """Unix time."""
    python: Word = ""
    library: Word = ""
    cogs_failed: FailedCogs = ()
    """A node that comes up without some of its cogs says so at once: it is degraded from the start."""
    offline_s: Seconds | None = None
    """As in :class:`Heartbeat`: a restarted master asks for verification whether Discord is there or not."""
    reloads_cogs: bool = False
    """It has WATCH, and loads the files in ``cogs/`` again by itself: a change of those is no reason to restart it."""


class VerificationResponse(_Body, frozen=True):
    """The master's answer to a verification request."""

    accepted: bool
    reason: Line = ""
    pulse_interval_s: Seconds = 9.0
    channel_pulse_interval_s: Seconds = 240.0
    clock_skew_s: float = 0.0
    """The master's clock minus the node's."""


class Heartbeat(_Body, frozen=True):
    """A pulse."""

    uptime_s: Seconds
    latency_ms: Seconds | None = None
    guilds: Count = 0
    state: Literal["starting", "ready", "degraded"] = "ready"
    cogs_failed: FailedCogs = ()
    offline_s: Seconds | None = None
    """Seconds since the node lost its connection to Discord; None, and not sent, while it is connected."""


class Acknowledgement(_Body, frozen=True):
    """The master's answer to a pulse, sent only when there is something to say."""

    order: Literal["", "verify_again"] = ""
    clock_skew_s: float = 0.0
    notices: Annotated[tuple[Line, ...], Meta(max_length=5)] = ()


class KeyReplacement(_Body, frozen=True):
    """The master's answer to a pulse signed with an outdated key; sent over the local socket only."""

    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    key_epoch: Annotated[int, Meta(ge=1, lt=10**9)]

    def __repr__(self) -> str:
        return f"KeyReplacement(key_epoch={self.key_epoch}, ...)"


class ErrorReport(_Body, frozen=True):
    """An unhandled error of a node."""

    source: Literal["command", "event", "startup", "task", "gateway"]
    where: Word
    exception: Word
    fingerprint: Fingerprint
    message: Line = ""
    traceback: Text = ""
    """The tail: the innermost frames."""
    count: Annotated[int, Meta(ge=1, le=10**9)] = 1


PermissionSet = Literal["participant", "observer", "staff"]
"""What somebody may do in a ticket: write, only read, or manage messages too. What that is in bits the master knows."""


class TicketPermissionRequest(_Body, frozen=True):
    """A node asks the master to let somebody into one of its tickets, or to take that back."""

    ticket_id: Word
    user_id: Snowflake
    action: Literal["grant", "revoke"]
    permission_set: PermissionSet = "participant"
    for_s: Seconds = 0.0
    """For how long; 0: as long as the ticket is open, at most what the master allows."""
    actor_id: Snowflake = 0
    """The person who asked the node for it; whether that is somebody of the staff is the master's to know."""


class TicketPermissionResponse(_Body, frozen=True):
    """The master's answer to a ticket permission request."""

    granted: bool
    code: Word = ""
    """Why not: ``not_your_ticket``, ``not_allowed``, ``asking`` (a person decides), ``forbidden``, ..."""
    reason: Line = ""
    until: Seconds | None = None
    """When it is taken back, as Unix time; None: with the ticket's end."""


TicketAction = Literal[
    "categories",
    "open",
    "claim",
    "release",
    "transfer",
    "priority",
    "topic",
    "touch",
    "close",
    "reopen",
    "delete",
    "list",
]


class TicketRequest(_Body, frozen=True):
    """A node asks the master about its tickets: the master holds them, and makes and closes their channels."""

    action: TicketAction
    ticket_id: Word = ""
    actor_id: Snowflake = 0
    """The person who pressed or typed it; what he may is the master's to know."""
    subject_id: Snowflake = 0
    """To whom a ticket is transferred; whose tickets are listed, 0: everybody's."""
    category: Word = ""
    text: Line = ""
    """A topic, a priority, or the reason of an end."""
    answers: Annotated[tuple[Annotated[str, Meta(max_length=1_000)], ...], Meta(max_length=5)] = ()


class TicketView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ticket, as its node sees it."""

    id: Word
    number: Count
    category: Word
    state: Word
    channel_id: Snowflake
    author_id: Snowflake
    claimed_by: Snowflake = 0
    priority: Word = "normal"
    topic: Line = ""
    opened_at: Seconds = 0.0
    closed_by: Snowflake = 0
    reason: Line = ""
    """Of its end."""


class TicketCategoryView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A kind of ticket that a node may open."""

    name: Word
    questions: tuple[Word, ...] = ()
    log_channel_id: Snowflake = 0
    staff_roles: tuple[Snowflake, ...] = ()


class TicketResponse(_Body, frozen=True):
    """The master's answer to a ticket request."""

    done: bool
    code: Word = ""
    """Why not, or what became of it: ``queued``, ``too_many_open``, ``not_staff``, ``unavailable``, ..."""
    reason: Line = ""
    position: Count = 0
    """In the queue; 0: not in it."""
    tickets: tuple[TicketView, ...] = ()
    categories: tuple[TicketCategoryView, ...] = ()


class PatchStatus(_Body, frozen=True):
    """The progress of a patch on a node."""

    patch_id: Word
    status: Literal["received", "staged", "applied", "healthy", "good", "failed", "rolled_back", "rollback_failed"]
    detail: Text = ""
    """Of a failure the reason, with the end of its traceback."""
    release: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """The number of the release that the node now runs; 0 for the one that it had before any patch."""


class LicenceCheck(_Body, frozen=True):
    """A node asks for the state of its own licence, or of a person's."""

    licence: Word = ""
    """The node's own; empty: ``user_id`` says whose."""
    user_id: Snowflake = 0
    feature: Word = ""
    """Named by the tiers in the config; empty: any valid licence."""


class LicenceStatus(_Body, frozen=True):
    """The master's answer to a licence check."""

    state: Word
    tier: Word = ""
    expires_at: Seconds | None = None
    valid: bool = False
    reason: Word = ""
    """``valid``, ``grace``, ``expired``, ``suspended``, ``revoked``, ``wrong_node``, ``not_found``, ..."""
    features: tuple[Word, ...] = ()
    holds_until: Seconds | None = None
    """Until when a node may go by this answer while the master is away."""


class ShutdownNotice(_Body, frozen=True):
    """A node announces that it stops on purpose."""

    reason: Line = ""


OrderKind = Literal[
    "reload_cog",
    "disable_cog",
    "sync_commands",
    "patch",
    "patch_good",
    "patch_back",
    "patch_posted",
    "check_licence",
    "ticket_changed",
    "channel_moved",
]


class PatchOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which patch an order is about, and where it is found."""

    patch_id: Word
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] = ""
    """Of the bundle, which is in the folder of bundles under this name."""
    good_after_s: Seconds = 0.0
    """How long the node has to work with it before it calls it good by itself; 0: when it is told to."""
    channel_id: Snowflake = 0
    message_id: Snowflake = 0
    """The message of PATCH_CHANNEL that the node reacts to; 0: none."""


class Order(_Body, frozen=True):
    """The master's answer to a pulse when the node has to do something; sent over the local socket only."""

    id: Word
    kind: OrderKind
    argument: Word = ""
    patch: PatchOrder | None = None


class OrderResult(_Body, frozen=True):
    """What a node did about an order."""

    order_id: Word
    done: bool
    detail: Line = ""


Body: TypeAlias = (
    VerificationRequest
    | VerificationResponse
    | Heartbeat
    | Acknowledgement
    | KeyReplacement
    | ErrorReport
    | TicketPermissionRequest
    | TicketPermissionResponse
    | TicketRequest
    | TicketResponse
    | PatchStatus
    | LicenceCheck
    | LicenceStatus
    | ShutdownNotice
    | Order
    | OrderResult
)

BODIES: dict[MessageType, type[Body]] = {
    MessageType.VERIFICATION_REQUEST: VerificationRequest,
    MessageType.VERIFICATION_RESPONSE: VerificationResponse,
    MessageType.HEARTBEAT: Heartbeat,
    MessageType.ACKNOWLEDGEMENT: Acknowledgement,
    MessageType.KEY_REPLACEMENT: KeyReplacement,
    MessageType.ERROR_REPORT: ErrorReport,
    MessageType.TICKET_PERMISSION_REQUEST: TicketPermissionRequest,
    MessageType.TICKET_PERMISSION_RESPONSE: TicketPermissionResponse,
    MessageType.TICKET_REQUEST: TicketRequest,
    MessageType.TICKET_RESPONSE: TicketResponse,
    MessageType.PATCH_STATUS: PatchStatus,
    MessageType.LICENSE_CHECK: LicenceCheck,
    MessageType.LICENSE_STATUS: LicenceStatus,
    MessageType.SHUTDOWN_NOTICE: ShutdownNotice,
    MessageType.ORDER: Order,
    MessageType.ORDER_RESULT: OrderResult,
}
TYPES: dict[type[Body], MessageType] = {body: kind for kind, body in BODIES.items()}
