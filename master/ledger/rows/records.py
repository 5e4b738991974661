"""The frozen records that repositories return, and that services pass around instead of rows."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec


class DesiredState(StrEnum):
    """The state that the operator wants; survives restarts of master and box."""

    RUNNING = "running"
    STOPPED = "stopped"


class Lifecycle(StrEnum):
    """Stages of a node's existence."""

    PROVISIONING = "provisioning"
    """Reserved by the duplication saga; removed at the next start if it never became active."""
    ACTIVE = "active"
    REMOVED = "removed"


class ReadinessKind(StrEnum):
    """How readiness of a node is determined."""

    HANDSHAKE = "handshake"
    """By its signed verification; pulses prove liveness."""
    PROCESS = "process"
    """For an existing bot that does not speak the protocol: running for a few seconds counts as ready."""


class LicenceState(StrEnum):
    """States of a licence."""

    ISSUED = "issued"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """How an audited action ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One child bot as the ledger knows it."""

    id: str
    """ULID."""
    name: str
    folder: str
    """Folder name below BOTS_BASE_PATH, or an absolute path."""
    entry: str = "bot.py"
    bot_user_id: int
    """Discord user id of the bot: the only author whose messages in VERIFY_CHANNEL count as this node's. 0 for a
    program without a token."""
    desired_state: DesiredState = DesiredState.STOPPED
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    readiness: ReadinessKind = ReadinessKind.HANDSHAKE
    key_epoch: int = 1
    template_version: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 100
    """Lower starts first."""
    flagged_at: datetime | None = None
    flag_reason: str = ""
    pid: int | None = None
    """Last known process, for adoption."""
    pid_started_at: float | None = None
    """Start time of that process in seconds since boot (/proc/PID/stat field 22 over the clock tick)."""
    created_at: datetime
    updated_at: datetime
    host: str = ""
    """The box that the node runs on; empty for the master's own, whichever that is: a ledger that is restored on
    another box, or reached from one, needs no change."""
    options: str = ""
    """What it was registered with, as JSON with the keys of NODES; ``node_options`` reads and writes it."""


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """A licence; the code itself is never stored, only a keyed hash of it."""

    id: str
    node_id: str | None
    tier: str
    state: LicenceState
    code_hash: bytes
    issued_at: datetime
    expires_at: datetime | None
    activated_at: datetime | None = None
    holder_id: int | None = None
    """The person whose it is; None: a node's own, or not redeemed yet."""
    guild_id: int | None = None
    origin: str = ""
    """Who or what issued it: an actor, ``giveaway:...``, ``shop:...``."""
    note: str = ""
    warned_days: int | None = None
    """How many days before its end the last warning was; None: none yet."""
    changed_at: datetime | None = None
    changed_by: str = ""


class LicenceUse(msgspec.Struct, frozen=True, kw_only=True):
    """Where a licence is in use."""

    licence_id: str
    kind: Literal["node", "person"]
    subject: str
    """The node's id, or the person's."""
    at: datetime
    last_at: datetime


LicenceChange = Literal[
    "issued", "redeemed", "renewed", "suspended", "reinstated", "revoked", "transferred", "expired", "warned", "role"
]


class LicenceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a licence."""

    id: str
    at: datetime
    licence_id: str
    what: LicenceChange
    actor: str
    detail: str = ""


class ShopEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a shop told, once."""

    source: str
    event_id: str
    at: datetime
    reference: str
    """What the shop calls the buyer or the subscription."""
    licence_id: str | None
    outcome: Literal["taken", "issued", "renewed", "revoked", "ignored", "refused"]
    """taken: on record, and not carried out yet."""
    detail: str = ""


TicketState = Literal["queued", "opening", "open", "closing", "closed", "deleted"]
TicketPriority = Literal["low", "normal", "high", "urgent"]


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket of a node."""

    id: str
    number: int
    """Rising on its server: what people call it."""
    guild_id: int
    node_id: str
    category: str
    state: TicketState
    channel_id: int | None = None
    """None while it waits in the queue, and once its channel is deleted."""
    is_thread: bool = False
    author_id: int
    claimed_by: int | None = None
    priority: TicketPriority = "normal"
    topic: str = ""
    answers: str = "[]"
    """Of the form; JSON."""
    opened_at: datetime
    last_at: datetime
    """When something was last written in it."""
    warned_at: datetime | None = None
    closed_at: datetime | None = None
    closed_by: int | None = None
    reason: str = ""
    changed_at: datetime


TicketPermissionState = Literal["asking", "granting", "granted", "revoking", "revoked", "refused", "failed"]


class TicketPermission(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a ticket: who, with which permission set, and until when."""

    id: str
    ticket_id: str
    channel_id: int
    subject_id: int
    subject_kind: Literal["user", "role"]
    permission_set: str
    state: TicketPermissionState
    asked_by: str
    """An actor: ``node:...``, ``discord:...``, ``system:...``."""
    at: datetime
    until: datetime | None = None
    """None: as long as the ticket is open."""
    decided_by: str = ""
    changed_at: datetime
    detail: str = ""


GiveawayState = Literal["scheduled", "open", "drawing", "drawn", "cancelled"]


class Giveaway(msgspec.Struct, frozen=True, kw_only=True):
    """A giveaway."""

    id: str
    guild_id: int
    channel_id: int
    message_id: int | None = None
    prize: str
    description: str = ""
    winners: int
    rules: str = "{}"
    """Who may enter, and with how many entries; JSON."""
    prize_tier: str = ""
    claim_s: int = 0
    started_by: int
    starts_at: datetime
    ends_at: datetime
    state: GiveawayState
    seed_hash: bytes
    sealed_seed: bytes
    """The seed under a key of the master's; nobody reads it in the ledger before the end."""
    seed: bytes | None = None
    """Shown with the draw."""
    entries_hash: bytes | None = None
    draws: int = 0
    """How many draws there were: the first, and each that drew again."""
    told_draws: int = 0
    """How many of them were told; of a cancelled one: 1 less than its draws until its message says so."""
    drawn_at: datetime | None = None
    changed_at: datetime
    changed_by: str
    reason: str = ""


class GiveawayEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who entered a giveaway, and how many times he counts."""

    giveaway_id: str
    user_id: int
    at: datetime
    weight: int = 1


class GiveawayWinner(msgspec.Struct, frozen=True, kw_only=True):
    """A winner of a draw."""

    giveaway_id: str
    draw: int
    """0 for the first, then one more for each that draws again."""
    place: int
    user_id: int
    state: Literal["drawn", "told", "claimed", "unclaimed", "left", "replaced"]
    claim_until: datetime | None = None
    licence_id: str | None = None
    changed_at: datetime
    detail: str = ""


class HandshakeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted verification or one refused message."""

    id: str
    at: datetime
    node_id: str | None
    """The proved node, or the claimed one when the message was refused; None when it names no known node."""
    message_type: str
    outcome: str
    """``accepted`` or the refusal's reason: bad_signature, expired, replayed, unknown_node, ..."""
    transport: str
    author_id: int | None = None
    detail: str = ""


class ErrorEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An error that a node reported or the master observed; the fingerprint identifies repeats."""

    id: str
    at: datetime
    node_id: str
    source: str
    """command, event, startup, exit, stderr."""
    fingerprint: str
    summary: str
    detail: str = ""
    count: int = 1
    last_at: datetime | None = None
    """When it was seen last; None for one that is to be recorded."""


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is taken for the same error, on all nodes."""

    fingerprint: str
    kind: Literal["exception", "exit", "line", "state"]
    title: str
    state: Literal["new", "known", "regressed", "resolved", "muted"] = "new"
    first_at: datetime
    last_at: datetime
    count: int = 1
    sample: str = ""
    """How it looked when it was seen last, with the lines before."""
    muted_until: datetime | None = None
    """None for one that is muted for good."""
    changed_at: datetime | None = None
    """When an operator, or a relapse, changed its state last."""
    changed_by: str = ""


class SolutionRun(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a solution knew an error, and what came of it."""

    id: str
    at: datetime
    node_id: str
    solution_id: str
    content_hash: str
    """Which text the solution had."""
    fingerprint: str = ""
    """The group of errors; empty if there is none."""
    seen_in: str
    line: str
    action: str
    outcome: str
    """running: the action is carried out; watching: it is done, and the error must stay away; helped, did_not_help;
    failed, skipped: by the action; interrupted: the master ended meanwhile; detected: it would have acted; asked,
    declined: an operator was; told: there is nothing that a program could do."""
    detail: str = ""
    actor: str = ""
    ready_ms: int | None = None
    """From the action to the node's being ready."""
    finished_at: datetime | None = None


class SolutionState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a solution acts, and why."""

    solution_id: str
    mode: Literal["detecting", "on", "off", "suspended"]
    since: datetime
    first_at: datetime
    """When it was seen first: a new one only detects for a while."""
    content_hash: str
    why: str = ""
    changed_by: str = ""


class SolutionVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A text that a solution of the operator's had."""

    id: str
    solution_id: str
    version: int
    at: datetime
    actor: str
    why: str
    content: str
    """TOML; empty if it was removed."""


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a node's process."""

    id: str
    at: datetime
    node_id: str
    kind: str
    """spawned, ready, degraded, recovered, exited, stopped, killed, backoff, quarantined, missing."""
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    detail: str = ""


class PulseSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A node's state at one moment; pulses in between are kept in memory only."""

    id: str
    at: datetime
    node_id: str
    state: str
    latency_ms: int | None
    """To Discord's gateway; None when the node did not say."""
    guilds: int
    memory_bytes: int | None
    """None when it was not read."""


class Duplication(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the duplication saga."""

    id: str
    at: datetime
    node_id: str
    source: str
    """Template version, or the node it was cloned from."""
    requested_by: str
    outcome: str
    """running, done, failed, cleaned_up."""
    detail: str = ""
    finished_at: datetime | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One operator action; ``chain`` is the HMAC over this row and the row before it."""

    sequence: int
    at: datetime
    actor: str
    """``discord:<user id>``, ``cli:<unix user>``, ``system``."""
    face: str
    """discord, cli, web, system."""
    action: str
    node_id: str | None
    outcome: Outcome
    detail: str
    chain: bytes


PatchState = Literal[
    "received",
    "approved",
    "rolling",
    "soaking",
    "asking",
    "paused",
    "done",
    "rolling_back",
    "rolled_back",
    "aborted",
    "failed",
]
"""received: accepted, nothing done; approved: by those who must; rolling: nodes are ordered to take it; soaking: the
wave has it, and is watched; asking: nothing happened that says anything, an operator decides; paused: by an operator;
done: all that it is for have it; rolling_back; rolled_back: quarantined; aborted: no further node gets it, those that
have it keep it; failed: it was bad, and some node could not go back."""

PatchNodeState = Literal[
    "waiting",
    "ordered",
    "received",
    "staged",
    "applied",
    "healthy",
    "good",
    "failed",
    "rolling_back",
    "rolled_back",
    "rollback_failed",
    "skipped",
    "absent",
]
"""waiting: for its wave; ordered: the node has not said anything yet; received to healthy: as it says itself, signed;
good: watched for the soak, and marked so by itself; absent: it does not run, and is patched when it starts; skipped:
it is as the patch would make it, or what it is based on differs."""


AnnouncementState = Literal["scheduled", "sending", "sent", "cancelled", "failed"]
AnnouncementPlaceState = Literal["waiting", "sending", "sent", "asked", "given_up"]


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """One message to several places."""

    id: str
    at: datetime
    """When it was written."""
    due_at: datetime
    """When it is sent; of one with a schedule, when next."""
    schedule: str = ""
    """A cron expression; empty: once. Each of its times is an announcement of its own."""
    parent_id: str | None = None
    """The one with the schedule."""
    title: str = ""
    text: str
    state: AnnouncementState
    written_by: str
    detail: str = ""
    changed_at: datetime


class AnnouncementPlace(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement at one place."""

    announcement_id: str
    place: str
    """Its name in ANNOUNCE."""
    state: AnnouncementPlaceState
    attempts: int = 0
    next_at: datetime | None = None
    """When it is tried next; of a place that waits."""
    url: str = ""
    """Of what was sent, where the place tells it."""
    detail: str = ""
    changed_at: datetime


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """A patch that was accepted, and how far its roll-out is."""

    id: str
    name: str
    channel: str
    version: int
    key_id: str
    author: str
    received_at: datetime
    received_from: str
    bundle_hash: bytes
    bundle_bytes: int
    document: str
    """As it was signed: the JSON of :class:`handshake.patch_document.PatchDocument`."""
    state: PatchState
    rollout_plan: str
    """The JSON of a roll-out's plan."""
    wave: int = 0
    changed_at: datetime
    changed_by: str
    reason: str = ""
    message_channel_id: int | None = None
    message_id: int | None = None
    finished_at: datetime | None = None


class PatchNode(msgspec.Struct, frozen=True, kw_only=True):
    """A patch on one node."""

    patch_id: str
    node_id: str
    wave: int
    state: PatchNodeState
    changed_at: datetime
    release_after: int | None = None
    release_before: int | None = None
    baseline: str = ""
    """What was true of the node before it was patched, as JSON."""
    detail: str = ""


class PatchKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key of an author whose patches are accepted."""

    id: str
    """As ``ssh-keygen -l`` prints it: ``SHA256:...``."""
    name: str
    kind: str
    """``ssh-ed25519``, ``sk-ssh-ed25519@openssh.com``, ..."""
    public: str
    """A line as in authorized_keys, without its comment."""
    added_at: datetime
    added_by: str
    revoked_at: datetime | None = None
    revoked_by: str = ""
    why: str = ""


class PatchTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A reaction to a patch that came or went, or a signed status of a node."""

    id: str
    at: datetime
    patch_id: str
    node_id: str | None = None
    kind: Literal["reaction", "unreaction", "status"]
    user_id: int | None = None
    emoji: str = ""
    status: str = ""
    detail: str = ""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What a node, the template, a patch or a solution was at one time."""

    id: str
    kind: Literal["node", "template", "patch", "solution"]
    subject: str
    """A node's id; the name of anything else."""
    generation: int
    at: datetime
    cause: str
    """registered, cloned, patched, rolled_back, edited, restored, released."""
    parent: str = ""
    """The id of the generation that it was made of; of a clone, the template's."""
    actor: str = ""
    detail: str = ""
    manifest: str = ""
    signature: bytes = b""


class WantedChannel(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that the fleet wants to be there, and how it was when it was seen last."""

    key: str
    """``LOG``, ``tickets/support``, ``tree/welcome``."""
    guild_id: int
    channel_id: int
    seen: str
    """JSON."""
    changed_at: datetime


class ChannelMove(msgspec.Struct, frozen=True, kw_only=True):
    """A channel was made anew, under another id."""

    old_id: int
    new_id: int
    key: str
    guild_id: int
    at: datetime


ChannelDrift = Literal["gone", "renamed", "moved", "topic", "permissions", "order", "panel", "pin"]
ChannelRepairState = Literal["found", "repairing", "repaired", "asked", "left", "failed", "undoing", "undone"]


class ChannelRepair(msgspec.Struct, frozen=True, kw_only=True):
    """A difference between a channel as it is wanted and as it was found, and what came of it."""

    id: str
    at: datetime
    guild_id: int
    key: str
    channel_id: int
    """As it was found; 0 if it never was."""
    drift: ChannelDrift
    wanted: str
    found: str
    """JSON, both."""
    culprit_id: int | None = None
    culprit: str = ""
    state: ChannelRepairState
    detail: str = ""
    changed_at: datetime
    changed_by: str


class ChannelPanel(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has to be in a channel."""

    key: str
    channel_id: int
    message_id: int
    content_hash: bytes
    changed_at: datetime
